"""Where there is a card, it is open before the first test, and as long as the process runs."""

import pytest

from tests.conformance.brute_force import BACKENDS, CARD_IS_HERE


@pytest.fixture(scope="session", autouse=True)
def card() -> None:
    """Opens it once; every backend of a test opens it again, which leaves nothing more behind."""
    if CARD_IS_HERE:
        BACKENDS["a GPU"]()
