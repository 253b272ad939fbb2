"""Collections as the control plane's JSON shows them."""

from tests.unit.rest.asgi import ask
from tests.unit.rest.fake import Fake
from torpor.v1 import control_pb2 as control

KEPT = control.Collection(
    name="kept", dimension=3, record_count=2, size_bytes=900, source="docs", environment="e"
)
SHOWN = {
    "name": "kept",
    "status": "Ready",
    "environment": "e",
    "size": 900,
    "dimension": 3,
    "vector_count": 2,
}


async def test_a_collection_is_ready_when_it_is_created(fake: Fake) -> None:
    fake.answer("CreateCollection", control.CreateCollectionResponse(collection=KEPT))
    answer = await ask(fake.app, "POST", "/collections", {"name": "kept", "source": "docs"})
    assert (answer.status, answer.json) == (201, SHOWN)
    assert fake.sent("CreateCollection", control.CreateCollectionRequest) == [
        control.CreateCollectionRequest(name="kept", source="docs")
    ]


async def test_collections_are_listed_described_and_deleted(fake: Fake) -> None:
    fake.answer("ListCollections", control.ListCollectionsResponse(collections=[KEPT]))
    fake.answer("DescribeCollection", control.DescribeCollectionResponse(collection=KEPT))
    assert (await ask(fake.app, "GET", "/collections")).json == {"collections": [SHOWN]}
    assert (await ask(fake.app, "GET", "/collections/kept")).json == SHOWN
    answer = await ask(fake.app, "DELETE", "/collections/kept")
    assert (answer.status, answer.body) == (202, b"")
    assert fake.sent("DescribeCollection", control.DescribeCollectionRequest)[0].name == "kept"
    assert fake.sent("DeleteCollection", control.DeleteCollectionRequest)[0].name == "kept"


async def test_a_sparse_collection_has_no_dimension(fake: Fake) -> None:
    sparse = control.Collection(name="kept")
    fake.answer("DescribeCollection", control.DescribeCollectionResponse(collection=sparse))
    assert "dimension" not in (await ask(fake.app, "GET", "/collections/kept")).json
