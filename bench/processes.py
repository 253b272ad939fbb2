"""What processes have used, from /proc: CPU, memory, and bytes written."""

import re
from pathlib import Path

# Ticks of /proc, in seconds.
_TICK = 0.01


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, without its children."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * _TICK


def system_seconds(pid: int) -> float:
    """What of that it spent in the system: of a process that computes nothing, in its sockets."""
    return int(_stat(pid)[12]) * _TICK


def reaped_cpu_seconds(pid: int) -> float:
    """User and system time of the children of a process that have exited."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) * _TICK


def memory_bytes(pid: int) -> int:
    """The resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def anonymous_bytes(pid: int) -> int:
    """The memory of a process that is no file's; 0 for one that has gone."""
    return _rolled_up(pid, "Anonymous")


def own_bytes(pid: int) -> int:
    """What of that it shares with no other process: it would be free if the process were not."""
    return _rolled_up(pid, "Private_Dirty")


def written_bytes(pid: int) -> int:
    """What a process has caused to be written to disks, with its children that have exited.

    Pages that were truncated away before they were written are taken off.
    """
    counted = dict(
        line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines() if line
    )
    return int(counted["write_bytes"]) - int(counted["cancelled_write_bytes"])


def _rolled_up(pid: int, name: str) -> int:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) << 10 if found else 0


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
