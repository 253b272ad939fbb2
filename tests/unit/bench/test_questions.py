"""The command: which questions there are, what is said when one cannot be asked, and its options."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import dataset as datasets
from bench import load
from bench.__main__ import QUESTIONS, TASKS
from bench.errors import UnknownDataset
from bench.target import mean_recall, query
from torpor.v1 import data_pb2

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.mark.parametrize("name", [*QUESTIONS, *TASKS])
def test_every_question_is_a_module_that_says_how_it_is_measured(name: str) -> None:
    module = importlib.import_module(f"bench.{name}")
    assert len(module.__doc__ or "") > 80 and callable(module.main)


def ask(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cold_start", "--data", "/no/such.npy"], "There is no data set in /no/such.npy"),
        (
            ["load", "--target", "127.0.0.1:1", "--index", "a", "--dimension", "3", "--rate", "1"],
            "No server answers at 127.0.0.1:1",
        ),
        (["compare", "--base", "no-such-commit"], "there is no such commit"),
        (["duty_cycle", "--cold", "/no/such.json"], "Run `python -m bench cold_start` first"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_2(
    arguments: list[str], said: str
) -> None:
    done = ask(*arguments)
    assert done.returncode == 2 and said in done.stderr
    assert len(done.stderr.splitlines()) == 1


LOAD = ["--target", "h:1", "--index", "a"]


@pytest.mark.parametrize(
    "arguments",
    [
        [*LOAD, "--dimension", "3"],
        [*LOAD, "--rate", "5"],
        [*LOAD, "--rate", "5", "--in-flight", "2", "--dimension", "3"],
        [*LOAD, "--rate", "5", "--dimension", "3", "--vectors", "x.npy"],
        [*LOAD, "--rate", "-1", "--dimension", "3"],
        [*LOAD, "--rate", "5", "--dimension", "3", "--upserts", "101"],
        [*LOAD, "--rate", "5", "--dimension", "3", "--batch", "0"],
    ],
)
def test_options_of_load_that_do_not_go_together_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        load.parse(arguments)
    assert refused.value.code == 2
    assert "error" in capsys.readouterr().err


def test_load_takes_its_target_and_its_key_from_options_or_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORPOR_API_KEY", "from-the-environment")
    options = load.parse([*LOAD, "--in-flight", "2", "--dimension", "3"])
    assert (options.server, options.api_key) == ("h:1", "from-the-environment")
    options = load.parse([*LOAD, "--api-key", "given", "--in-flight", "2", "--dimension", "3"])
    assert options.api_key == "given"


def test_load_draws_as_many_upserts_as_it_is_told() -> None:
    kinds = load.kinds_of(25, 1)
    assert 0.23 < kinds.count("Upsert") / len(kinds) < 0.27
    assert set(load.kinds_of(0, 1)) == {"Query"} and set(load.kinds_of(100, 1)) == {"Upsert"}


# Data sets


def some(rows: int = 300, dimension: int = 8) -> datasets.Dataset:
    random = np.random.default_rng(2)
    vectors = random.standard_normal((rows, dimension)).astype(np.float32)
    vectors[7] = 0
    vectors[20] = vectors[10]
    queries = np.concatenate((vectors[10:11], random.standard_normal((250, dimension))))
    return datasets.Dataset("some", vectors, queries.astype(np.float32), None)


def test_neighbors_are_those_of_float64_with_ties_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_EXACT_ROWS", 64)
    one = some()
    wide = one.vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    for number in (0, 1, 99, 100, 250):
        scores = wide @ one.queries[number].astype(np.float64) / np.where(lengths, lengths, 1)
        expected = np.lexsort((np.arange(len(wide)), -scores))[:10]
        assert one.neighbors_of(number, 10).tolist() == expected.tolist()
    assert one.neighbors_of(0, 2).tolist() == [10, 20]


def test_recall_counts_each_query_once() -> None:
    one = some()

    def answer(number: int, kept: int) -> bytes:
        rows = one.neighbors_of(number, 10)[:kept]
        matches = [data_pb2.ScoredVector(id=f"{row:08d}") for row in rows]
        return data_pb2.QueryResponse(matches=matches).SerializeToString()

    several = [(0, answer(0, 10)), (1, answer(1, 5)), (1 + len(one.queries), answer(1, 5))]
    assert mean_recall(one, 10, several) == pytest.approx(0.75)


def test_asking_for_the_exact_answer_is_one_field_more() -> None:
    one = some()
    plain, exact = (query(one, 3, 10, exact=wanted) for wanted in (False, True))
    # Field 1005, a varint, 1: whether or not these stubs know it by name.
    assert exact == plain + bytes([0xE8, 0x3E, 0x01])


def test_a_smaller_data_set_is_the_first_rows_and_a_larger_one_is_refused() -> None:
    one = some()
    assert datasets.first(one, 100).vectors.shape == (100, 8)
    with pytest.raises(UnknownDataset, match="300 rows"):
        datasets.first(one, 301)
