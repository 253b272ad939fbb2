"""What can end a search early.

Interrupted     nobody waits for the answer
DeviceError     a graphics card could not be used
  DeviceFull    its memory is full: less may fit
  DeviceLost    it does not answer, or cannot be used at all
"""


class Interrupted(Exception):
    """`keep_going` said no between two blocks; there is no answer."""


class DeviceError(Exception):
    """A graphics card could not be used; the message says what it said."""


class DeviceFull(DeviceError):
    """The card's memory is full."""


class DeviceLost(DeviceError):
    """The card does not answer, or cannot be used."""
