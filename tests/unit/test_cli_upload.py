"""Batches in flight: what is reported as stored has no gap, and the later row of an id wins."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from torpor.cli.connection import Outcome
from torpor.cli.errors import CallFailed
from torpor.cli.rows import Row
from torpor.cli.upload import BATCH_BYTES_MAX, IN_FLIGHT_MAX, Upload, UploadFailed, digest_after
from torpor.v1 import data_pb2

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
REFUSED = grpc.StatusCode.INVALID_ARGUMENT


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        self.failed_with = code


class Answer:
    """What a call in flight will answer; asking for it is waiting for it."""

    def __init__(self, server: "Server", number: int) -> None:
        self.server, self.number = server, number

    def result(self) -> data_pb2.UpsertResponse:
        self.server.in_flight.discard(self.number)
        if codes := self.server.failures.get(self.number):
            raise Failure(codes)
        return data_pb2.UpsertResponse()

    def initial_metadata(self) -> list[tuple[str, str]]:
        return [("torpor-lsn", str(self.number + 1))]


class Server:
    """A connection whose calls fail as they are told, by their number."""

    def __init__(self, **failures: grpc.StatusCode) -> None:
        self.failures = {int(name[1:]): code for name, code in failures.items()}
        self.sent: list[list[str]] = []
        self.in_flight: set[int] = set()
        self.in_flight_most = 0
        self.outcome = Outcome()
        self.before_send: Callable[[list[str]], None] | None = None

    def start_upsert(self, request: data_pb2.UpsertRequest) -> Answer:
        ids = [vector.id for vector in request.vectors]
        if self.before_send is not None:
            self.before_send(ids)
        number = len(self.sent)
        self.sent.append(ids)
        self.in_flight.add(number)
        self.in_flight_most = max(self.in_flight_most, len(self.in_flight))
        return Answer(self, number)

    def failure(self, error: Failure) -> CallFailed:
        return CallFailed(error.failed_with, "as told")


def uploads(server: Server, batch: int = 2) -> tuple[Upload, list[int], list[float]]:
    stored: list[int] = []
    pauses: list[float] = []
    target = data_pb2.UpsertRequest(index="a")
    upload = Upload(server, target, batch, lambda u: stored.append(u.stored), pauses.append)
    return upload, stored, pauses


def row(number: int, name: str = "", **more: Any) -> Row:
    return Row(number, data_pb2.Vector(id=name or str(number), **more))


def test_several_batches_are_in_flight_and_no_more() -> None:
    server = Server()
    upload, stored, _ = uploads(server)
    for number in range(1, 22):
        upload.add(row(number))
    upload.finish()
    assert stored == [*range(2, 21, 2), 21]
    assert [name for ids in server.sent for name in ids] == [str(n) for n in range(1, 22)]
    assert server.in_flight_most == IN_FLIGHT_MAX
    assert server.outcome.lsn == 11


def test_a_batch_waits_for_one_in_flight_that_holds_the_same_id() -> None:
    server = Server()
    upload, _, _ = uploads(server)
    waited = []

    def check(ids: list[str]) -> None:
        waited.append(not any(set(ids) & set(server.sent[n]) for n in server.in_flight))

    server.before_send = check
    for number, name in enumerate("abcdafghab", 1):
        upload.add(row(number, name))
    upload.finish()
    assert all(waited) and server.in_flight_most > 1


def test_a_batch_is_kept_small_enough_for_a_message() -> None:
    server = Server()
    upload, _, _ = uploads(server, batch=1_000)
    values = [1.0] * 20_000
    for number in range(1, 1_001):
        upload.add(row(number, values=values))
    upload.finish()
    assert upload.stored == 1_000
    assert 2 <= len(server.sent) <= 80_000 * 1_000 // BATCH_BYTES_MAX + 2


@pytest.mark.parametrize(
    ("code", "beyond"), [(UNAVAILABLE, 2 * IN_FLIGHT_MAX), (REFUSED, 2 * (IN_FLIGHT_MAX - 1))]
)
def test_after_a_failure_what_was_sent_beyond_it_is_counted_by_itself(
    code: grpc.StatusCode, beyond: int
) -> None:
    server = Server(n2=code)
    upload, stored, _ = uploads(server)
    with pytest.raises(UploadFailed) as told:
        list(map(upload.add, map(row, range(1, 100))))
    upload.give_up()
    assert (told.value.first_place, told.value.last_place) == (5, 6)
    assert upload.stored == stored[-1] == 4 and upload.beyond == beyond
    assert not server.in_flight


def test_batches_beyond_that_were_refused_are_not_counted() -> None:
    server = Server(n0=REFUSED, n1=REFUSED, n2=UNAVAILABLE)
    upload, _, _ = uploads(server)
    for number in range(1, 9):
        upload.add(row(number))
    with pytest.raises(UploadFailed):
        upload.finish()
    upload.give_up()
    assert upload.stored == 0 and upload.beyond == 4


def test_what_the_server_has_no_room_for_is_sent_again() -> None:
    server = Server(n1=EXHAUSTED, n2=EXHAUSTED)
    upload, stored, pauses = uploads(server)
    for number in range(1, 5):
        upload.add(row(number))
    upload.finish()
    assert server.sent == [["1", "2"], ["3", "4"], ["3", "4"], ["3", "4"]]
    assert stored == [2, 4] and pauses == sorted(pauses) and len(pauses) == 2


def test_a_server_that_never_has_room_fails_the_load() -> None:
    server = Server(**{f"n{number}": EXHAUSTED for number in range(100)})
    upload, _, pauses = uploads(server)
    upload.add(row(1))
    with pytest.raises(UploadFailed):
        upload.finish()
    assert upload.stored == 0 and upload.beyond == 0 and len(server.sent) == len(pauses) + 1


def test_the_digest_is_that_of_the_stored_rows_whatever_the_batches() -> None:
    rows = [row(number, values=[number, 1]) for number in range(1, 12)]
    expected = b""
    for one in rows:
        expected = digest_after(expected, one)
    for batch in (1, 2, 100):
        upload, _, _ = uploads(Server(), batch)
        for one in rows:
            upload.add(one)
        upload.finish()
        assert upload.digest == expected
    resumed, _, _ = uploads(Server(), 3)
    half = b""
    for one in rows[:5]:
        half = digest_after(half, one)
    resumed.go_on(5, half)
    for one in rows[5:]:
        resumed.add(one)
    resumed.finish()
    assert resumed.digest == expected and resumed.stored == 11
    assert digest_after(b"", rows[0]) != digest_after(b"", rows[1])
