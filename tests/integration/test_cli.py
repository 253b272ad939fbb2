"""The command line against a real server: what it stores, what it shows, what it says of mistakes."""

import io
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.integration.client import Client
from tests.integration.command_line import CommandLine
from torpor.__main__ import main
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

DEEP = '{"$and":[' * 17 + '{"a":{"$in":[1]}}' + "]}" * 17
DEEPER = '{"a":' * 900 + "1" + "}" * 900
NOBODY = "127.0.0.1:1"


# Indexes


def test_an_index_is_created_described_configured_and_deleted(
    client: Client, torpor: CommandLine
) -> None:
    made = torpor.json(
        *("index", "create", "docs", "--dimension", 3, "--metric", "euclidean", "--protect"),
        *("--cloud", "c", "--region", "r", "--idle-seconds", 7.5, "--tag", "a=b", "--tag", "c=d=e"),
    )
    assert made["name"] == "docs" and made["dimension"] == 3 and made["metric"] == "euclidean"
    assert made["spec"] == {"cloud": "c", "region": "r"} and made["idle_seconds"] == 7.5
    assert made["tags"] == {"a": "b", "c": "d=e"} and made["deletion_protection"] is True
    assert made["state"] == "asleep" and made["cost"]["cold_starts"] == 0
    assert torpor.json("index", "describe", "docs") == made

    changed = torpor.json(
        *("index", "configure", "docs", "--no-protect", "--tag", "a=", "--idle-seconds", 600)
    )
    assert changed["deletion_protection"] is False and changed["tags"] == {"c": "d=e"}
    assert changed["idle_seconds"] == 600
    assert torpor.json("index", "configure", "docs", "--tag", "x=y")["idle_seconds"] == 600

    assert torpor.json("index", "delete", "docs", "--yes") == {"deleted": "docs"}
    assert torpor.json("index", "list") == {"indexes": []}


def test_describe_shows_state_cost_and_the_phases_of_the_last_wake(
    client: Client, torpor: CommandLine
) -> None:
    said = torpor.says("index", "create", "docs", "--dimension", 3)
    assert "asleep" in said and "3 dimensions" in said and "last wake" not in said
    assert "awake" in torpor.says("index", "wake", "docs")
    said = torpor.says("index", "describe", "docs")
    for word in ("awake", "cosine", "cold starts", "last wake", "fork", "log replay", "first scan"):
        assert word in said
    assert torpor.json("index", "sleep", "docs")["state"] == "asleep"
    assert torpor.json("index", "describe", "docs")["last_wake"]["total_ms"] > 0


def test_indexes_are_listed_with_all_pages(client: Client, torpor: CommandLine) -> None:
    for name in ("b", "a", "c"):
        client.create(name)
    listed = torpor.json("index", "list")["indexes"]
    assert [one["name"] for one in listed] == ["a", "b", "c"]
    said = torpor.says("index", "list")
    assert "cosine" in said and "3 indexes in " in said


def test_an_index_has_replicas_or_pods(client: Client, torpor: CommandLine) -> None:
    torpor.says("index", "create", "docs", "--dimension", 3, "--replicas", 1)
    torpor.says("index", "wake", "docs")
    said = torpor.says("index", "describe", "docs")
    assert "1 of 1 replica awake, ready" in said and "never" in said
    assert client.describe("docs").host in said
    torpor.says("index", "configure", "docs", "--replicas", 0)
    assert "0 of 0 replicas awake" in torpor.says("index", "describe", "docs")
    assert "FAILED_PRECONDITION" in torpor.fails("query", "docs", "--id", "a")
    assert "on demand" in torpor.says("index", "configure", "docs", "--on-demand")
    made = torpor.json(
        *("index", "create", "pods", "--dimension", 3, "--pod-type", "s1.x1"),
        *("--environment", "us-1", "--replicas", 0),
    )
    assert made["pod"]["pod_type"] == "s1.x1" and made["pod"]["environment"] == "us-1"
    changed = torpor.json("index", "configure", "pods", "--pod-type", "s1.x2", "--replicas", 1)
    assert (changed["pod"]["pod_type"], changed["pod"]["replicas"]) == ("s1.x2", 1)
    assert torpor.json("index", "configure", "pods", "--replicas", 0)["pod"]["replicas"] == 0
    assert "s1.x2 in us-1" in torpor.says("index", "describe", "pods")


