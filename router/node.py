"""The indexes of one server: creating, finding, touching and deleting them.

Everything runs on the event loop; what blocks (the catalog, recovery, deleting) runs in threads.
"""

import asyncio
import logging
import secrets
import time
from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from router.dedicated import DedicatedOpener
from router.errors import AlreadyExists, NotFound, ProtectedIndex, Unavailable
from router.index import Index, LiveIndex, Machinery, gone, open_index
from router.index_ports import IndexPorts
from router.memory import give_back_memory
from storage.catalog import Catalog
from storage.errors import StorageError
from storage.index_row import CollectionRow, Costs, IndexRow

log = logging.getLogger("torpor.node")

# Costs are told to the catalog this long after the last index fell asleep, together.
_SAVE_SECONDS = 1.0


class Node:
    """All indexes by name."""

    def __init__(
        self,
        catalog: Catalog,
        machinery: Machinery,
        hosts_max: int,
        ports: IndexPorts | None = None,
    ) -> None:
        """Reads the catalog, and nothing else. `ports` is where indexes have a port each."""
        self._catalog = catalog
        self._hosts_max = hosts_max
        self._ports = ports
        self._machinery = machinery
        self._changes = machinery.changes
        self._indexes = {row.name: Index(row, Costs()) for row in catalog.all_rows()}
        self._names = sorted(self._indexes)
        self._hosts = {index.row.host_number: index for index in self._indexes.values()}
        self._busy: set[str] = set()
        self._configuring = asyncio.Lock()
        self._stopping = False
        self._slept_timer: asyncio.TimerHandle | None = None
        self._opener = DedicatedOpener(self._touch, machinery.start_task)
        for row in (index.row for index in self._indexes.values()):
            machinery.capacity.keep(row.name, row.replicas)

    def rows(self) -> list[IndexRow]:
        """Every index there is."""
        return [index.row for index in self._indexes.values()]

    def __len__(self) -> int:
        return len(self._indexes)

    def start(self) -> None:
        """Begins to wake the dedicated replicas."""
        for index in self._indexes.values():
            if index.row.replicas:
                self._opener.open(index)

    # The control plane

    async def create(self, row: IndexRow, source: CollectionRow | None = None) -> Index:
        """Makes an index durable and ready, empty or with what `source` holds.

        `row.id` and `row.created_unix_ms` are set here.
        """
        return await self._changes.run(self._create(row, source))

    async def _create(self, row: IndexRow, source: CollectionRow | None) -> Index:
        if row.name in self._indexes or row.name in self._busy:
            raise AlreadyExists(f"There is already an index named {row.name!r}.")
        row = replace(row, id=secrets.token_hex(8), created_unix_ms=int(time.time() * 1e3))
        with self._reserved(row.name), self._promised(row):
            row = await self._changes.thread(self._catalog.create, row, self._hosts_max, source)
            if self._ports is not None:
                await self._open_port(row, self._ports)
            self._add(Index(row, Costs()))
        log.info("created index=%s id=%s", row.name, row.id)
        return self._indexes[row.name]

    async def _open_port(self, row: IndexRow, ports: IndexPorts) -> None:
        try:
            await ports.open(row)
        except Unavailable:
            # Without its port it is an index that nobody could rely on: it was never there.
            self._empty_trash(await self._changes.thread(self._catalog.delete, row))
            raise

    def find(self, name: str) -> Index:
        """The index of this name; raises NotFound."""
        index = self._indexes.get(name)
        if index is None:
            raise gone(name)
        return index

    def find_host(self, number: int) -> Index:
        """The index with this host number; raises NotFound."""
        index = self._hosts.get(number)
        if index is None:
            raise NotFound("The index with this address does not exist.")
        return index

    def page(self, after: str, size: int, only: Collection[str] | None) -> tuple[list[Index], bool]:
        """Up to `size` indexes whose names follow `after`, and whether there are more.

        `only` are the names that may be among them, None for all.
        """
        names = self._names if only is None else sorted(self._indexes.keys() & only)
        start = bisect_right(names, after) if after else 0
        page = names[start : start + size]
        return [self._indexes[name] for name in page], start + size < len(names)

    async def configure(self, name: str, change: Callable[[IndexRow], IndexRow]) -> Index:
        """Makes a change of an index's settings durable and puts it into force."""
        return await self._changes.run(self._configure(name, change))

    async def _configure(self, name: str, change: Callable[[IndexRow], IndexRow]) -> Index:
        # One after the other: each change is made to what the one before has left.
        async with self._configuring:
            index = self.find(name)
            row = change(index.row)
            with self._promised(row):
                await self._changes.thread(self._catalog.configure, row)
                if self._indexes.get(name) is not index:
                    raise gone(name)
                index.row = replace(row, costs=index.row.costs)
            if index.live is not None:
                index.live.reconfigured()
            elif row.replicas:
                self._opener.open(index)
            return index

    async def delete(self, name: str) -> None:
        """Deletes an index for good; its files are unlinked after the call."""
        await self._changes.run(self._delete(name))

    async def _delete(self, name: str) -> None:
        index = self.find(name)
        if index.row.deletion_protection:
            raise ProtectedIndex(
                f"Deletion protection is enabled for this index, {name!r}; turn it off first."
            )
        with self._reserved(name):
            self._remove(index)
            try:
                for task in (index.closing, index.opening):
                    if task is not None:
                        await asyncio.wait([task])
                if index.live is not None:
                    await index.live.end(gone(name))
                trash = await self._changes.thread(self._catalog.delete, index.row)
            except BaseException:
                # It still exists, on disk and so here.
                index.live = None
                self._add(index)
                raise
        if self._ports is not None:
            self._ports.close(index.row)
        self._empty_trash(trash)
        log.info("deleted index=%s id=%s", name, index.row.id)

    # The data plane

    async def open(self, index: Index) -> LiveIndex:
        """The machinery of an index, recovered if this is its first touch.

        Enter it as a context at once: `with await node.open(index) as live`.
        """
        if self._stopping:
            raise Unavailable("The server is shutting down.")
        return index.live or await self._recovered(index)

    def slept(self) -> None:
        """An index has fallen asleep: soon, costs are saved and memory is given back."""
        if self._slept_timer is None and not self._stopping:
            self._slept_timer = self._machinery.loop.call_later(_SAVE_SECONDS, self._settle)

    def quieted(self, index: Index) -> None:
        """Lets the machinery of a quiet index go."""
        live, index.live = index.live, None
        if live is not None:
            resting = Unavailable(f"Index {index.row.name!r} is being put to rest.")
            index.closing = self._machinery.start_task(live.end(resting))
            index.closing.add_done_callback(lambda _: self._closed(index))

    def _closed(self, index: Index) -> None:
        index.closing = None

    def _settle(self) -> None:
        self._slept_timer = None
        self._machinery.start_task(self.save_costs())
        give_back_memory()

    async def save_costs(self) -> None:
        """Tells the catalog what has been used since it was last told."""
        due = [index for index in self._indexes.values() if index.unsaved != Costs()]
        changes = [(index.row.id, index.unsaved) for index in due]
        for index in due:
            index.row = replace(index.row, costs=index.row.costs + index.unsaved)
            index.unsaved = Costs()
        if not changes:
            return
        try:
            await self._changes.thread(self._catalog.add_costs, changes)
        except StorageError as error:
            # A bill that is a little low is better than a server that stops.
            log.error("costs_not_saved error=%s", error)

    async def stop(self) -> None:
        """Ends every worker and builder, closes every log, saves the costs."""
        self._stopping = True
        stopping = Unavailable("The server is shutting down.")
        if self._slept_timer is not None:
            self._slept_timer.cancel()
        await self._opener.stop()
        indexes = self._indexes.values()
        tasks = [task for i in indexes for task in (i.opening, i.closing) if task is not None]
        if tasks:
            await asyncio.wait(tasks)
        live = [i.live for i in self._indexes.values() if i.live is not None]
        await asyncio.gather(*(one.end(stopping) for one in live))
        await self._changes.finish()
        await self.save_costs()

    async def _touch(self, index: Index) -> None:
        await self.open(index)

    async def _recovered(self, index: Index) -> LiveIndex:
        """Recovers an index once, however many calls wait for it."""
        if index.opening is None:
            index.opening = asyncio.create_task(self._recover(index))
            index.opening.add_done_callback(lambda task: self._opened(index, task))
        live = await asyncio.shield(index.opening)
        if self._indexes.get(index.row.name) is not index:
            raise gone(index.row.name)
        return live

    async def _recover(self, index: Index) -> LiveIndex:
        if index.closing is not None:
            await asyncio.wait([index.closing])
        live = await open_index(index, self._machinery, self)
        # At once, or a change of its settings might miss it.
        index.live = live
        return live

    def _opened(self, index: Index, task: asyncio.Task[LiveIndex]) -> None:
        index.opening = None
        # Whoever waits for it hears of a failure.
        task.exception()

    def _empty_trash(self, remains: Path) -> None:
        self._machinery.start_task(self._changes.thread(self._catalog.empty_trash, remains))

    def _add(self, index: Index) -> None:
        self._indexes[index.row.name] = index
        self._hosts[index.row.host_number] = index
        insort(self._names, index.row.name)
        self._machinery.capacity.keep(index.row.name, index.row.replicas)
        if index.row.replicas:
            self._opener.open(index)

    def _remove(self, index: Index) -> None:
        del self._indexes[index.row.name]
        del self._hosts[index.row.host_number]
        self._names.remove(index.row.name)
        self._machinery.capacity.keep(index.row.name, 0)
        self._opener.forget(index)

    @contextmanager
    def _reserved(self, name: str) -> Iterator[None]:
        """Keeps a name from being taken while it is being created or deleted."""
        self._busy.add(name)
        try:
            yield
        finally:
            self._busy.discard(name)

    @contextmanager
    def _promised(self, row: IndexRow) -> Iterator[None]:
        """Room for the replicas an index is to have; what it has keeps its room if that fails."""
        self._machinery.capacity.promise(row.name, row.replicas)
        try:
            yield
        except BaseException:
            index = self._indexes.get(row.name)
            self._machinery.capacity.keep(row.name, 0 if index is None else index.row.replicas)
            raise
