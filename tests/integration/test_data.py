"""The data plane over gRPC: what is stored is found, and what is wrong is refused."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.integration.client import Client, code_of, fold, struct, wait_until
from tests.integration.conftest import Start
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

pytestmark = pytest.mark.both_fronts

METRICS = [control.METRIC_COSINE, control.METRIC_DOTPRODUCT, control.METRIC_EUCLIDEAN]


def upsert(client: Client, *vectors: data.Vector, **more: object) -> Callable[[], object]:
    request = data.UpsertRequest(index="a", vectors=vectors, **more)
    return lambda: client.data.Upsert(request)


def reference(rows: np.ndarray, query: np.ndarray, metric: int) -> np.ndarray:
    wide, q = rows.astype(np.float64), query.astype(np.float64)
    if metric == control.METRIC_EUCLIDEAN:
        return np.asarray(((wide - q) ** 2).sum(axis=1))
    dots = (wide * q).sum(axis=1)
    if metric == control.METRIC_DOTPRODUCT:
        return np.asarray(-dots)
    return np.asarray(-dots / np.linalg.norm(wide, axis=1) / np.linalg.norm(q))


@pytest.mark.parametrize("metric", METRICS)
def test_the_nearest_are_found_wherever_they_are(client: Client, metric: int) -> None:
    """In segments, in the log, replaced and deleted: as a brute-force search over a dict says."""
    random = np.random.default_rng(metric)
    rows = random.standard_normal((6_000, 32)).astype(np.float32)
    client.create("a", dimension=32, metric=metric)
    for first in range(0, 6_000, 500):
        client.upsert("a", rows[first : first + 500], first=first)
    client.query("a", rows[0])
    rows[100:200] = random.standard_normal((100, 32))
    client.upsert("a", rows[100:200], first=100)
    client.data.Delete(data.DeleteRequest(index="a", ids=[f"{n:06d}" for n in range(50, 80)]))
    alive = np.array([n for n in range(6_000) if not 50 <= n < 80])
    for _ in range(2):
        for query in random.standard_normal((10, 32)).astype(np.float32):
            scores = reference(rows[alive], query, metric)
            best = alive[np.argsort(scores, kind="stable")[:20]]
            found = client.matches("a", query, k=20)
            assert [match.id for match in found] == [f"{n:06d}" for n in best]
            sign = 1 if metric == control.METRIC_EUCLIDEAN else -1
            expected = sign * np.sort(scores)[:20]
            assert [match.score for match in found] == pytest.approx(expected, rel=1e-6)
        assert client.count("a") == len(alive)
        client.sleep("a")


def test_values_and_metadata_come_back_as_they_went(client: Client) -> None:
    client.create("a", metric=control.METRIC_DOTPRODUCT)
    metadata = struct(text="ü", number=1.5, flag=True, words=["a", "b"])
    values = [1e-30, -0.0, 3.4e38, 0.1]
    vector = data.Vector(id="x", values=values, metadata=metadata)
    bare = data.Vector(id="y", values=[0, 0, 0, 1])
    upsert(client, vector, bare)()
    vector.lsn = bare.lsn = 1
    for _ in range(2):
        fetched = client.data.Fetch(data.FetchRequest(index="a", ids=["x", "y", "z"])).vectors
        assert sorted(fetched) == ["x", "y"]
        assert fetched["x"] == vector and fetched["y"] == bare
        (match,) = client.matches("a", [0, 0, 1, 0], 1, include_values=True, include_metadata=True)
        assert list(match.values) == list(vector.values) and match.metadata == metadata
        (match,) = client.matches("a", [0, 0, 1, 0], 1)
        assert not match.values and not match.HasField("metadata")
        client.sleep("a")


def test_metadata_comes_back_byte_for_byte(shared: Client) -> None:
    """Also where its fields stand in an order that no library would write them in."""
    shared.create("bytes", dimension=2)
    fields = [struct(**{key: value}) for key, value in (("z", 1.5), ("a", ["x"]), ("m", "ü"))]
    metadata = b"".join(one.SerializeToString() for one in fields)
    bare = data.Vector(id="x", values=[1, 2]).SerializeToString()
    vector = bare + b"\x1a" + bytes([len(metadata)]) + metadata
    body = b"\x0a" + bytes([len(vector)]) + vector
    send = partial(shared.channel.unary_unary, request_serializer=None)
    index = data.UpsertRequest(index="bytes").SerializeToString()
    send("/torpor.v1.DataService/Upsert")(body + index)
    requests = {
        "Fetch": data.FetchRequest(index="bytes", ids=["x"]),
        "FetchByMetadata": data.FetchByMetadataRequest(index="bytes", filter=struct(z=1.5)),
        "Query": data.QueryRequest(index="bytes", id="x", top_k=1, include_metadata=True),
    }
    for _ in range(2):
        for method, request in requests.items():
            answer = send(f"/torpor.v1.DataService/{method}")(request.SerializeToString())
            assert metadata in answer, method
        fold(shared, "bytes")


def test_query_by_id_finds_the_record_itself(client: Client) -> None:
    client.create("a")
    client.upsert("a", np.eye(4))
    request = data.QueryRequest(index="a", id="000002", top_k=1)
    assert [match.id for match in client.data.Query(request).matches] == ["000002"]
    request.id = "nobody"
    assert not client.data.Query(request).matches


def test_the_last_of_an_id_given_twice_counts(client: Client) -> None:
    client.create("a")
    first, last = (data.Vector(id="x", values=v) for v in ([1, 0, 0, 0], [0, 1, 0, 0]))
    upsert(client, first, last)()
    assert client.count("a") == 1
    (match,) = client.matches("a", [0, 1, 0, 0], include_values=True)
    assert list(match.values) == [0, 1, 0, 0]


def test_equal_scores_come_in_the_order_of_their_ids(client: Client) -> None:
    client.create("a")
    ids = ["b", "a", "ä", "Z", "10", "9"]
    upsert(client, *(data.Vector(id=one, values=[1, 1, 1, 1]) for one in ids))()
    assert client.query("a", [1, 0, 0, 0], 10) == sorted(ids, key=str.encode)
    assert client.query("a", [1, 0, 0, 0], 2) == sorted(ids, key=str.encode)[:2]


def test_an_all_zero_query_scores_zero(client: Client) -> None:
    client.create("a")
    client.upsert("a", np.eye(4))
    matches = client.matches("a", [0, 0, 0, 0], 2)
    assert [(match.id, match.score) for match in matches] == [("000000", 0), ("000001", 0)]


def test_namespaces_are_worlds_of_their_own(client: Client) -> None:
    client.create("a")
    client.upsert("a", np.eye(4)[:2])
    client.upsert("a", np.eye(4)[2:], namespace="other")
    assert client.query("a", [1, 1, 1, 1], 10) == ["000000", "000001"]
    assert client.query("a", [1, 1, 1, 1], 10, namespace="__default__") == ["000000", "000001"]
    assert len(client.query("a", [0, 0, 1, 0], 10, namespace="other")) == 2
    assert client.query("a", [1, 1, 1, 1], 10, namespace="nowhere") == []
    client.data.Delete(data.DeleteRequest(index="a", delete_all=True, namespace="other"))
    assert client.query("a", [1, 1, 1, 1], 10, namespace="other") == []
    assert client.count("a") == 2


def test_namespaces_are_created_listed_described_and_deleted(client: Client) -> None:
    client.create("a")
    client.upsert("a", np.eye(4))
    make = data.CreateNamespaceRequest(index="a", name="new")
    assert client.data.CreateNamespace(make).name == "new"
    assert code_of(lambda: client.data.CreateNamespace(make)) == "ALREADY_EXISTS"
    listed = client.data.ListNamespaces(data.ListNamespacesRequest(index="a"))
    assert [(one.name, one.record_count) for one in listed.namespaces] == [
        ("__default__", 4),
        ("new", 0),
    ]
    assert listed.total_count == 2 and listed.namespaces[0].size_bytes == 4 * (16 + 6)
    drop = data.DeleteNamespaceRequest(index="a", namespace="new")
    client.data.DeleteNamespace(drop)
    assert code_of(lambda: client.data.DeleteNamespace(drop)) == "NOT_FOUND"
    look = data.DescribeNamespaceRequest(index="a", namespace="new")
    assert code_of(lambda: client.data.DescribeNamespace(look)) == "NOT_FOUND"


def test_namespaces_are_listed_in_pages(client: Client) -> None:
    client.create("a")
    names = [f"n{number:03d}" for number in range(30)]
    for name in names:
        client.upsert("a", [[1, 2, 3, 4]], namespace=name)
    found: list[str] = []
    request = data.ListNamespacesRequest(index="a", limit=7, prefix="n")
    while True:
        page = client.data.ListNamespaces(request)
        found += [one.name for one in page.namespaces]
        if not page.HasField("pagination"):
            break
        request.pagination_token = page.pagination.next
    assert found == names


def test_counting_a_folded_index_wakes_nothing(client: Client) -> None:
    client.create("a", dimension=64)
    rows = np.random.default_rng(1).standard_normal((4_000, 64)).astype(np.float32)
    for first in range(0, 4_000, 500):
        client.upsert("a", rows[first : first + 500], first=first, namespace="n")
    fold(client, "a")
    wakes = client.describe("a").cost.cold_starts
    assert client.count("a") == 4_000
    namespace = data.DescribeNamespaceRequest(index="a", namespace="n")
    assert client.data.DescribeNamespace(namespace).record_count == 4_000
    assert client.describe("a").cost.cold_starts == wakes


def test_answers_say_where_they_came_from(client: Client) -> None:
    client.create("a")
    client.upsert("a", np.eye(4))
    request = data.QueryRequest(index="a", vector=[1, 0, 0, 0], top_k=1)
    first, second = (dict(client.data.Query.with_call(request)[1].initial_metadata()) for _ in "ab")
    assert first["torpor-lsn"] == second["torpor-lsn"] == "1"
    assert first["torpor-exact"] == second["torpor-exact"] == "true"
    assert int(first["torpor-reranked"]) >= 1
    assert float(first["torpor-wake-ms"]) > 0 and "torpor-wake-ms" not in second
    assert first["torpor-batch"] == "1" and 0 < float(first["torpor-scan-ms"]) < 10_000


def test_the_index_is_named_by_metadata_or_field_but_not_by_both(client: Client) -> None:
    client.create("a")
    client.create("b")
    request = data.QueryRequest(vector=[1, 0, 0, 0], top_k=1)
    ask = client.data.Query
    assert code_of(lambda: ask(request, metadata=[("torpor-index", "a")])) == "OK"
    assert code_of(lambda: ask(request)) == "INVALID_ARGUMENT"
    request.index = "b"
    assert code_of(lambda: ask(request, metadata=[("torpor-index", "a")])) == "INVALID_ARGUMENT"
    request.index = "nobody"
    assert code_of(lambda: ask(request)) == "NOT_FOUND"


def test_the_same_methods_answer_as_vector_service(client: Client) -> None:
    client.create("a")
    client.upsert("a", np.eye(4))
    request = data.QueryRequest(index="a", id="000001", top_k=1)
    method = client.channel.unary_unary("/VectorService/Query")
    answer = data.QueryResponse.FromString(method(request.SerializeToString()))
    assert answer.matches[0].id == "000001"


def test_unpacked_and_split_floats_are_read_as_the_wire_format_demands(client: Client) -> None:
    client.create("a", metric=control.METRIC_EUCLIDEAN)
    whole = data.Vector(id="x", values=[1, 2, 3, 4])
    packed = whole.SerializeToString()[3:]
    unpacked = b"".join(b"\x15" + np.float32(v).tobytes() for v in (1, 2, 3, 4))
    halves = b"\x12\x08" + packed[2:10] + b"\x12\x08" + packed[10:18]
    method = client.channel.unary_unary("/torpor.v1.DataService/Upsert")
    for number, values in enumerate((packed, unpacked, halves)):
        vector = b"\x0a\x01" + str(number).encode() + values
        tail = data.UpsertRequest(index="a").SerializeToString()
        method(b"\x0a" + bytes([len(vector)]) + vector + tail)
    matches = client.matches("a", [1, 2, 3, 4], 5)
    assert [(match.id, match.score) for match in matches] == [("0", 0), ("1", 0), ("2", 0)]


GOOD = [1.0, 2.0, 3.0, 4.0]


def test_garbage_is_refused(client: Client) -> None:
    for path in ("/torpor.v1.DataService/Query", "/torpor.v1.ControlService/CreateIndex"):
        method = client.channel.unary_unary(path)
        assert code_of(lambda: method(b"\xff\xff\xff")) == "INVALID_ARGUMENT"  # noqa: B023
    nothing = client.channel.unary_unary("/torpor.v1.DataService/Nothing")
    assert code_of(lambda: nothing(b"")) == "UNIMPLEMENTED"


def test_a_message_beyond_the_bound_is_refused(client: Client) -> None:
    client.create("a")
    method = client.channel.unary_unary("/torpor.v1.DataService/Upsert")
    assert code_of(lambda: method(bytes(65 << 20))) == "RESOURCE_EXHAUSTED"


def test_an_answer_beyond_the_bound_is_refused(client: Client) -> None:
    client.create("a", dimension=2_000)
    rows = np.random.default_rng(0).standard_normal((9_000, 2_000)).astype(np.float32)
    for first in range(0, 9_000, 1_000):
        write = partial(client.upsert, "a", rows[first : first + 1_000], first=first)
        # The log of such vectors is long at once; the server asks to wait for a fold.
        wait_until(partial(_succeeds, write), 30.0)
    ask = data.QueryRequest(index="a", vector=rows[0].tolist(), top_k=9_000, include_values=True)
    assert code_of(lambda: client.data.Query(ask)) == "RESOURCE_EXHAUSTED"
    assert len(client.query("a", rows[0], k=9_000)) == 9_000


def _index_folder(data_folder: Path) -> Path:
    (manifest,) = data_folder.glob("*/*/*/MANIFEST")
    return manifest.parent


def test_damage_is_told_by_name_and_harms_no_other_index(client: Client, tmp_path: Path) -> None:
    client.create("good")
    client.upsert("good", np.eye(4))
    client.create("a", spec=control.Spec(cloud="bad"), dimension=64)
    rows = np.random.default_rng(1).standard_normal((4_000, 64)).astype(np.float32)
    for first in range(0, 4_000, 500):
        client.upsert("a", rows[first : first + 500], first=first)
    fold(client, "a")
    segment = max((tmp_path / "data" / "bad").glob("*/*/*.segment"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:40] + b"x" + whole[41:])
    for _ in range(2):
        assert code_of(lambda: client.query("a", rows[0])) == "DATA_LOSS"
    assert client.query("good", [1, 0, 0, 0], 1) == ["000000"]
    segment.write_bytes(whole[: len(whole) // 2])
    assert code_of(lambda: client.query("a", rows[0])) == "DATA_LOSS"
    segment.write_bytes(whole)
    assert client.query("a", rows[0], 1) == ["000000"]


def test_rot_inside_a_log_is_data_loss_by_name_and_harms_no_other_index(
    start: Start, tmp_path: Path
) -> None:
    client = start()
    client.create("good")
    client.upsert("good", np.eye(4))
    client.create("a", spec=control.Spec(cloud="bad"))
    for first in range(3):
        client.upsert("a", [GOOD], first=first)
    client.server.stop()
    (log,) = (tmp_path / "data" / "bad").glob("*/*/*.log")
    content = bytearray(log.read_bytes())
    content[content.index(np.array(GOOD, np.float32).tobytes())] ^= 1
    log.write_bytes(content)
    again = start()
    with pytest.raises(grpc.RpcError, match="Index 'a'") as damaged:
        again.query("a", GOOD)
    assert damaged.value.code() is grpc.StatusCode.DATA_LOSS
    assert code_of(lambda: again.upsert("a", [GOOD])) == "DATA_LOSS"
    assert again.query("good", [1, 0, 0, 0], 1) == ["000000"]


def test_a_segment_cut_under_a_running_worker_is_data_loss_and_no_crash_loop(
    client: Client, tmp_path: Path
) -> None:
    client.create("a", dimension=64)
    rows = np.random.default_rng(1).standard_normal((4_000, 64)).astype(np.float32)
    for first in range(0, 4_000, 500):
        client.upsert("a", rows[first : first + 500], first=first)
    fold(client, "a")
    client.wake("a")
    for segment in (tmp_path / "data").glob("*/*/*/*.segment"):
        with segment.open("r+b") as file:
            file.truncate(4_096)
    for _ in range(4):
        assert code_of(lambda: client.query("a", rows[0])) == "DATA_LOSS"
    assert client.state("a") != "failed"


def _succeeds(call: Callable[[], object]) -> bool:
    return code_of(call) == "OK"
