"""Loading files from the command line: all of it, or a prefix that is told and can be gone on from."""

import gzip
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.integration.client import Client
from tests.integration.command_line import CommandLine
from tests.integration.conftest import Start
from torpor.cli.connection import Connection
from torpor.v1 import data_pb2 as data

ROWS = 1_050


def rows(count: int = ROWS) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n:04d}", "values": [n + 1.0, 1.0, 0.5], "metadata": {"n": n}}
        for n in range(count)
    ]


def write(path: Path, *content: dict[str, Any] | str) -> Path:
    text = (line if isinstance(line, str) else json.dumps(line) for line in content)
    path.write_text("".join(f"{line}\n" for line in text))
    return path


def stored(client: Client, *ids: str, namespace: str = "") -> dict[str, data.Vector]:
    request = data.FetchRequest(index="docs", ids=ids, namespace=namespace)
    return dict(client.data.Fetch(request).vectors)


def input_files(folder: Path) -> dict[str, list[object]]:
    """The same rows in every format, as the arguments that load them."""
    made = rows()
    plain = write(folder / "rows.jsonl", *made)
    packed = folder / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = pa.table(
        {
            "id": [row["id"] for row in made],
            "values": pa.array([row["values"] for row in made], pa.list_(pa.float32())),
            "metadata": [json.dumps(row["metadata"]) for row in made],
        }
    )
    parquet.write_table(table, folder / "rows.parquet", row_group_size=400)
    np.save(folder / "rows.npy", np.array([row["values"] for row in made], np.float32))
    ids = folder / "ids.txt"
    ids.write_text("".join(f"{row['id']}\n" for row in made))
    about = write(folder / "about.jsonl", *(row["metadata"] for row in made))
    return {
        "jsonl": [plain],
        "jsonl.gz": [packed],
        "parquet": [folder / "rows.parquet"],
        "npy": [folder / "rows.npy", "--ids", ids, "--metadata", about],
    }


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "npy"])
def test_a_file_of_any_format_is_loaded_as_a_whole(
    client: Client, torpor: CommandLine, tmp_path: Path, kind: str
) -> None:
    client.create("docs", dimension=3)
    files = input_files(tmp_path)[kind]
    report = torpor.json("upsert", "docs", *files, "--namespace", "n", "--batch", 70)
    assert report["rows_stored"] == ROWS and report["rows_perhaps_stored"] == 0
    assert report["lsn"] == -(-ROWS // 70)
    assert client.count("docs") == ROWS
    for row in (rows()[0], rows()[777], rows()[-1]):
        (vector,) = stored(client, row["id"], namespace="n").values()
        assert list(vector.values) == row["values"]
        assert vector.metadata["n"] == row["metadata"]["n"]
    assert "1,050 rows (" in torpor.says("upsert", "docs", *files)
    assert client.count("docs") == 2 * ROWS
    assert not list(tmp_path.glob("*resume*"))


def test_a_load_on_a_terminal_shows_how_far_it_is(client: Client, tmp_path: Path) -> None:
    client.create("docs", dimension=3)
    path = write(tmp_path / "a.jsonl", *rows())
    command = [sys.executable, "-m", "torpor", "upsert", "docs", str(path)]
    command += ["--server", client.server.address]
    terminal, its_end = pty.openpty()
    shown = b""
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its_end) as process:
            said, _ = process.communicate()
        while select.select([terminal], [], [], 0)[0]:
            shown += os.read(terminal, 65_536)
    finally:
        os.close(terminal)
        os.close(its_end)
    assert process.returncode == 0
    assert b"100%" in shown and b"1,050 rows (" in shown
    assert said.startswith(b"1,050 rows (") and b"\x1b" not in said


