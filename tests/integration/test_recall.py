"""A large namespace is searched near its centroids, and the service says how well."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from storage import manifest as manifests
from tests.integration.client import Client, code_of, fold, message_of, struct, wait_until
from tests.integration.command_line import CommandLine
from torpor.local import LocalServer
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data
from worker.verify import main as verify

RANDOM = np.random.default_rng(4)
CENTRES = 2 * RANDOM.standard_normal((50, 16))
VECTORS = (CENTRES[RANDOM.integers(50, size=4_000)] + RANDOM.standard_normal((4_000, 16))).astype(
    np.float32
)
QUERIES = VECTORS[:40] + 0.3 * RANDOM.standard_normal((40, 16)).astype(np.float32)
SETTINGS = ("--idle-seconds", "600", "--exact-rows-max", "1000")


def fill(client: Client, name: str, rows: range, namespace: str = "") -> None:
    for start in range(rows.start, rows.stop, 500):
        records = [
            data.Vector(
                id=f"{row:06d}",
                values=VECTORS[row].tolist(),
                metadata=struct(tenth=row % 10, side="left" if VECTORS[row][0] < 0 else "right"),
            )
            for row in range(start, min(start + 500, rows.stop))
        ]
        client.data.Upsert(data.UpsertRequest(index=name, vectors=records, namespace=namespace))


def ask(client: Client, name: str, number: int, **more: Any) -> tuple[list[str], bool]:
    """The ids found, and whether the answer says that it is exact."""
    request = data.QueryRequest(
        index=name, vector=QUERIES[number].tolist(), **{"top_k": 10, **more}
    )
    answer, call = client.data.Query.with_call(request)
    told = dict(call.initial_metadata())["torpor-exact"]
    return [match.id for match in answer.matches], told == "true"


def recall(client: Client, name: str, **more: Any) -> data.MeasureRecallResponse:
    return client.data.MeasureRecall(
        data.MeasureRecallRequest(index=name, **{"seed": 1, "samples": 40, **more})
    )


def centroids_there(client: Client, name: str) -> None:
    """Folds, and waits for the merge that makes centroids."""
    fold(client, name)
    wait_until(lambda: not ask(client, name, 0)[1])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """An index "large": 4,000 records around centroids, and 200 in a small namespace."""
    folder = tmp_path_factory.mktemp("large")
    client = Client(LocalServer(folder / "data", SETTINGS, folder / "log"))
    client.create("large", dimension=16, metric=control.METRIC_EUCLIDEAN)
    fill(client, "large", range(4_000))
    fill(client, "large", range(200), "small")
    centroids_there(client, "large")
    yield client
    client.close()
    client.server.stop()
    assert "Traceback" not in (folder / "log").read_text()


def expected(number: int, rows: np.ndarray | None = None) -> list[str]:
    chosen = np.arange(4_000) if rows is None else rows
    far = ((VECTORS[chosen].astype(np.float64) - QUERIES[number].astype(np.float64)) ** 2).sum(1)
    return [f"{row:06d}" for row in chosen[np.argsort(far, kind="stable")[:10]]]


def test_a_large_namespace_is_answered_approximately_and_exactly_on_request(large: Client) -> None:
    shared = 0
    for number in range(len(QUERIES)):
        found, exact = ask(large, "large", number)
        assert not exact
        shared += len(set(found) & set(expected(number)))
        assert ask(large, "large", number, exact=True) == (expected(number), True)
    assert shared >= 0.9 * 10 * len(QUERIES)


def test_a_small_namespace_beside_it_is_answered_exactly(large: Client) -> None:
    found, exact = ask(large, "large", 3, namespace="small")
    assert exact and found == expected(3, np.arange(200))


def test_more_is_scanned_where_more_is_asked_for(large: Client) -> None:
    """Four times a quarter is everything, and known to be."""
    for number in range(10):
        assert ask(large, "large", number, scan_factor=4.0) == (expected(number), True)
    found, exact = ask(large, "large", 0, max_candidates=10, scan_factor=4.0)
    assert len(found) == 10 and not exact


def test_a_batch_is_exact_when_all_of_its_queries_are(large: Client) -> None:
    one = data.QueryRequest(vector=QUERIES[0].tolist(), top_k=3, exact=True)
    two = data.QueryRequest(vector=QUERIES[1].tolist(), top_k=3)
    for queries, told in (([one, one], "true"), ([one, two], "false")):
        _, call = large.data.QueryBatch.with_call(
            data.QueryBatchRequest(index="large", queries=queries)
        )
        assert dict(call.initial_metadata())["torpor-exact"] == told


def test_filters_hold_and_find_nearly_all(large: Client) -> None:
    left = np.flatnonzero(VECTORS[:, 0] < 0)
    tenth = np.flatnonzero(np.arange(4_000) % 10 == 3)
    shared = 0
    for number in range(20):
        found, _ = ask(large, "large", number, filter=struct(side="left"))
        assert {int(one) for one in found} <= set(left.tolist())
        shared += len(set(found) & set(expected(number, left)))
        # So few that they are all looked at.
        few = ask(large, "large", number, filter=struct(tenth=3))
        assert few == (expected(number, tenth), True)
    assert shared >= 0.9 * 10 * 20


def test_the_service_measures_its_recall(large: Client) -> None:
    found = recall(large, "large")
    assert (found.samples, found.records, found.seed) == (40, 4_000, 1)
    assert 0.9 <= found.recall <= 1 and found.exact == 0
    assert found.recall_low <= found.recall <= found.recall_high
    assert found.recall_low < found.recall_high
    assert found.approximate_ms > 0 and found.exact_ms > 0
    again = recall(large, "large")
    assert again.recall == found.recall
    every = recall(large, "large", scan_factor=4.0, top_k=5)
    assert every.recall == 1 and every.exact == 40 and every.recall_low > 0.85
    assert recall(large, "large", scan_factor=0.5).recall <= found.recall
    filtered = recall(large, "large", filter=struct(side="left"), samples=10)
    assert filtered.samples == 10 and filtered.recall > 0.8
    assert recall(large, "large", namespace="nobody").samples == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"samples": 1_001}, "samples is 1001; it must be 1 to 1000"),
        ({"samples": 0}, "samples is 0"),
        ({"top_k": 1_001}, "top_k is 1001; it must be 1 to 1000"),
        ({"scan_factor": 5.0}, "scan_factor is 5.0; it must be 0.5 to 4"),
        ({"max_candidates": 10}, "max_candidates is 10; it must be above top_k"),
        ({"filter": struct(**{"$x": 1})}, "$x"),
    ],
)
def test_a_measurement_out_of_bounds_is_refused(
    large: Client, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        recall(large, "large", **given)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in str(refused.value.details())


def test_a_sparse_index_has_nothing_to_measure(large: Client) -> None:
    sparse = control.VECTOR_TYPE_SPARSE
    large.create("words", dimension=0, vector_type=sparse, metric=control.METRIC_DOTPRODUCT)
    assert code_of(lambda: recall(large, "words")) == "INVALID_ARGUMENT"
    assert "sparse" in message_of(lambda: recall(large, "words"))


def test_the_command_line_measures_and_asks_exactly(
    large: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    torpor = CommandLine(large, capsys)
    said = torpor.says("index", "recall", "large", "-k", 5, "--samples", 10, "--seed", 7)
    assert "recall@5" in said and "95 % confidence" in said and "4,000" in said
    found = torpor.json("index", "recall", "large", "--samples", 10, "--scan-factor", 4)
    assert found["recall"] == 1 and found["samples"] == 10
    vector = str(QUERIES[0].tolist())
    query = ("query", "large", "--vector", vector)
    assert torpor.json(*query)["exact"] is False
    exact = torpor.json(*query, "--exact")
    assert exact["exact"] is True and [one["id"] for one in exact["matches"]] == expected(0)
    assert torpor.json(*query, "--scan-factor", 4)["exact"] is True
    assert torpor.json(*query, "--scan-factor", 4, "--max-candidates", 10)["exact"] is False


def test_what_is_written_later_is_found_and_what_is_deleted_is_not(
    start: Any, tmp_path: Path
) -> None:
    client = start(*SETTINGS)
    client.create("moving", dimension=16, metric=control.METRIC_EUCLIDEAN)
    fill(client, "moving", range(2_000))
    centroids_there(client, "moving")
    # In the tail, searched exactly: each is its own nearest neighbour.
    client.upsert("moving", QUERIES, first=10_000)
    for number in range(len(QUERIES)):
        assert ask(client, "moving", number)[0][0] == f"{10_000 + number:06d}"
    gone = [f"{row:06d}" for row in range(2_000) if row % 5 < 2]
    for first in range(0, len(gone), 500):
        client.data.Delete(data.DeleteRequest(index="moving", ids=gone[first : first + 500]))
    for number in range(20):
        found, exact = ask(client, "moving", number)
        assert not exact and not set(found) & set(gone)
    # So much of it is dead that a merge writes the rest anew.
    fold(client, "moving")
    before = [ask(client, "moving", number) for number in range(20)]
    every = [ask(client, "moving", number, exact=True) for number in range(20)]
    client.server.stop()
    assert verify(["--data", str(tmp_path / "data")]) == 0
    (folder,) = (tmp_path / "data").glob("*/*/*/MANIFEST")
    manifest = manifests.decode(folder.read_bytes(), "")
    entries = sorted((one.rows, one.dead, one.unclustered) for one in manifest.segments)
    assert entries == [(40, 0, 40), (1_200, 0, 0)]
    again = start(*SETTINGS)
    assert [ask(again, "moving", number) for number in range(20)] == before
    assert [ask(again, "moving", number, exact=True) for number in range(20)] == every
