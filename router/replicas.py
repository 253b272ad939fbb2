"""The workers of one index: one on demand and its helpers, or as many replicas as are dedicated to it.

Each has a supervisor of its own, so that a worker's death, and a request that causes it, are dealt with
where they happen. Here is decided who is asked, and who stays when there are to be fewer.

A helper is a worker beside the one on demand, made when all there are have long had more to do than they
can, and if nobody else needs the room. It is asked for what the first has too much of, and falls asleep,
for good, soon after that has ended.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from router.errors import ReadsPaused, Recovering, RouterError
from router.lifecycle import Phase
from router.limits import HELPER_IDLE_SECONDS, HELPER_LEAD
from router.requests import Answer
from router.supervisor import Supervisor
from router.tasks import StartTask
from storage.errors import StorageError
from torpor.internal.v1 import frames_pb2 as frames

# Whom to ask first, and as what an index with several is seen. Who failed is asked if all have.
_BEST = [Phase.AWAKE, Phase.WAKING, Phase.DRAINING, Phase.ASLEEP, Phase.FAILED]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the replicas are what they are to be; `trouble` says why not, if it is not just time."""

    wanted: int
    awake: int
    leaving: int
    trouble: str

    @property
    def settled(self) -> bool:
        """There are as many as wanted, and no others."""
        return self.awake == self.wanted and not self.leaving


