"""What can go wrong with stored data.

    StorageError
      DataLoss              stored bytes are not what was written: rot, truncation, a missing file
      FormatTooNew          written by a newer release than this one
      DiskFull              no space; nothing that was acknowledged is touched
      WriteRefused          the disk failed a write or a sync: that batch is refused for good
      WriteOutcomeUnknown   the disk let neither keeping nor refusing be made durable
      DiskFailed            the system failed a call that neither read nor changed anything stored
      DataFolderInUse       another server owns the data folder
      HostsUsedUp           every address that indexes may have was given to one already

Every message is a whole sentence that names the file.
"""


class StorageError(Exception):
    """The root of the errors of stored data."""


class DataLoss(StorageError):
    """Stored bytes are not what was written."""


class FormatTooNew(StorageError):
    """A newer release wrote this file."""


class DiskFull(StorageError):
    """There is no space left; what was acknowledged is safe."""


class WriteRefused(StorageError):
    """The disk failed; this write is not kept, now or after a restart."""


class WriteOutcomeUnknown(StorageError):
    """The disk failed in a way that leaves open whether this write is kept."""


class DiskFailed(StorageError):
    """The system failed a call; nothing is lost, and trying again later may succeed."""


class DataFolderInUse(StorageError):
    """Another server, or a process of one that just died, owns the data folder."""


class HostsUsedUp(StorageError):
    """Every address that the server may give to an index was given to one already."""
