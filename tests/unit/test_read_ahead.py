"""Reading ahead: a page that was dropped is found to be missing, and comes back untouched."""

import os
import time
from pathlib import Path

import pytest

from storage.files import Files
from storage.read_ahead import is_cached, read_ahead, read_singly

PAGES = 256
_PATIENCE_SECONDS = 5.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "file"
    Files().write_new(written, [os.urandom(PAGES * 4_096)])
    return written


def test_what_is_read_ahead_comes_into_memory(path: Path) -> None:
    view = Files().map(path)
    Files().forget(path)
    offset = 200 * 4_096 + 5
    if is_cached(view, offset):
        pytest.skip("this file system keeps what it is told to forget")
    read_ahead(view, offset, 4_096)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_cached(view, offset) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_cached(view, offset) and is_cached(view, offset + 4_095)


def test_what_is_read_singly_comes_without_what_lies_around_it(path: Path) -> None:
    view = Files().map(path)
    Files().forget(path)
    if is_cached(view, 0):
        pytest.skip("this file system keeps what it is told to forget")
    read_singly(view, 100 * 4_096 + 5, 100 * 4_096)
    assert view[150 * 4_096] >= 0
    cached = [is_cached(view, page * 4_096) for page in range(101, 200)]
    assert cached.index(True) == 49 and sum(cached) == 1


def test_what_is_no_mapped_file_is_in_memory() -> None:
    view = memoryview(bytes(8_192))
    assert is_cached(view, 4_096)
    read_ahead(view, 0, 8_192)
    read_singly(view, 0, 8_192)
