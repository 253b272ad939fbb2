"""Requests to a server, counted: at moments of their own, or as soon as one before is answered.

Open loop: every request has a moment at which it is due, whatever became of those before, and its
latency counts from then. A server that stalls is charged for all whom it kept waiting. How late the
client itself was is reported beside it: where that is not small, the client is what was measured.

Closed loop: so many requests are in flight, always.

No numpy in here: client processes start quickly.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

# The request of a number: a method and an encoded message.
RequestOf = Callable[[int], "tuple[grpc.UnaryUnaryMultiCallable[bytes, bytes], bytes]"]

TIMEOUT_SECONDS = 60.0
# Below this, sleeping is not exact enough: the rest is waited for awake.
_SPIN_SECONDS = 0.0002


@dataclass
class Traffic:
    """What came of it. Lists go together but for `lateness_ms`, which has failed requests too."""

    numbers: list[int] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)
    scan_ms: list[float] = field(default_factory=list)
    batch: list[int] = field(default_factory=list)
    woken: list[bool] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    lateness_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def add(self, number: int, began: float, answer: bytes, metadata: Any) -> None:
        """Counts an answer that is there now."""
        now = time.perf_counter()
        said = dict(metadata)
        self.numbers.append(number)
        self.latency_ms.append((now - began) * 1e3)
        self.answered_at.append(now)
        self.scan_ms.append(float(said.get("torpor-scan-ms", 0.0)))
        self.batch.append(int(said.get("torpor-batch", 1)))
        self.woken.append("torpor-wake-ms" in said)
        self.answers.append(answer)


def raw(channel: grpc.Channel, method: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
    """A data method that takes and gives encoded messages: no time goes into encoding."""
    path = f"/torpor.v1.DataService/{method}"
    return channel.unary_unary(path, lambda body: body, lambda body: body)


def open_loop(
    request_of: RequestOf,
    moments: Sequence[float],
    metadata: Sequence[tuple[str, str]] = (),
    progress: Callable[[], object] = lambda: None,
) -> Traffic:
    """Sends request `number` at its moment; seconds count from the call of this function."""
    gathered = _Gathered(metadata)
    base = time.perf_counter()
    for number, moment in enumerate(moments):
        due = base + moment
        _wait_until(due)
        gathered.found.lateness_ms.append((time.perf_counter() - due) * 1e3)
        gathered.send(number, *request_of(number), due)
        progress()
    return gathered.end(base)


def closed_loop(
    request_of: RequestOf,
    in_flight: int,
    seconds: float,
    metadata: Sequence[tuple[str, str]] = (),
    progress: Callable[[], object] = lambda: None,
) -> Traffic:
    """Keeps `in_flight` requests with the server for some seconds, and waits for the last ones."""
    free = threading.Semaphore(in_flight)
    gathered = _Gathered(metadata, free.release)
    base = time.perf_counter()
    number = 0
    while time.perf_counter() < base + seconds:
        free.acquire()
        gathered.send(number, *request_of(number), time.perf_counter())
        number += 1
        progress()
    return gathered.end(base)


class _Gathered:
    """Requests in flight, and what came of those that were."""

    def __init__(
        self,
        metadata: Sequence[tuple[str, str]],
        answered: Callable[[], object] = lambda: None,
    ) -> None:
        self.found = Traffic()
        self._metadata = tuple(metadata)
        self._answered = answered
        self._cpu = time.process_time()
        self._lock = threading.Condition()
        self._flying = 0

    def send(
        self,
        number: int,
        call: "grpc.UnaryUnaryMultiCallable[bytes, bytes]",
        body: bytes,
        began: float,
    ) -> None:
        """Sends one; its latency counts from `began`."""
        with self._lock:
            self._flying += 1
        future = call.future(body, timeout=TIMEOUT_SECONDS, metadata=self._metadata)
        future.add_done_callback(lambda done: self._done(number, began, done))

    def _done(self, number: int, began: float, future: Any) -> None:
        # Runs in a thread of grpc's, one at a time for each channel.
        try:
            self.found.add(number, began, future.result(), future.initial_metadata())
        except grpc.RpcError as error:
            self.found.failures[f"{error.code().name}: {error.details()}"] += 1
        finally:
            with self._lock:
                self._flying -= 1
                self._lock.notify()
            self._answered()

    def end(self, base: float) -> Traffic:
        """Waits for what is in flight."""
        with self._lock:
            self._lock.wait_for(lambda: not self._flying)
        self.found.seconds = time.perf_counter() - base
        self.found.cpu_seconds = time.process_time() - self._cpu
        return self.found


def _wait_until(due: float) -> None:
    left = due - time.perf_counter()
    if left > _SPIN_SECONDS:
        time.sleep(left - _SPIN_SECONDS)
    while time.perf_counter() < due:
        pass
