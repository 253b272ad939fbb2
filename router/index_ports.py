"""A listening port for each index, where that is how indexes are addressed (`index_ports`)."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from router.addresses import PortAddresses
from router.errors import CannotListen, Unavailable
from storage.index_row import IndexRow


class Door(Protocol):
    """A port that is listened on."""

    def close(self) -> None:
        """Takes no more connections; those that exist stay."""


Listen = Callable[[int], Awaitable[Door]]


class IndexPorts:
    """Listens on the ports of the indexes that exist, and no others."""

    def __init__(self, addresses: PortAddresses, listen: Listen) -> None:
        """`listen` opens one port; it raises CannotListen."""
        self._addresses = addresses
        self._listen = listen
        self._doors: dict[int, Door] = {}

    async def open_all(self, rows: Iterable[IndexRow]) -> None:
        """Listens for every index there is; raises CannotListen if one cannot have its port.

        A server that starts without it would let clients talk to whoever has taken the port.
        """
        for row in rows:
            await self._open(row)

    async def open(self, row: IndexRow) -> None:
        """Listens for an index that is new; raises Unavailable if it cannot have its port."""
        try:
            await self._open(row)
        except CannotListen as error:
            raise Unavailable(
                f"Index {row.name!r} was not created: {error} Try again: the next port will be tried."
            ) from None

    def close(self, row: IndexRow) -> None:
        """Stops listening for an index that is deleted."""
        if (door := self._doors.pop(row.host_number, None)) is not None:
            door.close()

    def close_all(self) -> None:
        """Stops listening for all of them."""
        for door in self._doors.values():
            door.close()
        self._doors.clear()

    async def _open(self, row: IndexRow) -> None:
        self._doors[row.host_number] = await self._listen(self._addresses.port_of(row))
