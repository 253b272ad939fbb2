"""The command line for filters, sparse values, updates and lists, against a real server."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.client import Client
from tests.integration.command_line import CommandLine
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

COUNT = 250


@pytest.fixture
def docs(client: Client, torpor: CommandLine, tmp_path: Path) -> Client:
    """An index whose records have a number and a parity."""
    client.create("docs", dimension=2, metric=control.METRIC_EUCLIDEAN)
    load(torpor, tmp_path, "docs", [record(number) for number in range(COUNT)])
    return client


def record(number: int) -> dict[str, Any]:
    metadata = {"n": number, "kind": "odd" if number % 2 else "even"}
    return {"id": f"r{number:03d}", "values": [float(number), 0.0], "metadata": metadata}


def load(
    torpor: CommandLine, folder: Path, index: str, rows: list[dict[str, Any]], *more: str
) -> None:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    torpor.says("upsert", index, path, *more)


def ids(document: dict[str, Any], what: str = "records") -> list[str]:
    return [one["id"] for one in document[what]]


# Lists


def test_ids_are_listed_with_all_pages_one_a_line(docs: Client, torpor: CommandLine) -> None:
    wanted = [f"r{number:03d}" for number in range(COUNT)]
    ran = torpor.run("list", "docs")
    assert ran.status == 0 and ran.out.splitlines() == wanted
    assert "250 ids in " in ran.err and ", LSN 3" in ran.err
    listed = torpor.json("list", "docs")
    assert listed["ids"] == wanted and listed["lsn"] == 3


@pytest.mark.parametrize("limit", [1, 99, 100, 101, 250, 300])
def test_a_list_ends_at_its_limit(docs: Client, torpor: CommandLine, limit: int) -> None:
    wanted = [f"r{number:03d}" for number in range(COUNT)][:limit]
    assert torpor.json("list", "docs", "--limit", limit)["ids"] == wanted


def test_a_list_has_a_prefix_and_a_namespace(docs: Client, torpor: CommandLine) -> None:
    assert torpor.json("list", "docs", "--prefix", "r00")["ids"] == [f"r00{n}" for n in range(10)]
    assert torpor.json("list", "docs", "--namespace", "nowhere")["ids"] == []


# Filters


def test_a_query_takes_a_filter(docs: Client, torpor: CommandLine, tmp_path: Path) -> None:
    wanted = ["r011", "r013", "r015"]
    condition = '{"kind": "odd", "n": {"$gt": 10}}'
    for given in (condition, f"@{tmp_path / 'filter.json'}"):
        (tmp_path / "filter.json").write_text(condition)
        command = ("query", "docs", "--vector", "[0, 0]", "--filter", given, "--top-k", 3)
        assert ids(torpor.json(*command), "matches") == wanted
    said = torpor.fails("query", "docs", "--id", "r001", "--filter", '{"n": {"$near": 1}}')
    assert said.startswith("torpor: INVALID_ARGUMENT: ")


def test_a_filter_may_be_as_deep_as_the_server_takes_it(docs: Client, torpor: CommandLine) -> None:
    deep = '{"$and":[' * 16 + '{"n":{"$in":[3]}}' + "]}" * 16
    found = torpor.json("query", "docs", "--vector", "[0, 0]", "--filter", deep)
    assert ids(found, "matches") == ["r003"]


def test_records_that_match_a_filter_are_fetched_up_to_a_limit(
    docs: Client, torpor: CommandLine
) -> None:
    even = [f"r{number:03d}" for number in range(0, COUNT, 2)]
    found = torpor.json("fetch", "docs", "--filter", '{"kind": "even"}')
    assert ids(found) == even[:100] and found["more"] is True
    found = torpor.json("fetch", "docs", "--filter", '{"kind": "even"}', "--limit", 1_000)
    assert ids(found) == even and found["more"] is False
    assert found["records"][0]["metadata"] == {"kind": "even", "n": 0}
    said = torpor.says("fetch", "docs", "--filter", '{"n": {"$lt": 3}}', "--limit", 2)
    assert "r001" in said and "r002" not in said
    assert "2 records (more match: raise --limit) in " in said


def test_a_fetch_by_filter_follows_pages(
    docs: Client, torpor: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torpor.cli.fetch_command._FILTER_PAGE", 7)
    even = [f"r{number:03d}" for number in range(0, COUNT, 2)]
    found = torpor.json("fetch", "docs", "--filter", '{"kind": "even"}', "--limit", 30)
    assert ids(found) == even[:30] and found["more"] is True


def test_what_fetch_prints_can_be_loaded_again(
    docs: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    found = torpor.json("fetch", "docs", "--filter", '{"n": {"$gte": 0}}', "--limit", COUNT)
    load(torpor, tmp_path, "docs", found["records"], "--namespace", "copy")
    wanted = {**found["records"][7], "lsn": None}
    (copied,) = torpor.json("fetch", "docs", "r007", "--namespace", "copy")["records"]
    assert {**copied, "lsn": None} == wanted
    assert docs.count("docs") == 2 * COUNT


def test_stats_count_what_matches(docs: Client, torpor: CommandLine) -> None:
    counted = torpor.json("stats", "docs", "--filter", '{"n": {"$lt": 10}}')
    assert counted["total"] == 10 and counted["namespaces"] == {"__default__": 10}
    assert counted["metric"] == "euclidean" and counted["vector_type"] == "dense"


def test_records_that_match_a_filter_are_deleted(docs: Client, torpor: CommandLine) -> None:
    torpor.says("delete", "docs", "--filter", '{"kind": "odd"}', "--yes")
    assert docs.count("docs") == COUNT // 2
    deleted = torpor.json("delete", "docs", "--filter", '{"n": 0}', "--yes")
    assert deleted["lsn"] == 5
    assert docs.count("docs") == COUNT // 2 - 1


# Updates


def test_a_record_is_updated_by_its_id(docs: Client, torpor: CommandLine) -> None:
    updated = torpor.json(
        *("update", "docs", "r007", "--set", '{"kind": "prime"}', "--values", "[7, 1]")
    )
    assert updated["id"] == "r007" and updated["matched"] is None and updated["lsn"] == 4
    (found,) = torpor.json("fetch", "docs", "r007")["records"]
    assert found == {
        "id": "r007",
        "values": [7.0, 1.0],
        "metadata": {"kind": "prime", "n": 7},
        "lsn": 4,
    }
    said = torpor.says("update", "docs", "nobody", "--set", '{"a": 1}')
    assert "updated nobody, if it is there, in " in said
    assert docs.count("docs") == COUNT


def test_records_that_match_a_filter_are_updated(docs: Client, torpor: CommandLine) -> None:
    command = ("update", "docs", "--filter", '{"kind": "odd"}', "--set", '{"seen": true}')
    tried = torpor.json(*command, "--dry-run")
    assert tried["matched"] == COUNT // 2 and tried["dry_run"] is True
    assert torpor.json("stats", "docs", "--filter", '{"seen": true}')["total"] == 0
    assert "125 records would be updated" in torpor.says(*command, "--dry-run")
    assert "updated 125 records in " in torpor.says(*command)
    assert torpor.json("stats", "docs", "--filter", '{"seen": true}')["total"] == COUNT // 2


# Sparse values


def test_a_sparse_index_is_created_loaded_and_asked(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    made = torpor.json("index", "create", "words", "--sparse")
    assert made["vector_type"] == "sparse" and made["metric"] == "dotproduct"
    assert "sparse" in torpor.says("index", "describe", "words")
    rows = [
        {"id": "a", "sparse_values": {"indices": [9, 1], "values": [2.0, 1.0]}},
        {"id": "b", "sparse_values": {"indices": [1, 5], "values": [3.0, 1.0]}},
        {"id": "c", "sparse_values": {"indices": [7], "values": [1.0]}},
    ]
    load(torpor, tmp_path, "words", rows)
    query = ("query", "words", "--sparse", '{"indices": [1], "values": [2]}', "--include-values")
    found = torpor.json(*query)["matches"]
    assert [(match["id"], match["score"]) for match in found] == [("b", 6.0), ("a", 2.0)]
    assert found[1]["sparse_values"] == {"indices": [1, 9], "values": [1.0, 2.0]}
    assert "sparse [1, 2]" in torpor.says(*query)
    counted = torpor.json("stats", "words")
    assert counted["vector_type"] == "sparse" and counted["dimension"] is None
    changed = '{"indices": [1], "values": [9]}'
    torpor.says("update", "words", "a", "--sparse", changed)
    (record,) = torpor.json("fetch", "words", "a")["records"]
    assert record["sparse_values"] == {"indices": [1], "values": [9.0]} and "values" not in record


def test_dense_and_sparse_values_are_asked_together(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("both", dimension=2, metric=control.METRIC_DOTPRODUCT)
    rows = [
        {"id": "a", "values": [1, 0], "sparse_values": {"indices": [3], "values": [10]}},
        {"id": "b", "values": [2, 0]},
    ]
    load(torpor, tmp_path, "both", rows)
    dense = torpor.json("query", "both", "--vector", "[1, 0]")["matches"]
    assert [(match["id"], match["score"]) for match in dense] == [("b", 2.0), ("a", 1.0)]
    sparse = '{"indices": [3], "values": [1]}'
    both = torpor.json("query", "both", "--vector", "[1, 0]", "--sparse", sparse)["matches"]
    assert [(match["id"], match["score"]) for match in both] == [("a", 11.0), ("b", 2.0)]


# Namespaces and freshness


def test_several_namespaces_are_searched_together(
    docs: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        load(torpor, tmp_path, "docs", [record(1)], "--namespace", name)
    query = ["query", "docs", "--vector", "[1, 0]", "--namespace", "two", "--namespace", "one"]
    found = torpor.json(*query)["matches"]
    assert [match["id"] for match in found] == ["r001", "r001"]
    assert [match["namespace"] for match in found] == ["one", "two"]
    assert "two" in torpor.says(*query)


def test_a_namespace_is_created_with_the_fields_that_filters_may_use(
    docs: Client, torpor: CommandLine
) -> None:
    made = torpor.json(
        "namespaces", "create", "docs", "n", "--filterable", "a", "--filterable", "b"
    )
    assert made["schema"]["fields"] == {"a": {"filterable": True}, "b": {"filterable": True}}
    assert "a, b" in torpor.says("namespaces", "describe", "docs", "n")


def test_a_query_says_how_fresh_its_answer_must_be(docs: Client, torpor: CommandLine) -> None:
    found = torpor.json("query", "docs", "--id", "r001", "--at-least-lsn", 2)
    assert found["lsn"] >= 2
    seen = torpor.json("query", "docs", "--id", "r001", "--current-view")
    assert seen["lsn"] == found["lsn"]
    docs.data.Upsert(
        data.UpsertRequest(index="docs", vectors=[data.Vector(id="new", values=[1, 0])])
    )
    assert torpor.json("query", "docs", "--id", "new")["lsn"] == 4
