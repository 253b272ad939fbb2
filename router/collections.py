"""The methods of ControlService that are about collections."""

from google.protobuf.message import Message

from router.call import Call, Handlers
from router.collection_store import CollectionStore
from router.control import unary
from router.describe import METRIC_NUMBERS, VECTOR_TYPES
from router.validate_index import check_name
from storage.index_row import CollectionRow
from torpor.v1 import control_pb2 as control


class Collections:
    """What each method does is said in control.proto."""

    def __init__(self, store: CollectionStore) -> None:
        self._store = store

    def handlers(self) -> Handlers:
        """The methods by their path."""
        methods = {
            "CreateCollection": unary(control.CreateCollectionRequest, self.create),
            "ListCollections": unary(control.ListCollectionsRequest, self.list_all),
            "DescribeCollection": unary(control.DescribeCollectionRequest, self.describe),
            "DeleteCollection": unary(control.DeleteCollectionRequest, self.delete),
        }
        return {f"/torpor.v1.ControlService/{name}": method for name, method in methods.items()}

    async def create(self, request: control.CreateCollectionRequest, call: Call) -> Message:
        """See control.proto, as for every method here."""
        check_name(request.name, "collection")
        row = await self._store.create(request.name, request.source)
        return control.CreateCollectionResponse(collection=_described(row))

    async def list_all(self, request: control.ListCollectionsRequest, call: Call) -> Message:
        return control.ListCollectionsResponse(collections=map(_described, self._store.all()))

    async def describe(self, request: control.DescribeCollectionRequest, call: Call) -> Message:
        found = self._store.find(request.name)
        return control.DescribeCollectionResponse(collection=_described(found))

    async def delete(self, request: control.DeleteCollectionRequest, call: Call) -> Message:
        await self._store.delete(request.name)
        return control.DeleteCollectionResponse()


def _described(row: CollectionRow) -> control.Collection:
    described = control.Collection(
        name=row.name,
        id=row.id,
        dimension=row.dimension,
        metric=METRIC_NUMBERS[row.metric],
        vector_type=VECTOR_TYPES[row.vector_type],
        spec=control.Spec(cloud=row.cloud, region=row.region),
        record_count=row.record_count,
        size_bytes=row.size_bytes,
        source=row.source,
        environment=row.environment,
    )
    described.created.FromMilliseconds(row.created_unix_ms)
    return described
