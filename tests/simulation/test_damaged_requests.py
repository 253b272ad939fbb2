"""Requests with bytes changed, lost, doubled and mixed: refused in words, or applied without failing.

What the router lets through is logged, and must never make a worker or a builder fail: they would fail
again at every replay.
"""

from contextlib import closing

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from kernels.queries import Metric
from router.errors import RouterError
from tests.integration.client import struct
from tests.simulation.data_plane import DataPlane
from torpor.v1 import data_pb2 as data

SPARSE = data.SparseValues(indices=[3, 700], values=[0.5, -2.0])
METADATA = struct(text="ü", number=1.5, flag=True, words=["a", "b"], empty=[])
FILTER = struct(
    **{"$or": [{"text": "ü", "number": {"$gte": 1, "$lt": 9}}, {"words": {"$in": ["a", 2]}}]},
    flag={"$ne": False},
    none={"$exists": False},
)


def requests(dimension: int) -> dict[str, list[Message]]:
    """Good requests, with every field that there is."""
    values = [1.0, 2.0][:dimension]
    vectors = [
        data.Vector(id="x", values=values, metadata=METADATA, sparse_values=SPARSE),
        data.Vector(id="ü", values=values, sparse_values=SPARSE, if_lsn=0),
    ]
    query = data.QueryRequest(
        top_k=3,
        filter=FILTER,
        vector=values,
        sparse_vector=SPARSE,
        include_values=True,
        include_metadata=True,
        scan_factor=1.0,
        max_candidates=100,
        at_least_lsn=0,
    )
    several = data.QueryRequest(top_k=1, vector=values, sparse_vector=SPARSE, current_view=True)
    several.namespaces.extend(["", "n"])
    by_id = data.QueryRequest(top_k=1, id="x", namespace="n")
    sparse_only = data.QueryRequest(top_k=1, sparse_vector=SPARSE, sparse_only=True)
    schema = data.MetadataSchema(fields={"text": data.MetadataFieldProperties(filterable=True)})
    own = {} if not dimension else {"values": [2.0, 3.0]}
    batch = data.QueryBatchRequest(queries=[by_id, several, sparse_only], at_least_lsn=0)
    batch.queries[1].ClearField("current_view")
    return {
        "Upsert": [
            data.UpsertRequest(vectors=vectors[:1]),
            data.UpsertRequest(vectors=vectors, namespace="n"),
        ],
        "Update": [
            data.UpdateRequest(id="x", set_metadata=METADATA, sparse_values=SPARSE, **own),
            data.UpdateRequest(filter=FILTER, set_metadata=struct(text="new"), namespace="n"),
            data.UpdateRequest(filter=FILTER, dry_run=True),
        ],
        "Query": [query, several, by_id, sparse_only],
        "QueryBatch": [batch],
        "Fetch": [data.FetchRequest(ids=["x", "ü"], namespace="n")],
        "FetchByMetadata": [data.FetchByMetadataRequest(filter=FILTER, limit=7)],
        "List": [data.ListRequest(prefix="x", limit=3, namespace="n")],
        "DescribeIndexStats": [data.DescribeIndexStatsRequest(filter=FILTER)],
        "ListNamespaces": [data.ListNamespacesRequest(prefix="n", limit=2)],
        "DescribeNamespace": [data.DescribeNamespaceRequest(namespace="n")],
        "CreateNamespace": [data.CreateNamespaceRequest(name="m", schema=schema)],
        "Delete": [
            data.DeleteRequest(ids=["x", "nobody"]),
            data.DeleteRequest(filter=FILTER, namespace="n"),
            data.DeleteRequest(delete_all=True, namespace="n"),
        ],
        "DeleteNamespace": [data.DeleteNamespaceRequest(namespace="m")],
    }


INDEXES: list[tuple[Metric, int]] = [("dotproduct", 2), ("cosine", 2), ("dotproduct", 0)]
GOOD = {
    dimension: [
        (method, one.SerializeToString())
        for method, several in requests(dimension).items()
        for one in several
    ]
    for dimension in (0, 2)
}


