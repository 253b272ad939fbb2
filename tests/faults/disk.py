"""A disk in memory that forgets what was not synced, fails on command, and fills up.

What readers see of a file (the page cache) and what the disk holds are kept apart. A crash keeps any
subset of what was not synced: each sector of 512 bytes, each length of a file and each name in a
folder takes, independently, its durable value or one that it was given since. A sync that fails
leaves the page cache clean, as Linux does: a later sync does not write those sectors.
"""

import errno
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from storage.files import Files
from storage.limits import SECTOR_BYTES

_ZEROS = bytes(SECTOR_BYTES)

# Asked before each operation that changes the disk, with its number, counted from 1: what it raises.
Fault = Callable[[int], BaseException | None]


class PowerCut(BaseException):
    """The machine lost power during this operation."""


def io_error() -> OSError:
    """What a broken disk says."""
    return OSError(errno.EIO, os.strerror(errno.EIO))


def fail_at(number: int) -> Fault:
    """One operation fails."""
    return lambda one: io_error() if one == number else None


def fail_in_pattern(after: int, pattern: int) -> Fault:
    """Of the operations behind `after`, those fail whose bit is set, the lowest bit first."""
    return lambda one: io_error() if one > after and pattern >> (one - after - 1) & 1 else None


def fail_from(number: int) -> Fault:
    """One operation fails, and every one after it."""
    return lambda one: io_error() if one >= number else None


def cut_at(number: int) -> Fault:
    """The power goes while one operation is under way."""
    return lambda one: PowerCut() if one == number else None


