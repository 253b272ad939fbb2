"""Which address an index is reached at by clients that name no index, and whose address a call came to.

An address follows from the index's host number, which is never given twice: clients remember it. There
are three ways, by the settings: an address of the loopback interface for each index, a port, or a name
below the server's domain. A call that came to none of them came to the server's own, main address.
"""

import socket
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from router.authority import Domain, join_authority, parse_domain, parse_ports, split_authority
from router.call import Call
from router.errors import CannotListen, NotFound
from router.index import Index
from router.settings import Settings
from storage.index_row import IndexRow

# 127.0.0.0/16 is left to others: systems keep resolvers and names of their own there.
_LOOPBACK_FIRST = int.from_bytes(socket.inet_aton("127.1.0.1"))
_LOOPBACK_LAST = int.from_bytes(socket.inet_aton("127.255.255.254"))
# How a socket that listens for IPv6 shows an IPv4 peer.
_MAPPED = "::ffff:"

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

# Every call asks for the number of the address it came to.
_ADDRESSES_REMEMBERED = 1_024

# A label of DNS has 63 characters, of which the index's name may take 45 and its dash one.
_LABEL_DIGITS = 17
FindHost = Callable[[int], Index]


class Addresses(Protocol):
    """The addresses of a server's indexes. `hosts_max` is the largest host number there can be."""

    hosts_max: int

    def url_of(self, row: IndexRow) -> str:
        """The address of an index, with its scheme."""

    def host_of(self, row: IndexRow) -> str:
        """The same without scheme, for clients that know by themselves whether to use TLS."""

    def find(self, call: Call, find_host: FindHost) -> Index | None:
        """The index whose address a call came to; None if that is the server's own.

        `find_host` finds an index by its host number. Raises NotFound if there is no such index.
        """


class LoopbackAddresses:
    """An address of 127.0.0.0/8 for each index, all with the server's one port."""

    hosts_max = _LOOPBACK_LAST - _LOOPBACK_FIRST + 1

    def __init__(self, port: int, scheme: str) -> None:
        self._port = port
        self._scheme = scheme

    def url_of(self, row: IndexRow) -> str:
        """See Addresses."""
        return f"{self._scheme}://{self.host_of(row)}"

    def host_of(self, row: IndexRow) -> str:
        """See Addresses."""
        address = _LOOPBACK_FIRST + row.host_number - 1
        return f"{socket.inet_ntoa(address.to_bytes(4))}:{self._port}"

    def find(self, call: Call, find_host: FindHost) -> Index | None:
        """See Addresses."""
        number = _number_at(call.local[0])
        return None if number is None else find_host(number)


class PortAddresses:
    """A port of its own for each index, all with one host."""

    def __init__(self, ports: range, host: str, scheme: str) -> None:
        """`host` is the one that clients are told."""
        self.hosts_max = len(ports)
        self._ports = ports
        self._host = host
        self._scheme = scheme

    def port_of(self, row: IndexRow) -> int:
        """The port to listen on for an index."""
        return self._ports[row.host_number - 1]

    def url_of(self, row: IndexRow) -> str:
        """See Addresses."""
        return f"{self._scheme}://{self.host_of(row)}"

    def host_of(self, row: IndexRow) -> str:
        """See Addresses."""
        return join_authority(self._host, self.port_of(row))

    def find(self, call: Call, find_host: FindHost) -> Index | None:
        """See Addresses."""
        port = call.local[1]
        return find_host(self._ports.index(port) + 1) if port in self._ports else None


class DomainAddresses:
    """A name for each index, NAME-<host number> below one domain, all with one port.

    The name is looked for in the host that the caller asked for, `:authority` or `Host`.
    """

    hosts_max = 10**_LABEL_DIGITS - 1

    def __init__(self, domain: Domain, port: int, tls: bool) -> None:
        """`port` is the one the server listens on, `tls` whether it does so with a certificate.

        Without one a proxy with a certificate is taken to stand in front, at the port of https.
        Scheme and port of the domain are said where that is not so.
        """
        self._scheme = domain.scheme or "https"
        told = domain.port
        if told is None:
            told = port if tls or self._scheme == "http" else 443
        self._suffix = f".{domain.name}"
        self._after = "" if (self._scheme, told) == ("https", 443) else f":{told}"

    def url_of(self, row: IndexRow) -> str:
        """See Addresses."""
        return f"{self._scheme}://{self.host_of(row)}"

    def host_of(self, row: IndexRow) -> str:
        """See Addresses."""
        return f"{_label(row)}{self._suffix}{self._after}"

    def find(self, call: Call, find_host: FindHost) -> Index | None:
        """See Addresses."""
        host = split_authority(call.authority)[0].lower().removesuffix(".")
        if not host.endswith(self._suffix):
            return None
        label = host.removesuffix(self._suffix)
        digits = label.rpartition("-")[2]
        if digits.isdecimal() and len(digits) <= _LABEL_DIGITS:
            index = find_host(int(digits))
            if _label(index.row) == label:
                return index
        raise NotFound(f"There is no index at {host}.")


def addresses_of(settings: Settings, port: int) -> Addresses:
    """The addresses that the settings ask for, of a server that listens on `port`.

    Raises CannotListen if the system gives some of them to others.
    """
    tls = bool(settings.tls_certificate)
    scheme = "https" if tls else "http"
    if settings.index_ports:
        ports = parse_ports(settings.index_ports)
        assert ports is not None
        check_ports(ports)
        host = settings.advertise_host or split_authority(settings.listen)[0]
        return PortAddresses(ports, host, scheme)
    if settings.domain:
        domain = parse_domain(settings.domain)
        assert domain is not None
        return DomainAddresses(domain, port, tls)
    return LoopbackAddresses(port, scheme)


def check_hosts(rows: Iterable[IndexRow], addresses: Addresses) -> None:
    """Raises CannotListen if there is an index whose number is beyond all addresses."""
    for row in rows:
        if row.host_number > addresses.hosts_max:
            raise CannotListen(
                f"Index {row.name!r} has the number {row.host_number}, and index_ports has "
                f"{addresses.hosts_max} ports; give it at least as many."
            )


def check_ports(ports: range, ephemeral: Path = _EPHEMERAL) -> None:
    """Raises CannotListen if the system gives some of these ports to outgoing connections.

    One of them may be taken by any program at any moment, and an index would lose its address.
    """
    first, last = map(int, ephemeral.read_text().split())
    if ports[0] <= last and first <= ports[-1]:
        raise CannotListen(
            f"index_ports is {ports[0]}-{ports[-1]}, and the system gives ports {first} to {last} to "
            f"outgoing connections (see {ephemeral}). Choose ports below {first} or above {last}."
        )


@lru_cache(_ADDRESSES_REMEMBERED)
def _number_at(address: str) -> int | None:
    """The host number of a loopback address; None for one that is no index's."""
    try:
        number = int.from_bytes(socket.inet_aton(address.removeprefix(_MAPPED)))
    except OSError:
        return None
    return number - _LOOPBACK_FIRST + 1 if _LOOPBACK_FIRST <= number <= _LOOPBACK_LAST else None


def _label(row: IndexRow) -> str:
    return f"{row.name}-{row.host_number}"
