"""A listening port for each index, where that is how indexes are addressed (`index_ports`)."""

from collections.abc import Iterable

from router.addresses import PortAddresses
from router.call import Front
from router.errors import CannotListen, Unavailable
from storage.index_row import IndexRow


class IndexPorts:
    """Listens on the ports of the indexes that exist, and no others."""

    def __init__(self, addresses: PortAddresses, front: Front) -> None:
        self._addresses = addresses
        self._front = front

    async def open_all(self, rows: Iterable[IndexRow]) -> None:
        """Listens for the indexes that there are; raises CannotListen if one cannot have its port.

        A server that started without it would leave its clients to whoever has taken the port.
        """
        for row in rows:
            await self._front.add_port(self._addresses.port_of(row))

    async def open(self, row: IndexRow) -> None:
        """Listens for an index that is new; raises Unavailable if it cannot have its port."""
        try:
            await self._front.add_port(self._addresses.port_of(row))
        except CannotListen as error:
            raise Unavailable(
                f"Index {row.name!r} was not created: {error} Try again: it will be given another port."
            ) from None

    def close(self, row: IndexRow) -> None:
        """Stops listening for an index that is deleted."""
        self._front.remove_port(self._addresses.port_of(row))
