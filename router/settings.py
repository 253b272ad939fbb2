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

from router.authority import (
    PORT_MAX,
    is_any,
    is_host,
    is_loopback,
    parse_domain,
    parse_ports,
    split_authority,
)
from router.limits import IDLE_SECONDS_MAX, IDLE_SECONDS_MIN
from storage.limits import EXACT_ROWS_MIN


class BadSettings(Exception):
    """A setting is unknown, of the wrong kind or out of bounds; the message says which and where."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; the field names are the names everywhere."""

    data: str = "./torpor-data"
    listen: str = "127.0.0.1:7700"
    idle_seconds: float = 60.0
    workers_awake_max: int = 64
    index_workers_max: int = 4
    spare_workers: int = 1
    memory_bytes_max: int = 8 << 30
    exact_rows_max: int = 0
    gpu: str = "auto"
    gpu_workers_max: int = 1
    log_level: str = "info"
    front: str = "torpor"
    index_ports: str = ""
    advertise_host: str = ""
    domain: str = ""
    keys_file: str = ""
    insecure: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""

    def __post_init__(self) -> None:
        """Raises BadSettings for a value out of bounds."""
        if not IDLE_SECONDS_MIN <= self.idle_seconds <= IDLE_SECONDS_MAX:
            raise BadSettings(
                f"idle_seconds is {self.idle_seconds}; it must be {IDLE_SECONDS_MIN} to "
                f"{IDLE_SECONDS_MAX:.0f}."
            )
        if self.workers_awake_max < 1:
            raise BadSettings("workers_awake_max must be at least 1.")
        if self.index_workers_max < 1:
            raise BadSettings("index_workers_max must be at least 1.")
        if self.spare_workers not in (0, 1):
            raise BadSettings("spare_workers must be 0 or 1.")
        if self.memory_bytes_max < 1 << 20:
            raise BadSettings("memory_bytes_max must be at least 1048576 (1 MiB).")
        if self.exact_rows_max and self.exact_rows_max < EXACT_ROWS_MIN:
            raise BadSettings(
                f"exact_rows_max must be at least {EXACT_ROWS_MIN}, or 0 for the default of each index."
            )
        if self.gpu not in ("auto", "off"):
            raise BadSettings("gpu must be auto or off.")
        if self.gpu_workers_max < 0:
            raise BadSettings("gpu_workers_max must be at least 0.")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise BadSettings("log_level must be debug, info, warning or error.")
        if self.front not in ("torpor", "grpcio"):
            raise BadSettings("front must be torpor or grpcio.")
        host, port = split_authority(self.listen)
        if not (host and port.isdecimal() and int(port) <= PORT_MAX):
            raise BadSettings(f"listen is {self.listen!r}; it must be HOST:PORT, port 0 for any.")
        if self.front != "torpor" and (self.index_ports or self.domain or self.tls_certificate):
            raise BadSettings(
                f"front is {self.front}, which neither knows where a call was sent to nor speaks TLS; "
                "index_ports, domain and tls_certificate need front torpor."
            )
        self._check_addresses(host, int(port))
        self._check_access(host)

    def warnings(self) -> list[str]:
        """What is allowed, and seldom meant."""
        found: list[str] = []
        if self.domain and not self.keys_file:
            found.append(
                "There is a domain and there are no API keys: whoever comes through a proxy may do "
                "everything; set keys_file."
            )
        if is_loopback(split_authority(self.listen)[0]):
            return found
        if not (self.index_ports or self.domain):
            found.append(
                "Indexes have addresses that only this machine reaches; set domain or index_ports, or "
                "let every call name its index."
            )
        if self.keys_file and not self.tls_certificate:
            found.append(
                "Keys cross the network in the clear; set tls_certificate, or let nothing but a proxy "
                "with a certificate reach the server."
            )
        return found

    def _check_addresses(self, host: str, port: int) -> None:
        if self.index_ports and self.domain:
            raise BadSettings("index_ports and domain are two ways of one thing; choose one.")
        if self.index_ports:
            ports = parse_ports(self.index_ports)
            if ports is None:
                raise BadSettings(
                    f"index_ports is {self.index_ports!r}; it must be FIRST-LAST, like 20000-29999."
                )
            if port in ports:
                raise BadSettings(
                    f"index_ports is {self.index_ports}, which has the port of listen, {port}, in it."
                )
            if is_any(host) and not self.advertise_host:
                raise BadSettings(
                    f"listen is {self.listen}, every address of this machine: say with "
                    "advertise_host at which one clients reach the ports of indexes."
                )
        elif self.advertise_host:
            raise BadSettings("advertise_host says where index_ports are; set both, or neither.")
        if self.advertise_host and not is_host(self.advertise_host):
            raise BadSettings(
                f"advertise_host is {self.advertise_host!r}; it must be a host without port."
            )
        if self.domain and parse_domain(self.domain) is None:
            raise BadSettings(
                f"domain is {self.domain!r}; it must be DOMAIN, where need be with http:// or "
                "https:// ahead of it and :PORT after it."
            )

    def _check_access(self, host: str) -> None:
        if not (self.keys_file or self.insecure or is_loopback(host)):
            raise BadSettings(
                f"listen is {self.listen}, where others reach the server, and it has no API keys. "
                "Make one with `torpor key create --keys-file FILE` and set keys_file to FILE, or "
                "set insecure to let everybody who reaches the server do everything."
            )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise BadSettings("tls_certificate and tls_key belong together; set both, or neither.")
        if self.tls_client_ca and not self.tls_certificate:
            raise BadSettings("tls_client_ca needs tls_certificate and tls_key.")


