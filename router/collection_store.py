"""The collections of one server: what indexes held at some moment, kept apart from them."""

import logging
import secrets
import time

from router.errors import AlreadyExists, NotFound, RouterError
from router.index import Index, Machinery
from router.node import Node
from storage.catalog import Catalog
from storage.errors import StorageError
from storage.index_row import CollectionRow, IndexRow

log = logging.getLogger("torpor.collections")


class CollectionStore:
    """All collections by name."""

    def __init__(self, catalog: Catalog, machinery: Machinery, node: Node) -> None:
        """Reads the catalog, and nothing else."""
        self._node = node
        self._catalog = catalog
        self._changes = machinery.changes
        self._start_task = machinery.start_task
        self._rows = {row.name: row for row in catalog.all_collections()}
        self._busy: set[str] = set()

    def find(self, name: str) -> CollectionRow:
        """The collection of this name; raises NotFound."""
        row = self._rows.get(name)
        if row is None:
            raise gone(name)
        return row

    def all(self) -> list[CollectionRow]:
        """In byte order of the names."""
        return sorted(self._rows.values(), key=lambda row: row.name)

    async def create(self, name: str, source: str) -> CollectionRow:
        """Keeps all that an index holds when this is called, and perhaps what is written meanwhile."""
        return await self._changes.run(self._create(name, source))

    async def _create(self, name: str, source: str) -> CollectionRow:
        index = self._index(source)
        if name in self._rows or name in self._busy:
            raise AlreadyExists(f"There is already a collection named {name!r}.")
        self._busy.add(name)
        try:
            with await self._node.open(index) as live:
                await live.upkeep.fold()
                new = _new(name, index.row)
                with live.holding() as held:
                    row = await self._changes.thread(self._catalog.create_collection, new, held)
            self._rows[name] = row
        except (RouterError, StorageError):
            # Was the index deleted meanwhile, with its files?
            self._index(source)
            raise
        finally:
            self._busy.discard(name)
        log.info("created collection=%s id=%s source=%s", name, row.id, source)
        return row

    def _index(self, name: str) -> Index:
        try:
            return self._node.find(name)
        except NotFound:
            raise gone(name) from None

    async def delete(self, name: str) -> None:
        """Deletes a collection for good; its files are unlinked after the call."""
        await self._changes.run(self._delete(name))

    async def _delete(self, name: str) -> None:
        row = self.find(name)
        del self._rows[name]
        self._busy.add(name)
        try:
            remains = await self._changes.thread(self._catalog.delete, row)
        except BaseException:
            # It still exists, on disk and so here.
            self._rows[name] = row
            raise
        finally:
            self._busy.discard(name)
        self._start_task(self._changes.thread(self._catalog.empty_trash, remains))
        log.info("deleted collection=%s id=%s", name, row.id)


def gone(name: str) -> NotFound:
    """The error for a collection, or the source of one, that does not exist."""
    return NotFound(f"Resource {name} not found")


def _new(name: str, row: IndexRow) -> CollectionRow:
    return CollectionRow(
        id=secrets.token_hex(8),
        name=name,
        source=row.name,
        dimension=row.dimension,
        metric=row.metric,
        cloud=row.cloud,
        region=row.region,
        environment=row.pod.environment if row.pod is not None else row.region,
        schema=row.schema,
        record_count=0,
        size_bytes=0,
        created_unix_ms=int(time.time() * 1e3),
    )
