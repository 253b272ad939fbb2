"""The settings of a server.

Flags win over TORPOR_* variables, those over a TOML file, those over defaults.
"""

import argparse
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from router.limits import IDLE_SECONDS_MAX, IDLE_SECONDS_MIN


class BadSettings(Exception):
    """A setting is unknown, of the wrong kind or out of bounds; the message says which and where."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; the field names are the names everywhere."""

    data: str = "./torpor-data"
    listen: str = "127.0.0.1:7700"
    idle_seconds: float = 60.0
    workers_awake_max: int = 64
    memory_bytes_max: int = 8 << 30
    log_level: str = "info"
    front: str = "torpor"

    def __post_init__(self) -> None:
        """Raises BadSettings for a value out of bounds."""
        if not IDLE_SECONDS_MIN <= self.idle_seconds <= IDLE_SECONDS_MAX:
            raise BadSettings(
                f"idle_seconds is {self.idle_seconds}; it must be {IDLE_SECONDS_MIN} to "
                f"{IDLE_SECONDS_MAX:.0f}."
            )
        if self.workers_awake_max < 1:
            raise BadSettings("workers_awake_max must be at least 1.")
        if self.memory_bytes_max < 1 << 20:
            raise BadSettings("memory_bytes_max must be at least 1048576 (1 MiB).")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise BadSettings("log_level must be debug, info, warning or error.")
        if self.front not in ("torpor", "grpcio"):
            raise BadSettings("front must be torpor or grpcio.")
        host, colon, port = self.listen.rpartition(":")
        if not (host and colon and port.isdecimal() and int(port) < 65536):
            raise BadSettings(f"listen is {self.listen!r}; it must be HOST:PORT, port 0 for any.")


_HELP = {
    "data": "folder for everything the server keeps",
    "listen": "HOST:PORT to listen on; port 0 takes any free port",
    "idle_seconds": "seconds without a query after which an index falls asleep",
    "workers_awake_max": "indexes that may be awake at the same time",
    "memory_bytes_max": "private memory that all workers together may have, in bytes",
    "log_level": "debug, info, warning or error",
    "front": "what speaks HTTP: torpor, or grpcio as a second one, which serves gRPC alone and no REST",
}


def read_settings(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings of `torpor serve` for these command-line arguments; raises BadSettings."""
    parser = argparse.ArgumentParser(
        prog="torpor serve",
        description="Serve the indexes of one data folder over gRPC.",
        epilog="Each setting can also be given as an environment variable (TORPOR_IDLE_SECONDS=5) "
        "or in a TOML file (idle_seconds = 5). Flags win over variables, variables over the file.",
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    for one in fields(Settings):
        parser.add_argument(
            f"--{one.name.replace('_', '-')}",
            dest=one.name,
            metavar=one.name.rpartition("_")[2].upper(),
            help=f"{_HELP[one.name]} (default: {one.default})",
        )
    flags = vars(parser.parse_args(arguments))
    config = flags.pop("config") or environment.get("TORPOR_CONFIG")
    values: dict[str, object] = _read_file(Path(config)) if config else {}
    for one in fields(Settings):
        variable = f"TORPOR_{one.name.upper()}"
        if variable in environment:
            values[one.name] = environment[variable]
        if flags[one.name] is not None:
            values[one.name] = flags[one.name]
    defaults = asdict(Settings())
    converted = {name: _convert(name, value, defaults[name]) for name, value in values.items()}
    return replace(Settings(), **converted)


def _read_file(path: Path) -> dict[str, object]:
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadSettings(f"Cannot read {path}: {error.strerror}.") from None
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{path} is not TOML: {error}.") from None
    known = {one.name for one in fields(Settings)}
    if unknown := sorted(values.keys() - known):
        raise BadSettings(f"{path} has settings that do not exist: {', '.join(unknown)}.")
    return values


def _convert(name: str, value: object, default: object) -> Any:
    """The value in the kind of its default."""
    kind: Any = type(default)
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise BadSettings(f"{name} is {value!r}; it must be of type {kind.__name__}.") from None
