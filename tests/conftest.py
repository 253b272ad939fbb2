"""What every test gets: a fixed budget for hypothesis, and a failure for whatever it leaves behind."""

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "torpor",
    max_examples=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("torpor")

_PATIENCE_SECONDS = 3.0


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fails a test that leaves a process, a thread or a descriptor."""
    before = _belongings()
    yield
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (left := _belongings() - before) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
    assert not left, f"the test left behind: {sorted(left)}"


def _belongings() -> set[str]:
    """Child processes, threads and descriptors of this process, by name."""
    own = Path("/proc/self/task") / str(os.getpid()) / "children"
    found = {f"process {pid}" for pid in own.read_text().split()}
    found |= {f"thread {t.name}" for t in threading.enumerate() if not _is_grpcs(t)}
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue
        # grpcio keeps its pollers and wake-up pipes for the life of the process.
        if not target.startswith(("anon_inode:", "/proc/", "pipe:")):
            found.add(f"descriptor {descriptor} -> {target}")
    return found


def _is_grpcs(thread: threading.Thread) -> bool:
    """Whether grpcio's Python layer started a thread; these end when their channel is collected."""
    return "channel_spin" in thread.name or thread.name.startswith("Dummy-")