def test_collections_are_created_listed_described_used_and_deleted(
    client: Client, torpor: CommandLine
) -> None:
    client.create("docs", dimension=3)
    client.upsert("docs", np.eye(3))
    made = torpor.json("collection", "create", "k", "--from", "docs")
    assert (made["name"], made["source"], made["record_count"]) == ("k", "docs", 3)
    assert torpor.json("collection", "describe", "k") == made
    assert torpor.json("collection", "list") == {"collections": [made]}
    assert "1 collection in " in torpor.says("collection", "list")
    said = torpor.says("collection", "describe", "k")
    assert "docs" in said and "3 dimensions" in said and made["id"] in said
    torpor.says("index", "delete", "docs", "--yes")
    again = torpor.json("index", "create", "docs", "--from-collection", "k")
    assert (again["dimension"], again["source_collection"]) == (3, "k")
    assert "made of the collection" in torpor.says("index", "describe", "docs")
    assert torpor.json("collection", "delete", "k", "--yes") == {"deleted": "k"}
    assert "Resource k not found" in torpor.fails("collection", "describe", "k")
    assert client.count("docs") == 3


# What deletes much asks first


def test_what_deletes_much_needs_yes_where_nobody_can_be_asked(
    client: Client, torpor: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create("docs", dimension=3)
    client.upsert("docs", [[1, 2, 3]], namespace="n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    for command in (
        ("index", "delete", "docs"),
        ("delete", "docs", "--all", "--namespace", "n"),
        ("delete", "docs", "--filter", '{"a": 1}'),
        ("namespaces", "delete", "docs", "n"),
    ):
        assert "Say --yes" in torpor.fails(*command)
    assert client.count("docs") == 1
    torpor.says("delete", "docs", "--all", "--namespace", "n", "--yes")
    assert client.count("docs") == 0


@pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, 0), ("n", 1, 1), ("", 1, 1)])
def test_on_a_terminal_deletion_is_asked_for(
    client: Client, answer: str, status: int, left: int
) -> None:
    client.create("docs", dimension=3)
    terminal, its_end = pty.openpty()
    command = [sys.executable, "-m", "torpor", "index", "delete", "docs"]
    command += ["--server", client.server.address]
    try:
        with subprocess.Popen(
            command, stdin=its_end, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            os.write(terminal, f"{answer}\n".encode())
            _, said = process.communicate()
    finally:
        os.close(terminal)
        os.close(its_end)
    assert said.startswith("Delete the index 'docs' and everything in it? [y/N] ")
    assert process.returncode == status
    assert len(client.control.ListIndexes(control.ListIndexesRequest()).indexes) == left


# Asking


def test_a_query_by_vector_shows_matches_and_what_woke(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("docs", dimension=3)
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(
            f'{{"id": "r{n:04d}", "values": [{n + 1}, 1, 0.5], "metadata": {{"n": {n}}}}}\n'
            for n in range(20)
        )
    )
    torpor.says("upsert", "docs", path)
    said = torpor.says("query", "docs", "--vector", "[1, 1, 0.5]", "--top-k", 2)
    assert "r0000" in said and '{"n": 0}' in said and "r0001" in said and "r0002" not in said
    assert "2 matches in " in said and "(woke the index: " in said and ", exact, LSN 1\n" in said
    said = torpor.says("query", "docs", "--id", "r0005", "--top-k", 1, "--no-metadata")
    assert "1 match in " in said and "woke" not in said and "{" not in said
    client.sleep("docs")
    found = torpor.json("query", "docs", "--id", "r0005", "--top-k", 2, "--include-values")
    assert [match["id"] for match in found["matches"]] == ["r0005", "r0006"]
    assert found["matches"][0] == {
        "id": "r0005",
        "score": 1.0,
        "metadata": {"n": 5},
        "values": [6.0, 1.0, 0.5],
    }
    assert found["wake_ms"] > 0 and found["exact"] is True and found["lsn"] == 1
    assert torpor.json("query", "docs", "--id", "r0005")["wake_ms"] is None
    assert torpor.json("query", "docs", "--id", "nobody")["matches"] == []


def test_a_vector_comes_from_a_file_or_from_stdin(
    client: Client, torpor: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create("docs", dimension=3)
    client.upsert("docs", np.eye(3))
    path = tmp_path / "vector.json"
    path.write_text("[0, 1, 0]\n")
    found = torpor.json("query", "docs", "--vector", f"@{path}")
    assert found["matches"][0]["id"] == "000001"
    monkeypatch.setattr(sys, "stdin", io.StringIO("[0, 0, 1]"))
    found = torpor.json("query", "docs", "--vector", "-", "--namespace", "__default__")
    assert found["matches"][0]["id"] == "000002"
    assert torpor.json("query", "docs", "--id", "000001", "--namespace", "n")["matches"] == []


def test_records_are_fetched_in_the_order_asked_for(client: Client, torpor: CommandLine) -> None:
    client.create("docs", dimension=3)
    client.upsert("docs", np.eye(3))
    found = torpor.json("fetch", "docs", "000002", "nobody", "000000", "000002")
    assert [record["id"] for record in found["records"]] == ["000002", "000000"]
    assert found["records"][0]["values"] == [0.0, 0.0, 1.0] and found["missing"] == ["nobody"]
    said = torpor.says("fetch", "docs", "000002", "nobody")
    assert "[0, 0, 1]" in said and "1 record (not there: nobody) in " in said


def test_records_are_deleted_by_id(client: Client, torpor: CommandLine) -> None:
    client.create("docs", dimension=3)
    client.upsert("docs", np.eye(3))
    assert torpor.json("delete", "docs", "000000", "nobody")["lsn"] == 2
    assert "deleted 1 id in " in torpor.says("delete", "docs", "000001")
    assert client.count("docs") == 1


def test_stats_count_by_namespace(client: Client, torpor: CommandLine) -> None:
    client.create("docs", dimension=3)
    client.upsert("docs", np.eye(3))
    client.upsert("docs", np.eye(3)[:1], namespace="n")
    counted = torpor.json("stats", "docs")
    assert counted["namespaces"] == {"__default__": 3, "n": 1} and counted["total"] == 4
    assert counted["dimension"] == 3
    said = torpor.says("stats", "docs")
    assert "__default__" in said and "4 records in 2 namespaces" in said


def test_namespaces_are_created_listed_described_and_deleted(
    client: Client, torpor: CommandLine
) -> None:
    client.create("docs", dimension=3)
    client.upsert("docs", np.eye(3))
    assert torpor.json("namespaces", "create", "docs", "n")["name"] == "n"
    assert "ALREADY_EXISTS" in torpor.fails("namespaces", "create", "docs", "n")
    for number in range(120):
        client.upsert("docs", np.eye(3)[:1], namespace=f"p{number:03d}")
    listed = torpor.json("namespaces", "list", "docs")["namespaces"]
    assert [one["name"] for one in listed][:3] == ["__default__", "n", "p000"]
    assert len(listed) == 122
    listed = torpor.json("namespaces", "list", "docs", "--prefix", "p", "--limit", 110)
    assert len(listed["namespaces"]) == 110
    assert "__default__" in torpor.says("namespaces", "describe", "docs", "__default__")
    assert torpor.json("namespaces", "describe", "docs", "p007")["record_count"] == 1
    assert torpor.json("namespaces", "delete", "docs", "p007", "--yes")["deleted"] == "p007"
    assert torpor.fails("namespaces", "describe", "docs", "p007").startswith("torpor: NOT_FOUND: ")


def test_what_is_stored_does_not_steer_the_terminal(client: Client, torpor: CommandLine) -> None:
    client.create("docs", dimension=3)
    vector = data.Vector(id="\x1b[2J[red]x", values=[1, 2, 3])
    vector.metadata["k"] = "\x1b]0;title\x07"
    client.data.Upsert(data.UpsertRequest(index="docs", vectors=[vector]))
    said = torpor.says("query", "docs", "--vector", "[1, 2, 3]")
    assert "\x1b" not in said and "\\x1b[2J[red]x" in said
    assert torpor.json("query", "docs", "--vector", "[1, 2, 3]")["matches"][0]["id"] == vector.id


# Mistakes


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("query docs", "say what to ask with: --vector, --id or --sparse"),
        ("query docs --vector [1,", "--vector is not JSON"),
        ("query docs --vector {}", "--vector must be a list of numbers, not an object"),
        ('query docs --vector [1,"a"]', "--vector must be numbers; value 2 is a string"),
        ("query docs --vector [NaN]", "--vector holds NaN, which is no JSON"),
        ("query docs --vector @/nobody", "--vector: cannot read /nobody: No such file"),
        ("query docs --vector [1] --id a", "not allowed with argument"),
        ("query docs --id a --namespace a --namespace b", "at most one --namespace"),
        ("query docs --id a --sparse {}", "--sparse cannot be added to it"),
        ("query docs --id a --filter []", "--filter must be an object, not a list"),
        ("query docs --id a --top-k 0", "0 is not a whole number of 1 to 4294967295"),
        ("query docs --id a --at-least-lsn 1 --current-view", "not allowed with argument"),
        ("query docs --id a --at-least-lsn -1", "-1 is not a whole number of 0 to"),
        ("query docs --id a\udcff", "the argument 'a\\udcff' is not UTF-8"),
        (f"query docs --id a --filter {DEEP}", "--filter is nested too deeply"),
        (f"query docs --id a --filter {DEEPER}", "--filter is nested too deeply"),
        ("query docs --sparse {}", '--sparse must be an object with "indices" and "values"'),
        ("fetch docs", "say which records: either ids or --filter"),
        ("fetch docs a --filter {}", "say which records: either ids or --filter"),
        ("fetch docs a --limit 1", "--limit goes with --filter"),
        ("delete docs", "say what to delete: ids, or --filter, or --all"),
        ("delete docs a --all", "say what to delete: ids, or --filter, or --all"),
        ("update docs a", "say what to change: --set, --values or --sparse"),
        ("update docs --set {}", "say which records: either one ID or --filter"),
        ("update docs --filter {} --values [1]", "give its ID"),
        ("update docs a --set {} --dry-run", "--dry-run goes with --filter"),
        ("upsert docs a.jsonl --batch 1001", "--batch is 1001; at most 1000"),
        ("index create docs", "one of the arguments --dimension --sparse --from-collection is"),
        ("index create docs --dimension 3 --tag a", "'a' is not KEY=VALUE"),
        ("index create docs --dimension 3 --from-collection k", "not allowed with argument"),
        ("index create docs --dimension 3 --replicas -1", "-1 is not a whole number of 0 to"),
        ("index configure docs --replicas 1 --on-demand", "not allowed with argument"),
        ("index configure docs --pod-type p1.x2 --on-demand", "cannot be had together"),
        ("collection create k", "the following arguments are required: --from"),
        ("stats docs --timeout 0", "0 is not a number above 0"),
        ("index", "the following arguments are required: COMMAND"),
        ("index nonsense", "invalid choice: 'nonsense'"),
        ("index create docs --dimension -1", "-1 is not a whole number of 1 to"),
        ("index list --time 3", "unrecognized arguments: --time 3"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anybody_is_asked(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    reason: str,
) -> None:
    monkeypatch.setenv("TORPOR_SERVER", NOBODY)
    try:
        status: object = main(command.split())
    except SystemExit as left:
        status = left.code
    said = capsys.readouterr()
    assert status == 2 and reason in said.err and not said.out


def test_a_file_that_is_not_there_is_told(client: Client, torpor: CommandLine) -> None:
    client.create("docs", dimension=3)
    assert "a.jsonl: there is no such file" in torpor.fails("upsert", "docs", "a.jsonl")
    assert "the format is told by the name's end" in torpor.run("upsert", "docs", __file__).err


def test_what_the_server_refuses_is_one_line(client: Client, torpor: CommandLine) -> None:
    client.create("docs", dimension=3)
    for command, code in (
        (["query", "nobody", "--id", "a"], "NOT_FOUND"),
        (["query", "docs", "--vector", "[1, 2]"], "INVALID_ARGUMENT"),
        (["index", "create", "docs", "--dimension", "3"], "ALREADY_EXISTS"),
        (["index", "create", "Docs", "--dimension", "3"], "INVALID_ARGUMENT"),
        (["index", "describe", "nobody", "--json"], "NOT_FOUND"),
        (["upsert", "nobody", "a.jsonl"], "NOT_FOUND"),
    ):
        ran = torpor.run(*command)
        assert ran.status == 1 and not ran.out
        assert ran.err.startswith(f"torpor: {code}: ") and ran.err.count("\n") == 1


def test_where_no_server_answers_it_is_said_how_to_start_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORPOR_SERVER", NOBODY)
    assert main(["stats", "docs"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(
        "torpor: no server answers at 127.0.0.1:1. Start one with `torpor serve"
    )
    assert not said.out


def test_a_call_that_takes_too_long_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert main(["index", "list", "--server", address, "--timeout", "0.2"]) == 1
    said = capsys.readouterr().err
    assert said == "torpor: DEADLINE_EXCEEDED: no answer within 0.2 s; --timeout allows more\n"


@pytest.mark.parametrize(
    "command",
    [
        *("index", "namespaces", "stats", "upsert", "query", "fetch", "list", "update", "delete"),
        *(f"index {one}" for one in ("list", "create", "describe", "configure", "delete")),
        *("index wake", "index sleep", "collection"),
        *(f"collection {one}" for one in ("create", "list", "describe", "delete")),
        *(f"namespaces {one}" for one in ("list", "describe", "create", "delete")),
    ],
)
def test_help_teaches_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert f"\n  torpor {command} " in said.partition("example")[2]


def test_a_reader_that_has_enough_ends_the_command_quietly(client: Client) -> None:
    client.create("docs", dimension=3)
    command = [sys.executable, "-m", "torpor", "index", "describe", "docs"]
    command += ["--server", client.server.address]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert ran.returncode == 141 and not ran.stderr