@st.composite
def damaged(draw: st.DrawFn, dimension: int) -> tuple[str, bytes]:
    """A good request with up to three wounds."""
    method, body = draw(st.sampled_from(GOOD[dimension]))
    content = bytearray(body)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(1, 24)))
        match draw(st.sampled_from(["flip", "cut", "insert", "double", "mix"])):
            case "flip" if start < len(content):
                content[start] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[start:stop]
            case "insert":
                content[start:start] = draw(st.binary(min_size=1, max_size=6))
            case "double":
                content[stop:stop] = content[start:stop]
            case "mix":
                _, other = draw(st.sampled_from(GOOD[dimension]))
                content[start:stop] = other[start:stop]
    return method, bytes(content)


def attempt(plane: DataPlane, method: str, body: bytes) -> str:
    """What a call that is refused says; "" for one that is not. All else is a mistake of ours."""
    try:
        plane.call(method, body)
    except RouterError as error:
        return str(error)
    return ""


def everything(plane: DataPlane) -> list[data.Vector]:
    """All records, as they are listed, fetched and found."""
    found = []
    spaces = plane.ask_for(
        data.ListNamespacesResponse(), "ListNamespaces", data.ListNamespacesRequest()
    )
    for space in spaces.namespaces:
        listed = plane.ask_for(data.ListResponse(), "List", data.ListRequest(namespace=space.name))
        ids = [item.id for item in listed.vectors]
        assert len(ids) == space.record_count
        if ids:
            request = data.FetchRequest(ids=ids, namespace=space.name)
            fetched = plane.ask_for(data.FetchResponse(), "Fetch", request).vectors
            assert sorted(fetched) == sorted(ids)
            found += [fetched[one] for one in ids]
    return found


def can_be_applied_for_ever(plane: DataPlane) -> None:
    """Asserts that what was written is the same in the log, folded and merged."""
    before = everything(plane)
    plane.index.fold()
    assert everything(plane) == before
    if plane.index.manifest.segments:
        plane.index.merge()
    assert everything(plane) == before


@pytest.mark.parametrize(("metric", "dimension"), INDEXES)
def test_good_requests_are_good(metric: Metric, dimension: int) -> None:
    """What is damaged below would have been answered."""
    with closing(DataPlane(metric, dimension)) as plane:
        refused = {}
        for method, body in GOOD[dimension]:
            if said := attempt(plane, method, body):
                refused[method] = said
    if metric == "cosine":
        assert all("dotproduct" in said for said in refused.values())
        assert set(refused) == {"Query", "QueryBatch"}
    else:
        assert not refused


@pytest.mark.parametrize("dimension", [0, 2])
def test_writes_with_any_bit_changed_or_cut_anywhere_are_refused_or_can_be_applied(
    dimension: int,
) -> None:
    first = dict(reversed(GOOD[dimension]))
    with closing(DataPlane("dotproduct", dimension)) as plane:
        for method in ("Upsert", "Update"):
            body = first[method]
            content = bytearray(body)
            for bit in range(8 * len(body)):
                content[bit >> 3] ^= 1 << (bit & 7)
                attempt(plane, method, bytes(content))
                content[bit >> 3] ^= 1 << (bit & 7)
            for length in range(len(body)):
                attempt(plane, method, body[:length])
        can_be_applied_for_ever(plane)


@pytest.mark.parametrize(("metric", "dimension"), INDEXES)
@given(data=st.data())
def test_damaged_requests_are_refused_in_words_or_can_be_applied(
    metric: Metric, dimension: int, data: st.DataObject
) -> None:
    sent = data.draw(st.lists(damaged(dimension), min_size=1, max_size=14))
    with closing(DataPlane(metric, dimension)) as plane:
        for method, body in sent:
            said = attempt(plane, method, body)
            assert not said or 20 < len(said) < 2_000, said
        can_be_applied_for_ever(plane)
