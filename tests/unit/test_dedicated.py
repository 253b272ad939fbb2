"""Indexes with dedicated replicas are opened in the background: a few at a time, until it succeeds."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from router.dedicated import DedicatedOpener
from router.index import Index
from router.limits import DEDICATED_OPENING_MAX
from router.tasks import Tasks
from storage.errors import DataLoss
from storage.index_row import Costs, Dedicated
from tests.unit.catalogs import row_of


def index_of(number: int) -> Index:
    return Index(row_of(number, dedicated=Dedicated(1)), Costs())


class Opening:
    """What an opener is given to open indexes with: it stalls, and fails, when told to."""

    def __init__(self) -> None:
        self.now: set[Index] = set()
        self.most = 0
        self.opened: list[Index] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.damage = ""
        self.attempts = 0
        self.crashes: list[BaseException] = []
        self.opener = DedicatedOpener(self._open, Tasks(self.crashes.append).start)

    async def _open(self, index: Index) -> None:
        self.attempts += 1
        self.now.add(index)
        self.most = max(self.most, len(self.now))
        try:
            await self.go_on.wait()
        finally:
            self.now.discard(index)
        if self.damage:
            raise DataLoss(self.damage)
        self.opened.append(index)


@pytest.fixture
async def opening(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Opening]:
    monkeypatch.setattr("router.dedicated.FAILED_PAUSE_SECONDS", 0.05)
    made = Opening()
    yield made
    await made.opener.stop()
    assert made.crashes == []


async def until_opened(opening: Opening, count: int) -> None:
    async with asyncio.timeout(10):
        while len(opening.opened) < count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def test_a_few_are_opened_at_a_time(opening: Opening) -> None:
    indexes = [index_of(number) for number in range(50)]
    opening.go_on.clear()
    for index in indexes:
        opening.opener.open(index)
    await asyncio.sleep(0.02)
    assert len(opening.now) == DEDICATED_OPENING_MAX
    opening.go_on.set()
    await until_opened(opening, len(indexes))
    assert set(opening.opened) == set(indexes) and opening.most == DEDICATED_OPENING_MAX


async def test_what_cannot_be_opened_says_why_and_is_tried_again(opening: Opening) -> None:
    broken, index = index_of(1), index_of(2)
    opening.damage = "The straw is wet."
    opening.opener.open(broken)
    await asyncio.sleep(0.02)
    assert broken.trouble == "The straw is wet."
    opening.damage = ""
    opening.opener.open(index)
    await until_opened(opening, 2)
    # Who waits for another try keeps nobody else waiting.
    assert opening.opened == [index, broken] and broken.trouble == ""


async def test_one_that_is_being_opened_is_not_opened_twice(opening: Opening) -> None:
    index = index_of(1)
    opening.go_on.clear()
    opening.opener.open(index)
    opening.opener.open(index)
    opening.go_on.set()
    await until_opened(opening, 1)
    assert opening.attempts == 1


async def test_one_that_has_no_replicas_any_more_is_given_up(opening: Opening) -> None:
    index = index_of(1)
    opening.damage = "The straw is wet."
    opening.opener.open(index)
    await asyncio.sleep(0.02)
    index.row = replace(index.row, dedicated=None)
    attempts = opening.attempts
    await asyncio.sleep(0.1)
    assert opening.attempts == attempts


async def test_a_deleted_index_is_forgotten(opening: Opening) -> None:
    opening.damage = "The straw is wet."
    index = index_of(1)
    opening.opener.open(index)
    await asyncio.sleep(0.02)
    opening.opener.forget(index)
    attempts = opening.attempts
    await asyncio.sleep(0.1)
    assert opening.attempts == attempts


async def test_after_the_end_nothing_is_opened(opening: Opening) -> None:
    opening.go_on.clear()
    opening.opener.open(index_of(1))
    await asyncio.sleep(0.01)
    await opening.opener.stop()
    opening.opener.open(index_of(2))
    await asyncio.sleep(0.01)
    assert opening.attempts == 1 and not opening.now