class Inode:
    """The content of one file."""

    def __init__(self) -> None:
        self.cache = bytearray()
        self.disk: dict[int, bytes] = {}
        self.disk_size = 0
        # What sectors were given since they were last durable, and what the next sync writes.
        self.maybe: dict[int, list[bytes]] = {}
        self.maybe_sizes: list[int] = []
        self.dirty: set[int] = set()

    def write(self, data: bytes, offset: int) -> None:
        """Changes the page cache."""
        end = offset + len(data)
        if end > len(self.cache):
            self.cache.extend(bytes(end - len(self.cache)))
            self.maybe_sizes.append(end)
        self.cache[offset:end] = data
        self._touch(range(offset // SECTOR_BYTES, _sectors(end)))

    def truncate(self) -> None:
        """Empties the file."""
        sectors = range(_sectors(len(self.cache)))
        self.cache.clear()
        self.maybe_sizes.append(0)
        self._touch(sectors)

    def sync(self) -> None:
        """Makes what was written since the last sync durable."""
        for sector in self.dirty:
            self.disk[sector] = self._cached(sector)
            del self.maybe[sector]
        self.dirty.clear()
        self.disk_size = len(self.cache)
        self.maybe_sizes.clear()

    def fail_sync(self) -> None:
        """A sync that failed: nobody knows what was written, and nobody will try again."""
        self.dirty.clear()

    def after_crash(self, chance: random.Random) -> "Inode":
        """One of the contents that a crash may leave."""
        size = chance.choice([self.disk_size, *self.maybe_sizes])
        content = bytearray(_sectors(size) * SECTOR_BYTES)
        for sector in range(_sectors(size)):
            held = self.disk.get(sector, _ZEROS)
            given = [one for one in self.maybe.get(sector, ()) if one != held]
            start = sector * SECTOR_BYTES
            content[start : start + SECTOR_BYTES] = chance.choice([held, *given])
        inode = Inode()
        inode.write(bytes(content[:size]), 0)
        inode.sync()
        return inode

    def _touch(self, sectors: Iterable[int]) -> None:
        for sector in sectors:
            self.maybe.setdefault(sector, []).append(self._cached(sector))
            self.dirty.add(sector)

    def _cached(self, sector: int) -> bytes:
        start = sector * SECTOR_BYTES
        return bytes(self.cache[start : start + SECTOR_BYTES]).ljust(SECTOR_BYTES, b"\0")


class FakeFile:
    """An open file of the fake disk."""

    def __init__(self, disk: "FakeFiles", inode: Inode) -> None:
        self._disk = disk
        self._inode = inode
        self._open = True
        disk.open_files += 1

    def pread(self, size: int, offset: int) -> bytes:
        assert self._open
        return bytes(self._inode.cache[offset : offset + max(size, 0)])

    def pwrite(self, data: bytes, offset: int) -> None:
        assert self._open
        self._disk.write(self._inode, data, offset)

    def size(self) -> int:
        assert self._open
        return len(self._inode.cache)

    def sync(self) -> None:
        assert self._open
        self._disk.sync(self._inode)

    def close(self) -> None:
        assert self._open
        self._open = False
        self._disk.open_files -= 1


class FakeFiles(Files):
    """The fake disk; see the module."""

    def __init__(self) -> None:
        self.fault: Fault = lambda _: None
        self.capacity_bytes: int | None = None
        # How much of a write that fails reaches the page cache all the same.
        self.short_share = 0.5
        self.operations = 0
        self.open_files = 0
        self._names: dict[Path, Inode] = {}
        self._disk_names: dict[Path, Inode] = {}
        self._maybe_names: dict[Path, list[Inode | None]] = {}

    def open(self, path: Path, write: bool = False) -> FakeFile:
        return FakeFile(self, self._inode(path))

    def create(self, path: Path) -> FakeFile:
        self._operate(lambda: self._create(path))
        return FakeFile(self, self._names[path])

    def write_new(self, path: Path, chunks: Iterable[bytes | memoryview]) -> int:
        self._operate(lambda: self._create(path))
        inode = self._names[path]
        try:
            for chunk in chunks:
                self.write(inode, bytes(chunk), len(inode.cache))
            self.sync(inode)
        except OSError:
            self._set_name(path, None)
            raise
        return len(inode.cache)

    def rename(self, old: Path, new: Path) -> None:
        inode = self._inode(old)

        def apply() -> None:
            self._set_name(new, inode)
            self._set_name(old, None)

        self._operate(apply)

    def link(self, old: Path, new: Path) -> None:
        if new in self._names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new))
        inode = self._inode(old)
        self._operate(lambda: self._set_name(new, inode))

    def unlink(self, path: Path) -> None:
        if path in self._names:
            self._operate(lambda: self._set_name(path, None))

    def make_folder(self, path: Path) -> None:
        """Folders are always there."""

    def remove_folder(self, path: Path) -> None:
        for name in self.list_folder(path):
            self.unlink(path / name)

    def list_folder(self, path: Path) -> list[str]:
        return sorted(one.name for one in self._names if one.parent == path)

    def sync_folder(self, path: Path) -> None:
        def apply() -> None:
            for one in [one for one in self._maybe_names if one.parent == path]:
                del self._maybe_names[one]
                if one in self._names:
                    self._disk_names[one] = self._names[one]
                else:
                    self._disk_names.pop(one, None)

        # Under a power cut the names stay as they were: any of them may have made it.
        self._operate(apply, applied_by_power_cut=False)

    def read(self, path: Path) -> bytes:
        return bytes(self._inode(path).cache)

    def map(self, path: Path) -> memoryview:
        return memoryview(self.read(path))

    def forget(self, path: Path) -> None:
        self._inode(path)

    # What tests do to the disk

    def after_crash(self, chance: random.Random) -> "FakeFiles":
        """The disk as one crash now would leave it; this one stays as it is."""
        disk = FakeFiles()
        inodes: dict[int, Inode] = {}
        for path in sorted({*self._disk_names, *self._maybe_names}):
            held = self._disk_names.get(path)
            inode = chance.choice([held, *self._maybe_names.get(path, ())])
            if inode is not None:
                if id(inode) not in inodes:
                    inodes[id(inode)] = inode.after_crash(chance)
                disk._names[path] = disk._disk_names[path] = inodes[id(inode)]
        return disk

    def rot(self, path: Path, content: bytes) -> None:
        """Puts other content behind a name, on the disk itself."""
        inode = Inode()
        inode.write(content, 0)
        inode.sync()
        self._names[path] = self._disk_names[path] = inode

    # What files do

    def write(self, inode: Inode, data: bytes, offset: int) -> None:
        """Writes, as far as there is room and no fault."""
        room = self._room(inode)
        fits = data if room is None else data[: max(0, len(inode.cache) + room - offset)]
        short = fits[: int(len(fits) * self.short_share)]
        self._operate(lambda: inode.write(fits, offset), lambda: inode.write(short, offset))
        if len(fits) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self, inode: Inode) -> None:
        """Syncs, if there is no fault."""
        self._operate(inode.sync, inode.fail_sync, applied_by_power_cut=False)

    def _operate(
        self,
        apply: Callable[[], None],
        fail: Callable[[], None] = lambda: None,
        applied_by_power_cut: bool = True,
    ) -> None:
        self.operations += 1
        error = self.fault(self.operations)
        if error is None or (isinstance(error, PowerCut) and applied_by_power_cut):
            apply()
        elif not isinstance(error, PowerCut):
            fail()
        if error is not None:
            raise error

    def _create(self, path: Path) -> None:
        if path in self._names:
            self._names[path].truncate()
        else:
            self._set_name(path, Inode())

    def _set_name(self, path: Path, inode: Inode | None) -> None:
        self._maybe_names.setdefault(path, []).append(inode)
        if inode is None:
            self._names.pop(path, None)
        else:
            self._names[path] = inode

    def _inode(self, path: Path) -> Inode:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._names[path]

    def _room(self, inode: Inode) -> int | None:
        if self.capacity_bytes is None:
            return None
        used = sum(
            len(one.cache) for one in {id(one): one for one in self._names.values()}.values()
        )
        return max(0, self.capacity_bytes - used)


def _sectors(size: int) -> int:
    return -(-size // SECTOR_BYTES)
