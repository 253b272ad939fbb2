"""What an engine is to a benchmark: it builds a folder, opens it, and answers queries from it."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

# What a line on stdout begins with that says how far building is.
PROGRESS = "progress"
_EFFORT_PARTS = 16


class Missing(Exception):
    """An engine is not installed; the message says what to run."""


class Opened(Protocol):
    """An index that is open."""

    def query(self, vectors: Floats, k: int) -> Numbers:
        """The rows (b, k) nearest to vectors (b, d) of norm 1, best first; -1 where there are fewer."""

    def close(self) -> None:
        """Lets go of the folder."""


class Engine(Protocol):
    """A way to use a library, with settings that are fixed and one that trades recall for speed."""

    def build(self, vectors: Floats, folder: Path) -> None:
        """Makes a folder that holds vectors (n, d) of norm 1 under their row numbers, on disk."""

    def open(self, folder: Path, effort: int) -> Opened:
        """Opens what was built; `effort` is one of the peer's."""


@runtime_checkable
class Server(Protocol):
    """An engine that is a server: it runs while others open."""

    def running(self, folder: Path) -> AbstractContextManager[None]:
        """Starts the server of a folder; it answers when the body begins, and has gone after it."""


@dataclass(frozen=True)
class Peer:
    """An engine before anything is imported.

    module, maker: where the Engine is made
    packages: distributions, the first one names the version
    modules: what the adapter imports, so that a missing one is known before
    settings: how it is built, with every value that is not the engine's own default
    knob, efforts: what trades recall for speed, from little to much; (0,) where nothing does
    shared: whether several processes can have the folder open
    rows_max: of more, it takes hours to take them in, or seconds to answer
    how: what a cold start is, where it is not a process that opens a folder
    """

    name: str
    module: str
    maker: str
    packages: Sequence[str]
    modules: Sequence[str]
    settings: str
    knob: str
    efforts: Sequence[int] = field(default=(0,))
    shared: bool = True
    is_server: bool = False
    rows_max: int = 10_000_000
    how: str = "a fresh process that imports the library, opens the folder and asks"

    def make(self) -> Engine:
        """Imports its adapter; raises Missing."""
        absent = [one for one in self.modules if importlib.util.find_spec(one) is None]
        if absent:
            raise Missing(
                f"{self.packages[0]} is not installed; run `make peers`, which installs it into "
                ".venv/peers."
            )
        engine: Engine = getattr(importlib.import_module(self.module), self.maker)()
        return engine

    def version(self) -> str:
        """Its packages and their versions."""
        try:
            return ", ".join(f"{one} {version(one)}" for one in self.packages)
        except PackageNotFoundError as error:
            raise Missing(f"{error.name} is not installed; run `make peers`.") from None


def say_progress(done: float, what: str) -> None:
    """Says how far building is, from 0 to 1, to whoever started this process; see `runner.py`."""
    print(f"{PROGRESS} {done:.3f} {what}", flush=True)


def smallest_effort(efforts: Sequence[int], reaches: Callable[[int], bool]) -> int:
    """The smallest effort that reaches what is wanted, to a sixteenth of it; the largest if none does.

    `efforts` are tried in turn, then what lies between the last two of them.
    """
    too_little = 0
    for effort in efforts:
        if reaches(effort):
            break
        too_little = effort
    enough = effort
    while too_little and enough - too_little > max(1, enough // _EFFORT_PARTS):
        between = (too_little + enough) // 2
        if reaches(between):
            enough = between
        else:
            too_little = between
    return enough


def padded(rows: Sequence[Sequence[int]], k: int) -> Numbers:
    """Rows found, of any length, as an array (b, k)."""
    found = np.full((len(rows), k), -1, np.int64)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row[:k]
    return found


def partitions(rows: int) -> int:
    """How many lists an inverted file gets: a power of two near 2 sqrt(n), as Torpor has."""
    return int(1 << max(3, round(float(np.log2(2 * np.sqrt(max(rows, 1)))))))
