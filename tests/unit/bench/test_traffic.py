"""Requests in open and closed loops, against servers that are made up."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from bench.processes import anonymous_bytes, cpu_seconds, own_bytes, system_seconds
from bench.throughput import step_figures
from bench.traffic import Traffic, closed_loop, open_loop


class Answer:
    """A call's future that is resolved when it is told to."""

    def __init__(self, failure: grpc.RpcError | None = None) -> None:
        self.failure = failure
        self._then: Callable[[Any], None] | None = None
        self._lock = threading.Lock()
        self._there = False

    def add_done_callback(self, then: Callable[[Any], None]) -> None:
        with self._lock:
            self._then = then
            there = self._there
        if there:
            then(self)

    def arrive(self) -> None:
        with self._lock:
            self._there = True
            then = self._then
        if then is not None:
            then(self)

    def result(self) -> bytes:
        if self.failure is not None:
            raise self.failure
        return b"answer"

    def initial_metadata(self) -> list[tuple[str, str]]:
        return [("torpor-batch", "3"), ("torpor-scan-ms", "1.5"), ("torpor-wake-ms", "9.0")]


class Refused(grpc.RpcError):
    """As grpc says it."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self) -> str:
        return "too many"


class Server:
    """Answers when it is told to; counts how many wait."""

    def __init__(self, failure: grpc.RpcError | None = None, *, at_once: bool = False) -> None:
        self.waiting: list[Answer] = []
        self.most = 0
        self._failure = failure
        self._at_once = at_once

    def future(self, body: bytes, **_: object) -> Answer:
        answer = Answer(self._failure)
        self.waiting.append(answer)
        self.most = max(self.most, len(self.waiting))
        if self._at_once:
            self.answer_all()
        return answer

    def answer_all(self) -> None:
        while self.waiting:
            self.waiting.pop(0).arrive()


def test_a_stall_is_charged_to_everybody_who_was_due_during_it() -> None:
    server = Server()
    moments = [0.0, 0.03, 0.06]
    timer = threading.Timer(0.09, server.answer_all)
    timer.start()
    found = open_loop(lambda number: (server, b"%d" % number), moments)  # type: ignore[return-value]
    timer.join()
    by_number = [
        latency for _, latency in sorted(zip(found.numbers, found.latency_ms, strict=True))
    ]
    assert by_number == sorted(by_number, reverse=True) and by_number[-1] > 0
    assert server.most == 3 and len(found.lateness_ms) == 3


def test_what_an_answer_says_of_itself_is_kept_with_it() -> None:
    server = Server(at_once=True)
    found = open_loop(lambda _: (server, b""), [0.0])  # type: ignore[return-value]
    assert (found.batch, found.scan_ms, found.woken) == ([3], [1.5], [True])
    assert found.answers == [b"answer"] and not found.failures


def test_a_failed_request_is_counted_by_its_reason_and_has_no_latency() -> None:
    server = Server(Refused(), at_once=True)
    found = open_loop(lambda _: (server, b""), [0.0, 0.001])  # type: ignore[return-value]
    assert found.failures == {"RESOURCE_EXHAUSTED: too many": 2}
    assert found.latency_ms == [] and len(found.lateness_ms) == 2


def test_a_closed_loop_keeps_as_many_in_flight_as_it_is_told_and_waits_for_the_last() -> None:
    server = Server()
    ended = threading.Event()

    def answer() -> None:
        while not ended.wait(0.001):
            server.answer_all()

    thread = threading.Thread(target=answer)
    thread.start()
    found = closed_loop(lambda _: (server, b""), 4, 0.1)  # type: ignore[return-value]
    ended.set()
    thread.join()
    assert server.most == 4 and not server.waiting
    assert len(found.latency_ms) >= 4


def test_what_is_said_of_a_step_is_about_all_clients_together() -> None:
    clients = [
        Traffic(latency_ms=[4.0] * 30, scan_ms=[6.0] * 30, batch=[3] * 30, seconds=2.0),
        Traffic(latency_ms=[4.0] * 10, scan_ms=[6.0] * 10, batch=[3] * 10, seconds=1.0),
    ]
    clients[0].cpu_seconds = 0.5
    found = step_figures(clients, {"router": 0.4, "router, in the system": 0.1})
    assert found["queries/s"] == 20
    # 40 queries of batches of three that took 6 ms each.
    assert found["time the worker scans %"] == pytest.approx(4.0)
    assert found["CPU of router a query us"] == pytest.approx(10_000)
    assert found["CPU of router, in the system a query us"] == pytest.approx(2_500)
    assert found["CPU of clients a query us"] == pytest.approx(12_500)


def test_what_a_process_spends_in_the_system_is_part_of_what_it_spends() -> None:
    # A process of its own: this one may have written to files that it maps.
    waits = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert 0 <= system_seconds(child.pid) <= cpu_seconds(child.pid)
        assert 0 < own_bytes(child.pid) <= anonymous_bytes(child.pid)
        child.kill()
