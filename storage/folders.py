"""The folders of indexes and collections, DATA/<cloud>/<region>/<id>: found, made, thrown away.

A new one is empty, or holds what another holds at one manifest. Files are immutable once a manifest
names them, so that both can have them: they are linked, and need no room of their own. No log is in
what is made this way; LSNs go on behind the last write that was folded.
"""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from storage import manifest as manifests
from storage.files import Files, unreadable
from storage.index_row import CollectionRow, IndexRow
from storage.limits import BUILD_SYNC_BYTES
from storage.log_format import Position
from storage.manifest import Manifest

TRASH_NAME = ".trash"

# What else lies in the data folder is not ours to remove.
_PLACE = re.compile("[a-z0-9-]{1,45}")
_ID = re.compile("[0-9a-f]{16}")

# Where a file cannot be linked: to another file system, on one without links, once too often.
_UNLINKABLE = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a new folder is to hold: a folder at one manifest, none of whose files goes meanwhile."""

    folder: Path
    manifest: Manifest


def folder_of(data: Path, row: IndexRow | CollectionRow) -> Path:
    """Where the data of an index or a collection lives."""
    assert _ID.fullmatch(row.id)
    return data / row.cloud / row.region / row.id


def all_folders(data: Path) -> list[Path]:
    """Every folder that is named like one of an index or a collection."""
    return sorted(
        folder
        for cloud in _folders_in(data, _PLACE)
        for region in _folders_in(cloud, _PLACE)
        for folder in _folders_in(region, _ID)
    )


def make_folder(files: Files, folder: Path, origin: Origin | None = None) -> int:
    """Makes a folder durable, its files and their names; returns their bytes, without the manifest.

    Raises OSError, or DataLoss or DiskFailed if `origin` cannot be read; a part of it may be there.
    """
    files.make_folder(folder)
    manifest, size = Manifest(), 0
    if origin is not None:
        manifest = replace(origin.manifest, log=Position(lsn=origin.manifest.log.lsn))
        for name in manifest.file_names():
            size += _share(files, origin.folder / name, folder / name)
    files.write_new(folder / manifests.FILE_NAME, [manifests.encode(manifest)])
    # Its region and its cloud too: who made those, perhaps at this moment, may not have synced them.
    for path in (folder, *folder.parents[:3]):
        files.sync_folder(path)
    return size


def to_trash(files: Files, data: Path, folder: Path) -> Path:
    """Moves a folder out of the way; returns where it is now. Raises OSError."""
    trash = data / TRASH_NAME
    files.make_folder(trash)
    remains = trash / folder.name
    if folder.exists():
        files.rename(folder, remains)
    return remains


def _share(files: Files, source: Path, target: Path) -> int:
    """Gives a file a second name, or copies it where that is impossible; returns its bytes."""
    try:
        content = files.map(source)
    except OSError as error:
        raise unreadable(source, error) from error
    try:
        files.link(source, target)
    except OSError as error:
        if error.errno not in _UNLINKABLE:
            raise
        files.write_new(target, _pieces(content))
    return len(content)


def _pieces(content: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(content), BUILD_SYNC_BYTES):
        yield content[start : start + BUILD_SYNC_BYTES]


def _folders_in(folder: Path, names: re.Pattern[str]) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(one) for one in entries if names.fullmatch(one.name) and one.is_dir()]
