"""What `torpor upsert` remembers beside the file it loads, so that --resume can go on.

A small JSON file, FILE.torpor-resume: where the rows went, how many of them are stored without a gap,
the size and time of every file that was read, and a digest of the stored rows. It is replaced as a
whole while rows are stored, and removed when all of them are.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torpor.cli.errors import CommandError

_SUFFIX = ".torpor-resume"
_VERSION = 1
# What a crash of this program loses; rows that are stored twice are the same rows.
_SECONDS_BETWEEN = 0.2


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows go. The id tells an index from a later one of the same name."""

    server: str
    index: str
    index_id: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load has come."""

    target: Target
    rows: int
    digest: bytes
    files: list[list[object]]  # path, size, modification time in ns

    def is_of(self, files: Sequence[Path]) -> bool:
        """Whether these are the same files, and nobody has written to them since."""
        return self.files == fingerprint(files)


class ResumeFile:
    """The file beside an input file."""

    def __init__(self, path: Path, target: Target, files: Sequence[Path]) -> None:
        """`path` is the input file, `files` all that are read with it."""
        self.path = path.with_name(path.name + _SUFFIX)
        self.problem = ""  # why progress cannot be kept
        self._target = target
        self._fingerprint = fingerprint(files)
        self._written = 0.0

    def read(self) -> Progress | None:
        """What an earlier load left; raises CommandError if it is unreadable or of another target."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            progress = Progress(
                Target(**content["target"]),
                int(content["rows"]),
                bytes.fromhex(content["digest"]),
                content["files"],
            )
            if content["version"] != _VERSION:
                raise CommandError(f"{self.path} is of another version of torpor; remove it")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandError(f"{self.path} cannot be read ({error}); remove it") from None
        for what, was in asdict(progress.target).items():
            if was != getattr(self._target, what):
                raise CommandError(self._other_target(what, was, getattr(self._target, what)))
        return progress

    def write(self, rows: int, digest: bytes, *, at_once: bool = False) -> None:
        """Keeps how far the load has come; not every time, unless `at_once`."""
        if self.problem or (not at_once and time.monotonic() - self._written < _SECONDS_BETWEEN):
            return
        content = {
            "version": _VERSION,
            "target": asdict(self._target),
            "rows": rows,
            "digest": digest.hex(),
            "files": self._fingerprint,
        }
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            fresh.write_text(json.dumps(content) + "\n", encoding="utf-8")
            fresh.replace(self.path)
        except OSError as error:
            # A folder that cannot be written to is no reason not to load from it.
            self.problem = f"{self.path}: {error.strerror}"
        self._written = time.monotonic()

    def remove(self) -> None:
        """Forgets: all is stored."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror}"

    def _other_target(self, what: str, was: str, now: str) -> str:
        if what == "index_id":
            return (
                f"{self.path} is of an earlier index {self._target.index!r}, which was deleted; "
                "load again without --resume"
            )
        return (
            f"{self.path} is of a load into the {what} {was!r}, and not {now!r}; name the same, or "
            "load again without --resume"
        )


def fingerprint(files: Sequence[Path]) -> list[list[object]]:
    """The path, size and modification time of each file."""
    stats = [(one.resolve(), one.stat()) for one in files]
    return [[str(one), stat.st_size, stat.st_mtime_ns] for one, stat in stats]