_HELP = {
    "data": "folder for everything the server keeps",
    "listen": "HOST:PORT to listen on; port 0 takes any free port",
    "idle_seconds": "seconds without a query after which an index falls asleep",
    "workers_awake_max": "workers that may be awake at the same time",
    "index_workers_max": "workers that an index on demand may have while one does not keep up, but "
    "never more than there are cores; 1: it always has one",
    "spare_workers": "processes kept ready for the next index that wakes, 0 or 1; one makes a wake "
    "several milliseconds quicker and takes a few MB of memory",
    "memory_bytes_max": "private memory that all workers together may have, in bytes",
    "exact_rows_max": "records of a namespace up to which it is searched as a whole; more get centroids "
    "and are searched approximately, unless a query is to be exact; 0: 100,000,000 / dimension",
    "gpu": "auto, to compute on a graphics card where there is one and CuPy is installed, or off",
    "gpu_workers_max": "workers that may use the card at the same time; each takes most of its memory",
    "log_level": "debug, info, warning or error",
    "front": "what speaks HTTP: torpor, or grpcio as a second one, which serves gRPC alone and no REST",
    "index_ports": "FIRST-LAST: a port of its own for each index, from these",
    "advertise_host": "the host that clients are told with index_ports; default: that of listen",
    "domain": "DOMAIN: a name of its own for each index, NAME-<number>.DOMAIN",
    "keys_file": "the file of API keys, made by `torpor key create`; without it, none is asked for",
    "insecure": "listen where others reach the server although it has no API keys",
    "tls_certificate": "PEM file of the certificate and those that it is signed with",
    "tls_key": "PEM file of the certificate's private key",
    "tls_client_ca": "PEM file of the authorities by whom clients' certificates must be signed",
}


_SWITCH = {"true": True, "1": True, "false": False, "0": False, "": False}


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
        flag = f"--{one.name.replace('_', '-')}"
        if isinstance(one.default, bool):
            switch = argparse.BooleanOptionalAction
            parser.add_argument(flag, action=switch, help=_HELP[one.name])
        else:
            parser.add_argument(
                flag,
                metavar=one.name.rpartition("_")[2].upper(),
                help=_HELP[one.name] + (f" (default: {one.default})" if one.default else ""),
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
    if kind is bool:
        if isinstance(value, str):
            value = _SWITCH.get(value.lower())
        if not isinstance(value, bool):
            raise BadSettings(f"{name} must be true or false.")
        return value
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise BadSettings(f"{name} is {value!r}; it must be of type {kind.__name__}.") from None
