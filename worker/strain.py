"""Whether a worker has long had more to do than one core can, so that another worker would help.

What keeps a worker to one core are its many short steps under Python's lock; scans of whole namespaces
leave it, and use as many cores as there are.
"""

# How long it must last, and how much of that it must be busy: nobody is helped with a batch or two.
_SECONDS = 0.25
_BUSY_MIN = 0.75
# CPU seconds of a busy second. Less, and it waits for the disk, or for a core that others use.
_CPU_MIN = 0.9
# Up to so many, another worker helps where so many requests wait for a batch, in the mean: fewer are
# answered quicker together. Near queries use 1.0, and are helped early; exact ones of a small namespace
# use 1.2, as threads scan it, and leave less to others.
_HELPED = ((1.1, 2.5), (1.4, 12))


class Strain:
    """Looks at a worker's batches, stretch by stretch of time."""

    def __init__(self, now: float, cpu_seconds: float) -> None:
        """Both in seconds: of a clock that only grows, and of CPU that the process has used."""
        self._begin(now, cpu_seconds)

    def answered(self, requests: int, began: float, ended: float, cpu_seconds: float) -> bool:
        """Takes note of a batch; whether with it a stretch ends in which the worker was strained.

        So many requests waited when it was made, those included that were left for the next.
        """
        self._batches += 1
        self._requests += requests
        self._busy_seconds += ended - began
        seconds = ended - self._began
        if seconds < _SECONDS:
            return False
        used = (cpu_seconds - self._cpu_seconds) / self._busy_seconds
        strained = (
            self._busy_seconds >= _BUSY_MIN * seconds
            and used >= _CPU_MIN
            and any(
                used <= cpu_max and self._requests >= requests_min * self._batches
                for cpu_max, requests_min in _HELPED
            )
        )
        self._begin(ended, cpu_seconds)
        return strained

    def _begin(self, now: float, cpu_seconds: float) -> None:
        self._began = now
        self._cpu_seconds = cpu_seconds
        self._busy_seconds = 0.0
        self._batches = 0
        self._requests = 0
