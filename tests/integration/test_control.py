"""The control plane over gRPC: settings, pages, errors."""

import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.client import Client, code_of, wait_until
from tests.integration.conftest import Start
from torpor.v1 import control_pb2 as control

pytestmark = pytest.mark.both_fronts


def create(client: Client, **fields: object) -> Callable[[], object]:
    return lambda: client.control.CreateIndex(control.CreateIndexRequest(**fields))


def test_an_index_is_described_as_it_was_created(client: Client) -> None:
    made = client.create(
        "docs",
        dimension=8,
        metric=control.METRIC_DOTPRODUCT,
        spec=control.Spec(cloud="aws", region="us-east-1"),
        tags={"team": "search"},
        idle_seconds=5,
        deletion_protection=True,
    )
    assert made == client.describe("docs")
    assert (made.name, made.dimension, made.metric) == ("docs", 8, control.METRIC_DOTPRODUCT)
    assert (made.spec.cloud, made.spec.region) == ("aws", "us-east-1")
    assert (dict(made.tags), made.idle_seconds) == ({"team": "search"}, 5)
    assert made.deletion_protection and made.state == control.STATE_ASLEEP


def test_the_spec_decides_the_folder(client: Client, tmp_path: Path) -> None:
    made = client.create("a", spec=control.Spec(cloud="gcp", region="europe-1"))
    assert (tmp_path / "data" / "gcp" / "europe-1" / made.id / "MANIFEST").exists()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_indexes_are_listed_in_pages_by_name(client: Client) -> None:
    names = [f"index-{number:02d}" for number in range(25)]
    for name in reversed(names):
        client.create(name)
    found: list[str] = []
    request = control.ListIndexesRequest(page_size=10)
    while True:
        page = client.control.ListIndexes(request)
        assert len(page.indexes) <= 10
        found += [index.name for index in page.indexes]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == names


def test_settings_change_and_survive_a_restart(start: Start) -> None:
    client = start()
    client.create("a", tags={"x": "1", "y": "2"})
    request = control.ConfigureIndexRequest(
        name="a", tags={"x": "", "z": "3"}, idle_seconds=7, deletion_protection=True
    )
    changed = client.control.ConfigureIndex(request).index
    assert dict(changed.tags) == {"y": "2", "z": "3"}
    client.server.stop()
    again = start().describe("a")
    changed.host = again.host  # its port is another one
    assert again == changed


def test_costs_survive_a_restart(start: Start) -> None:
    client = start()
    client.create("a")
    client.upsert("a", [[1, 2, 3, 4]])
    client.query("a", [1, 2, 3, 4])
    client.sleep("a")
    before = client.describe("a").cost
    client.server.stop()
    assert start().describe("a").cost == before
    assert (before.cold_starts, before.queries, before.vectors_upserted) == (1, 1, 1)


def test_a_protected_index_is_not_deleted(client: Client) -> None:
    client.create("a", deletion_protection=True)
    request = control.DeleteIndexRequest(name="a")
    assert code_of(lambda: client.control.DeleteIndex(request)) == "FAILED_PRECONDITION"
    client.control.ConfigureIndex(
        control.ConfigureIndexRequest(name="a", deletion_protection=False)
    )
    client.control.DeleteIndex(request)
    assert code_of(lambda: client.describe("a")) == "NOT_FOUND"


def test_a_deleted_index_leaves_no_folder_and_frees_its_name(
    client: Client, tmp_path: Path
) -> None:
    first = client.create("a")
    client.upsert("a", [[1, 2, 3, 4]])
    client.control.DeleteIndex(control.DeleteIndexRequest(name="a"))
    second = client.create("a")
    assert first.id != second.id and client.count("a") == 0
    assert not (tmp_path / "data" / "local" / "default" / first.id).exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "", "dimension": 4},
        {"name": "-a", "dimension": 4},
        {"name": "a-", "dimension": 4},
        {"name": "Upper", "dimension": 4},
        {"name": "a" * 46, "dimension": 4},
        {"name": "a/b", "dimension": 4},
        {"name": "a\n", "dimension": 4},
        {"name": "a", "dimension": 0},
        {"name": "a", "dimension": 20_001},
        {"name": "a", "dimension": 4, "metric": 9},
        {"name": "a", "dimension": 4, "spec": control.Spec(cloud="..")},
        {"name": "a", "dimension": 4, "spec": control.Spec(region="a/b")},
        {"name": "a", "dimension": 4, "spec": control.Spec(region="r" * 46)},
        {"name": "a", "dimension": 4, "idle_seconds": 0.0},
        {"name": "a", "dimension": 4, "idle_seconds": float("nan")},
        {"name": "a", "dimension": 4, "tags": {"bad key": "x"}},
        {"name": "a", "dimension": 4, "tags": {str(n): "x" for n in range(21)}},
    ],
)
def test_bad_settings_are_refused(client: Client, fields: dict[str, object]) -> None:
    assert code_of(create(client, **fields)) == "INVALID_ARGUMENT"
    assert not client.control.ListIndexes(control.ListIndexesRequest()).indexes


def test_names_that_are_taken_or_unknown(client: Client) -> None:
    client.create("a")
    assert code_of(create(client, name="a", dimension=4)) == "ALREADY_EXISTS"
    for request, method in (
        (control.DeleteIndexRequest(name="b"), client.control.DeleteIndex),
        (control.ConfigureIndexRequest(name="b"), client.control.ConfigureIndex),
        (control.WakeIndexRequest(name="b"), client.control.WakeIndex),
        (control.SleepIndexRequest(name="b"), client.control.SleepIndex),
        (control.DescribeIndexRequest(name="b"), client.control.DescribeIndex),
    ):
        assert code_of(lambda: method(request)) == "NOT_FOUND"  # noqa: B023 - called at once


def test_bad_pages_are_refused(client: Client) -> None:
    for request in (
        control.ListIndexesRequest(page_size=1_001),
        control.ListIndexesRequest(page_token="%%"),
    ):
        assert code_of(lambda: client.control.ListIndexes(request)) == "INVALID_ARGUMENT"  # noqa: B023


def test_a_caller_who_leaves_does_not_leave_half_an_index(client: Client) -> None:
    """Creations and deletions whose callers cancel at every moment end one way or the other."""
    for turn in range(30):
        name = f"index-{turn}"
        call = client.control.CreateIndex.future(control.CreateIndexRequest(name=name, dimension=4))
        time.sleep(turn / 10_000)
        call.cancel()
        wait_until(lambda: _settled(client, name))  # noqa: B023 - called at once
        gone = client.control.DeleteIndex.future(control.DeleteIndexRequest(name=name))
        time.sleep(turn / 10_000)
        gone.cancel()
    for turn in range(30):
        name = f"index-{turn}"
        wait_until(lambda: _settled(client, name))  # noqa: B023
        if name in _listed(client):
            client.control.DeleteIndex(control.DeleteIndexRequest(name=name))
        client.create(name)
    assert len(_listed(client)) == 30


def _settled(client: Client, name: str) -> bool:
    """Whether nothing is under way with a name: it can be described, or it can be created."""
    if code_of(lambda: client.describe(name)) == "OK":
        return True
    return code_of(lambda: client.create(name)) == "OK"


def _listed(client: Client) -> set[str]:
    request = control.ListIndexesRequest(page_size=1_000)
    return {index.name for index in client.control.ListIndexes(request).indexes}
