"""Hosts, ports and domains as settings and clients write them: HOST:PORT, FIRST-LAST, DOMAIN.

An IPv6 address stands in brackets where a port may follow.
"""

import ipaddress
import re
from dataclasses import dataclass

PORT_MAX = 65_535

_DOMAIN = re.compile(
    r"(?:(https?)://)?"
    r"([a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*)"
    r"(?::([0-9]{1,5}))?"
)
_NAME = re.compile(r"[A-Za-z0-9.-]+")
_PORTS = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as clients see it, in lower case; scheme and port are None where they are not said."""

    scheme: str | None
    name: str
    port: int | None


def split_authority(text: str) -> tuple[str, str]:
    """Host, without brackets, and port, empty where there is none."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


def join_authority(host: str, port: int) -> str:
    """What `split_authority` takes apart."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_ports(text: str) -> range | None:
    """The ports of FIRST-LAST; None for what is not that."""
    found = _PORTS.fullmatch(text)
    if found is None:
        return None
    ports = range(int(found[1]), int(found[2]) + 1)
    return ports if ports and ports[0] >= 1 and ports[-1] <= PORT_MAX else None


def parse_domain(text: str) -> Domain | None:
    """The domain of [http://|https://]DOMAIN[:PORT]; None for what is not that."""
    found = _DOMAIN.fullmatch(text.lower())
    if found is None:
        return None
    scheme, name, port = found.groups()
    if port is not None and not 1 <= int(port) <= PORT_MAX:
        return None
    return Domain(scheme, name, None if port is None else int(port))


def is_host(text: str) -> bool:
    """Whether this may be a host: a name or an address, without port and brackets."""
    return _NAME.fullmatch(text) is not None or _address(text) is not None


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach what listens on a host."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def is_any(host: str) -> bool:
    """Whether a host stands for every address of the machine."""
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
