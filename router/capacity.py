"""Which indexes may have a worker: the limits on awake workers, on their memory and on graphics cards.

When there is no room, the longest-idle index is put to sleep for the one that asks; when none is
idle, it waits its turn. Dedicated replicas are promised their room before they ask for it.
"""

from collections.abc import Hashable
from typing import Protocol

from router.errors import Overloaded


class Sleeper(Protocol):
    """What the limits need to know of an index, and ask of it."""

    @property
    def pinned(self) -> bool:
        """It keeps its worker: it is a dedicated replica."""

    @property
    def idle_since(self) -> float | None:
        """When it last answered, if it may let its worker go and has nothing to do; else None.

        Who has the earliest is asked first.
        """

    @property
    def makes_room(self) -> bool:
        """It was asked to let its worker go, and will when what that has is answered."""

    def admitted(self) -> None:
        """It may start a worker now."""

    def make_room(self) -> None:
        """It is asked to let its worker go. Answered by `Capacity.release`."""


class Capacity:
    """Grants permissions to have a worker, in the order of asking."""

    def __init__(
        self, workers_awake_max: int, memory_bytes_max: int, gpu_workers_max: int = 0
    ) -> None:
        self._workers_awake_max = workers_awake_max
        self._gpu_workers_max = gpu_workers_max
        self._on_gpu: set[Hashable] = set()
        self._memory_bytes_max = memory_bytes_max
        self._waiting: dict[Sleeper, None] = {}
        self._admitted: dict[Sleeper, int] = {}
        self._promised: dict[str, int] = {}

    def promise(self, index: str, replicas: int) -> None:
        """Keeps room for the dedicated replicas of an index; raises Overloaded if there is not enough.

        One worker is never promised, so that indexes on demand can be woken. Fewer are always granted.
        """
        others = sum(self._promised.values()) - self._promised.get(index, 0)
        left = max(0, self._workers_awake_max - 1 - others)
        if replicas > max(left, self._promised.get(index, 0)):
            raise Overloaded(
                f"Index {index!r} asks for {replicas} dedicated replicas, and there is room for {left}: "
                f"of the {self._workers_awake_max} workers that may be awake (workers_awake_max), "
                f"{others} are dedicated to other indexes, and one is kept for indexes on demand."
            )
        self.keep(index, replicas)

    def keep(self, index: str, replicas: int) -> None:
        """Keeps a promise that was made before, by a server that may have had more room."""
        self._promised.pop(index, None)
        if replicas:
            self._promised[index] = replicas

    @property
    def contended(self) -> bool:
        """Someone waits for room."""
        return bool(self._waiting)

    def ask(self, sleeper: Sleeper) -> None:
        """Calls `sleeper.admitted()` as soon as there is room, perhaps at once."""
        self._waiting[sleeper] = None
        self.settle()

    def has_room_beside(self, sleeper: Sleeper) -> bool:
        """Another like that one would get room at once, without anybody being put to sleep for it."""
        if self._waiting or len(self._admitted) >= self._workers_awake_max:
            return False
        used = sum(self._admitted.values()) + self._admitted.get(sleeper, 0)
        return used < self._memory_bytes_max

    def release(self, sleeper: Sleeper) -> None:
        """The permission, or the wish for one, is no longer needed."""
        self._waiting.pop(sleeper, None)
        if self._admitted.pop(sleeper, None) is not None:
            self.settle()

    def report(self, sleeper: Sleeper, anonymous_bytes: int) -> None:
        """Notes how much private memory a worker has; over the limit, someone idle must sleep."""
        if sleeper in self._admitted:
            self._admitted[sleeper] = anonymous_bytes
            if self._over_memory() and len(self._admitted) > 1:
                self._put_one_to_sleep()

    def take_gpu(self, worker: Hashable) -> bool:
        """Whether a worker that starts now may use a graphics card; it keeps the right until its exit.

        Nobody waits for one: a worker without answers as well, on the processor.
        """
        if len(self._on_gpu) >= self._gpu_workers_max:
            return False
        self._on_gpu.add(worker)
        return True

    def give_gpu_back(self, worker: Hashable) -> None:
        """A worker has exited, whether it had the right or not."""
        self._on_gpu.discard(worker)

    def settle(self) -> None:
        """Admits who waits, as far as there is room or room can be made."""
        while (sleeper := self._next()) is not None:
            if not self._has_room():
                self._put_one_to_sleep()
                if not self._has_room():
                    return
                # Making room may have admitted someone already.
                continue
            del self._waiting[sleeper]
            self._admitted[sleeper] = 0
            sleeper.admitted()

    def _next(self) -> Sleeper | None:
        """Who waits longest; one worker is never a replica, also if fewer are allowed than before."""
        pinned = sum(sleeper.pinned for sleeper in self._admitted)
        full = pinned >= self._workers_awake_max - 1
        return next((one for one in self._waiting if not (full and one.pinned)), None)

    def _has_room(self) -> bool:
        if len(self._admitted) >= self._workers_awake_max:
            return False
        # Where only replicas have a worker, nobody could make room by sleeping.
        return not self._over_memory() or all(one.pinned for one in self._admitted)

    def _over_memory(self) -> bool:
        return sum(self._admitted.values()) >= self._memory_bytes_max

    def _put_one_to_sleep(self) -> None:
        if any(sleeper.makes_room for sleeper in self._admitted):
            return
        idle = [(since, s) for s in self._admitted if (since := s.idle_since) is not None]
        if idle:
            min(idle, key=lambda pair: pair[0])[1].make_room()
