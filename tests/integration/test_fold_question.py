"""`python -m bench fold`: what it calls a merge with centroids is one."""

import json
from pathlib import Path

import pytest

from bench import fold

FEW = ["--rounds", "1", "--quiet", "0.2", "--log", "200", "--rows", "2000"]


def measured(output: Path) -> dict[str, dict[str, object]]:
    fold.main([*FEW, "--output", str(output)])
    found: dict[str, dict[str, object]] = json.loads(output.read_text())
    return found


def test_few_rows_are_merged_without_centroids(tmp_path: Path) -> None:
    found = measured(tmp_path / "record.json")
    assert {"fold s", "merge without centroids s"} <= found["samples"].keys()
    assert not any("makes centroids" in name for name in found["samples"])


def test_many_rows_get_centroids_which_the_next_merge_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "exact_rows_max", lambda setting, dimension: 1_000)
    found = measured(tmp_path / "record.json")
    for kind in ("makes", "keeps"):
        assert f"merge that {kind} centroids s" in found["samples"]
        assert f"merge that {kind} centroids, peak private memory MB" in found["samples"]
    # What was merged, and the log that was folded since.
    assert found["figures"]["segments of the merge that keeps centroids"] == 2
