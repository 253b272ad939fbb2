"""The lock on the data folder lasts as long as the last process that inherited it."""

import subprocess
import threading
import time
from pathlib import Path

import pytest

from storage.errors import DataFolderInUse
from storage.lock import DataFolderLock


def test_a_data_folder_in_use_is_refused_by_name(tmp_path: Path) -> None:
    with (
        DataFolderLock.acquire(tmp_path, 0),
        pytest.raises(DataFolderInUse, match=f"{tmp_path} is in use"),
    ):
        DataFolderLock.acquire(tmp_path, 0.1)


def test_a_lock_that_was_let_go_can_be_taken(tmp_path: Path) -> None:
    for _ in range(2):
        with DataFolderLock.acquire(tmp_path, 0):
            pass


def test_a_new_server_waits_for_the_one_before(tmp_path: Path) -> None:
    first = DataFolderLock.acquire(tmp_path, 0)

    def let_go() -> None:
        time.sleep(0.2)
        first.__exit__(None, None, None)

    thread = threading.Thread(target=let_go)
    thread.start()
    with DataFolderLock.acquire(tmp_path, 10):
        thread.join()


def test_a_process_that_inherited_the_lock_holds_it(tmp_path: Path) -> None:
    with DataFolderLock.acquire(tmp_path, 0) as lock:
        heir = subprocess.Popen(["sleep", "100"], pass_fds=[lock.descriptor])
    try:
        with pytest.raises(DataFolderInUse):
            DataFolderLock.acquire(tmp_path, 0)
    finally:
        heir.kill()
        heir.wait()
    with DataFolderLock.acquire(tmp_path, 5):
        pass
