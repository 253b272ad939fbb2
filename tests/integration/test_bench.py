"""Questions of `python -m bench`, on few rows: what they call their figures is what was measured."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import cold_start, fold, recovery

Ask = Callable[..., dict[str, Any]]

FOLD = ["--rounds", "1", "--quiet", "0.2", "--log", "200", "--rows", "2000"]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Asks a question, and returns its record."""

    def answer(question: ModuleType, *arguments: str) -> dict[str, Any]:
        output = tmp_path / "record.json"
        question.main([*arguments, "--output", str(output)])
        found: dict[str, Any] = json.loads(output.read_text())
        return found

    return answer


def test_few_rows_are_merged_without_centroids(ask: Ask) -> None:
    found = ask(fold, *FOLD)
    assert {"fold s", "merge without centroids s"} <= found["samples"].keys()
    assert not any("makes centroids" in name for name in found["samples"])


def test_many_rows_get_centroids_which_the_next_merge_keeps(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "exact_rows_max", lambda *_: 1_000)
    found = ask(fold, *FOLD)
    for kind in ("makes", "keeps"):
        assert f"merge that {kind} centroids s" in found["samples"]
        assert f"merge that {kind} centroids, peak private memory MB" in found["samples"]
    # What was merged, and the log that was folded since.
    assert found["figures"]["segments of the merge that keeps centroids"] == 2


def test_all_that_was_acknowledged_is_in_the_log_that_a_restart_replays(ask: Ask) -> None:
    found = ask(recovery, "--logs", "1200", "--rounds", "1", "--rows", "1500")
    assert found["figures"]["log of 1,200 vectors: vectors written"] == 1_200
    # 1,200 x 384 float32.
    assert found["figures"]["log of 1,200 vectors: log files MB"] > 1.8
    assert found["samples"]["log of 1,200 vectors: of which the worker replays ms"][0] > 0


def test_what_an_awake_worker_owns_is_less_than_all_its_memory_that_is_no_files(ask: Ask) -> None:
    found = ask(cold_start, "--wakes", "2", "--dropped", "0", "--rows", "500")["figures"]
    name = "500 rows, memory of an awake worker"
    assert 1 < found[f"{name}, its own MB"] <= found[f"{name}, no file's MB"]
