"""Records: what a run leaves, also when it does not get to its end."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from bench.errors import BenchError, Stopped
from bench.record import percentiles, recording

SETTINGS = {"data": "few, 3 x 2"}


def test_a_whole_run_leaves_samples_percentiles_and_where_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    with recording("question", SETTINGS, path) as record:
        record.samples["client ms"] += [1.0, 2.0, 3.0]
        record.figures["queries/s"] = 5.0
    found = json.loads(path.read_text())
    assert found["samples"] == {"client ms": [1.0, 2.0, 3.0]} and "partial" not in found
    assert found["percentiles"]["client ms"]["p50"] == 2.0
    assert found["figures"] == {"queries/s": 5.0} and found["settings"] == SETTINGS
    assert {"commit", "machine", "time"} <= found.keys()


@pytest.mark.parametrize(
    "why",
    [
        KeyboardInterrupt(),
        OSError(errno.ENOSPC, "No space left on device"),
        BenchError("Not every query was answered."),
    ],
)
def test_a_run_that_is_stopped_leaves_a_partial_record_beside_the_whole_one(
    tmp_path: Path, why: BaseException
) -> None:
    path = tmp_path / "record.json"
    path.write_text("the record of before")
    with pytest.raises(BenchError, match=r"record\.partial\.json"):
        _stopped(path, why)
    found = json.loads((tmp_path / "record.partial.json").read_text())
    assert found["partial"] is True and found["samples"] == {"client ms": [1.0]}
    assert path.read_text() == "the record of before"


def test_a_run_that_is_stopped_before_anything_was_measured_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="Nothing"), recording("q", SETTINGS, tmp_path / "r.json"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_of_ours_is_not_taken_for_the_worlds(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), recording("q", SETTINGS, tmp_path / "r.json") as one:
        one.figures["x"] = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_percentiles_are_those_of_numpy() -> None:
    samples = np.random.default_rng(1).exponential(1.0, 5_000).tolist()
    found = percentiles(samples)
    assert found["p99.9"] == np.percentile(samples, 99.9)
    assert found["min"] == min(samples) and found["max"] == max(samples)


def _stopped(path: Path, why: BaseException) -> None:
    with recording("q", SETTINGS, path) as one:
        one.samples["client ms"].append(1.0)
        raise why
