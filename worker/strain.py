"""Whether a worker has long had more to do than it can, so that another worker would help.

What keeps a worker to one core are its many short steps under Python's lock. Scans of whole namespaces
leave it, and use threads for as many cores as there are.
"""

from typing import NamedTuple

# How long it must last, and how much of that it must be busy: nobody is helped with a batch or two.
_SECONDS = 0.25
_BUSY_MIN = 0.75
# CPU seconds of a busy second. Less, and it waits for the disk, or for a core that others use.
_CPU_MIN = 0.9
# CPU seconds of all threads for one of the thread that answers: up to so many, another worker helps
# where so many requests wait for a batch, in the mean. Fewer are answered quicker together. Near queries
# use 1.0; exact ones of 60,000 rows 1.4, which leaves part of a second core; of a million 1.9.
_HELPED = ((1.05, 2.5), (1.6, 12))


class Used(NamedTuple):
    """Seconds until now: of a clock, and of CPU of all threads and of the one that answers."""

    clock: float
    cpu: float
    own_cpu: float


class Strain:
    """Looks at a worker's batches, stretch by stretch of time."""

    def __init__(self, now: Used) -> None:
        self._begin(now)

    def answered(self, waited: int, seconds: float, now: Used) -> bool:
        """Takes note of a batch; whether with it a stretch ends in which the worker was strained.

        waited: requests that were there when it was made, those included that it left for the next
        seconds: how long it took
        """
        self._batches += 1
        self._waited += waited
        self._busy += seconds
        clock, cpu, own_cpu = (new - old for new, old in zip(now, self._began, strict=True))
        if clock < _SECONDS:
            return False
        strained = (
            self._busy >= _BUSY_MIN * clock
            and cpu >= _CPU_MIN * self._busy
            and any(
                cpu <= threads_max * own_cpu and self._waited >= waited_min * self._batches
                for threads_max, waited_min in _HELPED
            )
        )
        self._begin(now)
        return strained

    def _begin(self, now: Used) -> None:
        self._began = now
        self._busy = 0.0
        self._batches = 0
        self._waited = 0
