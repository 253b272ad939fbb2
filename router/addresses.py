"""Which address an index is reached at by clients that name no index, and whose address a call came to.

The address follows from the index's host number, which is never given twice: clients remember it.
"""

import ipaddress
from typing import Protocol

from router.call import Call
from storage.index_row import IndexRow

_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
# 127.0.0.0/16 is left to others: systems keep resolvers and names of their own there.
_FIRST_LOOPBACK = int(ipaddress.IPv4Address("127.1.0.1"))


class Addresses(Protocol):
    """The addresses of a server's indexes. `hosts_max` is the largest host number there can be."""

    hosts_max: int

    def url_of(self, row: IndexRow) -> str:
        """The address of an index, with its scheme."""

    def number_of(self, call: Call) -> int | None:
        """The host number of the index whose address a call came to; None for the server's own."""


class LoopbackAddresses:
    """An address of 127.0.0.0/8 for each index, all with the server's one port."""

    hosts_max = int(_LOOPBACK.broadcast_address) - _FIRST_LOOPBACK

    def __init__(self, port: int) -> None:
        self._port = port

    def url_of(self, row: IndexRow) -> str:
        """See Addresses."""
        address = ipaddress.IPv4Address(_FIRST_LOOPBACK + row.host_number - 1)
        return f"http://{address}:{self._port}"

    def number_of(self, call: Call) -> int | None:
        """See Addresses."""
        address, _ = call.local
        try:
            number = int(ipaddress.IPv4Address(address)) - _FIRST_LOOPBACK + 1
        except ipaddress.AddressValueError:
            return None
        return number if 1 <= number <= self.hosts_max else None
