"""The machinery of one index, with workers of straw and real files: what may go, and when."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from router.capacity import Capacity
from router.changes import Changes
from router.errors import Unavailable
from router.index import Index, LiveIndex, Machinery, open_index
from router.tasks import Tasks
from storage.files import Files
from storage.index_row import Costs
from tests.unit.catalogs import HOSTS_MAX, catalog_in, row_of
from tests.unit.straw import StrawZygote


class Host:
    """Hears what a node would."""

    def slept(self) -> None: ...

    def quieted(self, index: Index) -> None: ...


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[LiveIndex]:
    with catalog_in(tmp_path) as catalog:
        row = catalog.create(row_of(1), HOSTS_MAX)
    loop = asyncio.get_running_loop()
    crashes: list[BaseException] = []
    with ThreadPoolExecutor(1) as threads:
        machinery = Machinery(
            data=tmp_path,
            files=Files(),
            zygote=StrawZygote(),
            capacity=Capacity(8, 1 << 40),
            builders=asyncio.Semaphore(1),
            threads=threads,
            changes=Changes(loop, threads),
            loop=loop,
            start_task=Tasks(crashes.append).start,
            idle_seconds=60.0,
            exact_rows_max=0,
            index_workers_max=1,
        )
        live = await open_index(Index(row, Costs()), machinery, Host())
        yield live
        await live.end(Unavailable(""))
    assert crashes == []


async def test_files_that_are_being_linked_stay_until_they_are(
    live: LiveIndex, tmp_path: Path
) -> None:
    with live.holding() as held:
        assert live.oldest_manifest() == held.manifest.version
        replaced = held.folder / "0000000001.segment"
        replaced.write_bytes(b"")
        # A fold replaces it meanwhile.
        live.upkeep._retired.append((held.manifest.version + 1, [replaced.name]))
        live.upkeep.sweep()
        await asyncio.sleep(0.05)
        assert replaced.exists()
    assert live.oldest_manifest() is None
    async with asyncio.timeout(5):
        while replaced.exists():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