class Replicas:
    """The supervisors of one index."""

    def __init__(
        self,
        name: str,
        make: Callable[[float, bool], Supervisor],
        start_task: StartTask,
        workers_max: int,
    ) -> None:
        """`make` gives a new supervisor with an idle time, for a helper or not.

        None exists before `configure`. An index on demand has up to `workers_max` workers.
        """
        self._name = name
        self._make = make
        self._start_task = start_task
        self._workers_max = workers_max
        self._idle_seconds = 0.0
        self._active: list[Supervisor] = []
        self._leaving: set[Supervisor] = set()
        self._helpers: list[Supervisor] = []
        # 0 as well when one has failed: then the index goes on with its first worker alone.
        self._helpers_max = 0
        self._strained: set[Supervisor] = set()

    def configure(self, dedicated: int | None, idle_seconds: float) -> None:
        """Makes them as many as are dedicated to the index; None is one on demand.

        Whoever is awake stays, if there is work for it; requests notice nothing.
        """
        count = 1 if dedicated is None else dedicated
        self._idle_seconds = idle_seconds
        self._helpers_max = self._workers_max - 1 if dedicated is None else 0
        self._active.sort(key=_preference)
        for replica in self._active[count:]:
            self._leaving.add(replica)
            self._start_task(self._retire(replica))
        del self._active[count:]
        while len(self._active) < count:
            self._active.append(self._make(idle_seconds, False))
        for replica in self._active:
            replica.configure(idle_seconds)
            if dedicated is not None:
                replica.pin()
            elif replica.pinned:
                replica.unpin()

    async def ask(
        self,
        kind: frames.WorkKind.ValueType,
        body: bytes,
        deadline_ns: int,
        least_lsn: int | None = None,
    ) -> Answer:
        """A worker's answer, as Supervisor.ask gives it; raises ReadsPaused if there is to be none.

        What one replica cannot answer because its workers keep crashing is asked of another.
        """
        suspect = False
        while True:
            replica = self._choose()
            try:
                answer = await replica.ask(kind, body, deadline_ns, least_lsn, suspect=suspect)
            except Recovering as error:
                askable = [*self._active, *self._helpers_awake()]
                if all(one.phase is Phase.FAILED for one in askable):
                    raise
                # It may be what they crash of: the next one is not to lose others with it.
                suspect = suspect or error.was_in_flight
            else:
                if answer.strained:
                    self._relieve(replica)
                return answer

    async def wake(self, deadline_ns: int) -> None:
        """Returns when every worker that is to be awake has answered."""
        self._check_reads()
        pings = [one.ask(frames.WORK_KIND_PING, b"", deadline_ns) for one in self._active]
        await asyncio.gather(*pings)

    async def sleep(self) -> None:
        """Lets the workers go once they have answered; returns when they have exited."""
        await asyncio.gather(*(one.sleep() for one in self._all()))
        # One may have been made for what was answered just before.
        await asyncio.gather(*(one.sleep() for one in self._helpers))

    async def end(self, failure: Exception) -> None:
        """Fails every request with `failure` and ends every worker; for good."""
        # What was answered just now gets no helper any more.
        self._helpers_max = 0
        await asyncio.gather(*(one.end(failure) for one in self._all()))

    def read_on(self) -> None:
        """Has replicas that nobody may be asking take the current manifest: older ones cost disk."""
        for replica in self._active:
            if replica.pinned:
                replica.read_on()

    @property
    def phase(self) -> Phase:
        """Where the index stands in its life."""
        phases = (one.phase for one in [*self._active, *self._helpers])
        return min(phases, key=_BEST.index, default=Phase.ASLEEP)

    @property
    def standing(self) -> Standing:
        """How far the replicas are what they are to be."""
        return Standing(
            wanted=len(self._active),
            awake=sum(one.phase is Phase.AWAKE for one in self._active),
            leaving=len(self._leaving) + len(self._helpers),
            trouble=next((one.trouble for one in self._active if one.trouble), ""),
        )

    @property
    def paused(self) -> bool:
        """No worker is wanted, though there may be requests."""
        return not self._active

    @property
    def quiet(self) -> bool:
        """No worker exists and none is wanted."""
        return not (self._leaving or self._helpers) and all(
            one.phase is Phase.ASLEEP and not one.workers and not one.pinned for one in self._active
        )

    @property
    def awake_seconds(self) -> float:
        """Wall seconds of the workers alive now."""
        return sum(one.awake_seconds for one in self._all())

    @property
    def oldest_manifest(self) -> int | None:
        """The oldest manifest that a worker may still read from."""
        named = (one.oldest_manifest for one in self._all())
        return min((version for version in named if version is not None), default=None)

    def _all(self) -> list[Supervisor]:
        return [*self._active, *self._helpers, *self._leaving]

    def _choose(self) -> Supervisor:
        """Who is awake and has least to do; the one chosen goes behind its equals."""
        self._check_reads()
        if len(self._active) == 1:
            return self._first_or_helper()
        chosen = min(self._active, key=_preference)
        self._active.remove(chosen)
        self._active.append(chosen)
        return chosen

    def _first_or_helper(self) -> Supervisor:
        (first,) = self._active
        helper = min(self._helpers_awake(), key=lambda one: one.load, default=first)
        if first.phase is Phase.FAILED or first.load >= helper.load + HELPER_LEAD:
            return helper
        return first

    def _helpers_awake(self) -> list[Supervisor]:
        """The helpers that may be asked: of an index that is dedicated now there are none."""
        if not self._helpers_max:
            return []
        return [one for one in self._helpers if one.phase is Phase.AWAKE]

    def _relieve(self, strained: Supervisor) -> None:
        """Adds a helper if all workers are strained, each since the last was added."""
        if len(self._helpers) >= self._helpers_max:
            return
        self._strained.add(strained)
        if self._strained.issuperset([*self._active, *self._helpers]) and strained.room_beside:
            self._strained.clear()
            helper = self._make(min(self._idle_seconds, HELPER_IDLE_SECONDS), True)
            self._helpers.append(helper)
            self._start_task(self._keep(helper))

    async def _keep(self, helper: Supervisor) -> None:
        """Wakes a helper, and retires it when its worker is to leave."""
        try:
            # Nobody's request waits for it to wake, or fails if it cannot.
            await helper.ask(frames.WORK_KIND_PING, b"", 0)
            await helper.departs()
            failed = helper.phase is Phase.FAILED
        except (StorageError, RouterError):
            failed = True
        if failed:
            self._helpers_max = 0
        self._strained.discard(helper)
        self._helpers.remove(helper)
        self._leaving.add(helper)
        await self._retire(helper)

    def _check_reads(self) -> None:
        if self.paused:
            raise ReadsPaused(
                f"Index {self._name!r} has 0 dedicated replicas, so that it can be written and not "
                "read; give it replicas, or read capacity on demand, with ConfigureIndex."
            )

    async def _retire(self, replica: Supervisor) -> None:
        await replica.retire()
        self._leaving.discard(replica)


def _preference(replica: Supervisor) -> tuple[int, int]:
    return _BEST.index(replica.phase), replica.load
