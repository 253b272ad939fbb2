"""A served index whose answers come from a graphics card, where there is one."""

from pathlib import Path

import numpy as np
import pytest

from storage.limits import GPU_VALUES_MIN
from tests.conformance.brute_force import CARD_IS_HERE
from tests.integration.client import fold, wait_until
from tests.integration.conftest import Start

_DIMENSION = 16_384
# So many that they are folded more often than there may be segments, and merged into one.
_ROWS = 1_400
_BATCH = 50


@pytest.mark.skipif(not CARD_IS_HERE, reason="there is no card here, or no CuPy")
def test_an_index_is_answered_while_the_card_starts_and_by_the_card_from_then_on(
    start: Start, tmp_path: Path
) -> None:
    vectors = np.random.default_rng(1).standard_normal((_ROWS, _DIMENSION)).astype(np.float32)
    assert vectors.size > GPU_VALUES_MIN
    client = start("--idle-seconds", "600")
    client.create("large", dimension=_DIMENSION)
    for first in range(0, _ROWS, _BATCH):
        client.upsert("large", vectors[first : first + _BATCH], first)
    fold(client, "large")

    def is_found(row: int) -> bool:
        """Asks with two thirds of one row and a third of the next."""
        other = (row + 1) % _ROWS
        found = client.query("large", 2 * vectors[row] + vectors[other], k=2)
        return found == [f"{row:06d}", f"{other:06d}"]

    def said(word: str) -> bool:
        return word in (tmp_path / "log-0").read_text()

    # The first one is worth a card, and does not wait for it.
    assert is_found(0) and not said("gpu_loaded")
    wait_until(lambda: not is_found(1) or said("gpu_loaded"), seconds=50)
    assert said("gpu_ready") and said("whole=True")
    assert all(is_found(row) for row in range(0, _ROWS, 50))
    assert not said("gpu_lost") and not said("gpu_memory_full")