def test_rows_of_a_matrix_without_ids_are_called_by_their_numbers(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("docs", dimension=3)
    np.save(tmp_path / "a.npy", np.eye(3))
    torpor.says("upsert", "docs", tmp_path / "a.npy")
    assert list(stored(client, "2")["2"].values) == [0, 0, 1]


def test_the_last_row_of_an_id_wins_however_many_are_in_flight(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("docs", dimension=3)
    same = [{"id": f"{n % 3}", "values": [1, n, 0]} for n in range(300)]
    torpor.says("upsert", "docs", write(tmp_path / "a.jsonl", *same), "--batch", 1)
    vectors = stored(client, "0", "1", "2")
    assert [vectors[name].values[1] for name in "012"] == [297, 298, 299]


def test_a_bad_row_stops_the_load_where_it_is_and_resume_goes_on_after_it_is_mended(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("docs", dimension=3)
    good = rows(500)
    bad = {**good[349], "values": [1.0]}
    path = write(tmp_path / "a.jsonl", *good[:349], bad, *good[350:])
    said = torpor.fails("upsert", "docs", path)
    assert f"{path}, line 350: values has 1 numbers; the index has dimension 3" in said
    assert "the first 349 rows are stored; --resume goes on from there" in said
    assert client.count("docs") == 349
    assert "line 350" in torpor.fails("upsert", "docs", path, "--resume")
    assert client.count("docs") == 349

    write(path, *good)
    upserted = client.describe("docs").cost.vectors_upserted
    report = torpor.json("upsert", "docs", path, "--resume")
    assert (report["resumed_after"], report["rows_stored"]) == (349, 500)
    assert client.describe("docs").cost.vectors_upserted - upserted == 151
    assert client.count("docs") == 500
    assert not list(tmp_path.glob("*resume*"))


def test_resume_is_refused_when_what_is_stored_has_changed_in_the_file(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("docs", dimension=3)
    good = rows(200)
    path = write(tmp_path / "a.jsonl", *good[:150], "nonsense")
    torpor.fails("upsert", "docs", path)
    write(path, *good[:20], {**good[20], "values": [9, 9, 9]}, *good[21:])
    said = torpor.fails("upsert", "docs", path, "--resume")
    assert "has changed within its first 150 rows" in said and "without --resume" in said
    write(path, *good[:20], "nonsense", *good[21:])
    assert "has changed" in torpor.fails("upsert", "docs", path, "--resume")
    write(path, *good[:100])
    assert "has changed" in torpor.fails("upsert", "docs", path, "--resume")
    assert torpor.json("upsert", "docs", path)["rows_stored"] == 100
    assert not list(tmp_path.glob("*resume*"))


def test_resume_is_refused_for_another_target(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("docs", dimension=3)
    client.create("other", dimension=3)
    path = write(tmp_path / "a.jsonl", *rows(10), "nonsense")
    torpor.fails("upsert", "docs", path)
    said = torpor.fails("upsert", "other", path, "--resume")
    assert "is of a load into the index 'docs', and not 'other'" in said
    said = torpor.fails("upsert", "docs", path, "--resume", "--namespace", "n")
    assert "is of a load into the namespace '', and not 'n'" in said
    torpor.says("index", "delete", "docs", "--yes")
    client.create("docs", dimension=3)
    assert "earlier index 'docs'" in torpor.fails("upsert", "docs", path, "--resume")
    (beside,) = tmp_path.glob("*resume")
    beside.write_text("{}")
    assert "cannot be read" in torpor.fails("upsert", "docs", path, "--resume")
    assert client.count("docs") == 0


def test_resume_without_an_earlier_load_starts_from_the_beginning(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("docs", dimension=3)
    path = write(tmp_path / "a.jsonl", *rows(10))
    assert "loading from the start" in torpor.says("upsert", "docs", path, "--resume")
    assert client.count("docs") == 10


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "npy"])
def test_a_load_goes_on_after_its_server_was_killed_in_the_middle(
    start: Start,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
) -> None:
    client = start()
    client.create("docs", dimension=3)
    torpor = CommandLine(client, capsys)
    files = input_files(tmp_path)[kind]
    sent = 0

    def start_upsert(self: Connection, request: data.UpsertRequest) -> Any:
        nonlocal sent
        sent += 1
        if sent == 6:
            client.server.kill()
        return self.data.Upsert.future(request, timeout=self.timeout_seconds)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "start_upsert", start_upsert)
        ran = torpor.run("upsert", "docs", *files, "--json")
    report = json.loads(ran.out)
    assert ran.status == 1 and "--resume goes on from there" in ran.err
    # Batches 1 and 2 were waited for before the sixth was sent.
    assert report["rows_stored"] in {200, 300, 400, 500} and report["error"]

    again = start("--listen", client.server.address)
    assert again.count("docs") >= report["rows_stored"]
    resumed = torpor.json("upsert", "docs", *files, "--resume")
    assert resumed["resumed_after"] == report["rows_stored"]
    assert resumed["rows_stored"] == again.count("docs") == ROWS


def test_a_batch_that_the_server_refuses_is_told_with_its_lines(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("docs", dimension=3)
    path = write(tmp_path / "a.jsonl", *rows(10))
    said = torpor.fails("upsert", "docs", path, "--namespace", "n" * 513)
    assert said.startswith("torpor: INVALID_ARGUMENT: ") and f"({path}, lines 1 to 10)" in said
    assert "no row is stored" in said and client.count("docs") == 0


def test_an_interrupted_load_says_how_far_it_came(
    client: Client, torpor: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create("docs", dimension=3)
    path = write(tmp_path / "a.jsonl", *rows(1_000))
    sent = 0

    def start_upsert(self: Connection, request: data.UpsertRequest) -> Any:
        nonlocal sent
        sent += 1
        if sent == 7:
            raise KeyboardInterrupt
        return self.data.Upsert.future(request, timeout=self.timeout_seconds)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "start_upsert", start_upsert)
        ran = torpor.run("upsert", "docs", path, "--json")
    report = json.loads(ran.out)
    assert ran.status == 1 and ran.err.startswith("torpor: interrupted; the first ")
    # The rest of what was sent was acknowledged, but is counted only when a load is going on.
    assert report["rows_stored"] + report["rows_perhaps_stored"] == client.count("docs") == 600
    assert torpor.json("upsert", "docs", path, "--resume")["rows_stored"] == 1_000
    assert client.count("docs") == 1_000


def test_a_folder_that_cannot_be_written_to_can_be_loaded_from(
    client: Client, torpor: CommandLine, tmp_path: Path
) -> None:
    client.create("docs", dimension=3)
    path = write(tmp_path / "a.jsonl", *rows(300), "nonsense")
    # Stands for a read-only folder, which would not stop a test that runs as root.
    path.with_name("a.jsonl.torpor-resume.new").mkdir()
    said = torpor.fails("upsert", "docs", path)
    assert "the first 300 rows are stored; --resume will not know, because of" in said
