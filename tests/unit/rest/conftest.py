"""Handlers for each test that asks for them."""

import pytest

from tests.unit.rest.fake import Fake


@pytest.fixture
def fake() -> Fake:
    return Fake()
