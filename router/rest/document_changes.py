"""Changing documents by reading them, and storing them on condition that nobody else has.

The data plane's own update sets fields and cannot remove one. So a group of documents is read, changed
here, and stored with `if_lsn`, all of the group or none; if somebody was faster, it is read again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from google.protobuf.struct_pb2 import Struct

from router.call import Call, Reply
from router.errors import ConditionFailed, Overloaded
from router.rest.methods import Methods
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data

# Changes a record, and says whether that made a difference.
Change = Callable[[twin.VectorTwin], bool]

# Documents of a group. With 20,000 dimensions and 40 KiB of metadata each they fit into a message.
GROUP = 100
# Somebody else must be faster so many times in a row before the caller hears of it.
_ATTEMPTS = 10


class DocumentChanges:
    """Changes documents of one namespace, for one call."""

    def __init__(self, methods: Methods, namespace: str, call: Call) -> None:
        self._methods = methods
        self._namespace = namespace
        self._call = call
        # The reply to the last write, if there was one.
        self.written: Reply | None = None

    async def by_id(self, changes: Mapping[str, Change]) -> None:
        """Changes each document in its own way; ids that do not exist are left out."""
        ids = list(changes)
        for start in range(0, len(ids), GROUP):
            await self._change(
                self._fetch(ids[start : start + GROUP]),
                lambda record: changes[record.id.decode()](record),
            )

    async def by_filter(self, condition: Struct, change: Change) -> int:
        """Changes all documents that match in one way, group by group; how many matched."""
        matched, token = 0, ""
        while True:
            read = self._fetch_page(condition, token)
            found = await self._change(read, change)
            matched += len(found.vectors)
            if not found.HasField("pagination"):
                return matched
            token = found.pagination.next

    async def _change(
        self, read: Callable[[], Awaitable[twin.FetchResponseTwin]], change: Change
    ) -> twin.FetchResponseTwin:
        """Changes what `read` finds, which is returned."""
        for _ in range(_ATTEMPTS):
            found = await read()
            try:
                await self._store([entry.value for entry in found.vectors], change)
            except ConditionFailed:
                continue
            return found
        raise Overloaded("Others change the same documents all the time; try again.")

    async def _store(self, records: Sequence[twin.VectorTwin], change: Change) -> None:
        changed = []
        for record in records:
            if change(record):
                record.if_lsn = record.lsn
                record.ClearField("lsn")
                changed.append(record)
        if changed:
            message = twin.UpsertTwin(vectors=changed, namespace=self._namespace.encode())
            self.written = await self._methods.data("Upsert", message, self._call)

    def _fetch(self, ids: Sequence[str]) -> Callable[[], Awaitable[twin.FetchResponseTwin]]:
        message = data.FetchRequest(ids=ids, namespace=self._namespace)

        async def read() -> twin.FetchResponseTwin:
            reply = await self._methods.data("Fetch", message, self._call)
            return twin.FetchResponseTwin.FromString(reply.body)

        return read

    def _fetch_page(
        self, condition: Struct, token: str
    ) -> Callable[[], Awaitable[twin.FetchResponseTwin]]:
        message = data.FetchByMetadataRequest(
            namespace=self._namespace,
            filter=condition,
            limit=GROUP,
            pagination_token=token or None,
        )

        async def read() -> twin.FetchResponseTwin:
            reply = await self._methods.data("FetchByMetadata", message, self._call)
            return twin.FetchResponseTwin.FromString(reply.body)

        return read
