"""One wake of an index, phase by phase."""

import time
from dataclasses import dataclass, field

from torpor.internal.v1 import frames_pb2 as frames


@dataclass(frozen=True, slots=True)
class Wake:
    """The phases of one wake, in milliseconds."""

    unix_seconds: float
    queue_ms: float
    fork_ms: float
    open_ms: float
    replay_ms: float
    first_scan_ms: float
    total_ms: float

    def __str__(self) -> str:
        """As fields of a log line."""
        return (
            f"total_ms={self.total_ms:.2f} queue_ms={self.queue_ms:.2f} fork_ms={self.fork_ms:.2f} "
            f"open_ms={self.open_ms:.2f} replay_ms={self.replay_ms:.2f} "
            f"first_scan_ms={self.first_scan_ms:.2f}"
        )


@dataclass(slots=True)
class WakeClock:
    """Runs from the first request until the first answer; times are CLOCK_MONOTONIC nanoseconds."""

    began_ns: int = field(default_factory=time.monotonic_ns)
    unix_seconds: float = field(default_factory=time.time)
    forked_ns: int = 0
    ready: frames.Ready = field(default_factory=frames.Ready)

    def stop(self, scan_ms: float) -> Wake:
        """The wake that ends now, with an answer whose batch was scanned in `scan_ms`."""
        return Wake(
            unix_seconds=self.unix_seconds,
            queue_ms=(self.forked_ns - self.began_ns) / 1e6,
            fork_ms=max(0.0, (self.ready.started_ns - self.forked_ns) / 1e6),
            open_ms=self.ready.open_ms,
            replay_ms=self.ready.replay_ms,
            first_scan_ms=scan_ms,
            total_ms=(time.monotonic_ns() - self.began_ns) / 1e6,
        )
