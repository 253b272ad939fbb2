"""Clients of gRPC that nobody here wrote get from both fronts what gRPC promises."""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.exceptions import GRPCError

from tests.fronts import handlers
from tests.fronts.conftest import MESSAGE_OPTIONS
from torpor.internal.v1 import introspection_pb2 as introspection

MIB = 1 << 20
SIZES = [0, 1, 16_378, 16_379, 16_384, 65_535, 65_536, 300_000, 5 * MIB]


def raw(channel: grpc.Channel, path: str) -> Callable[..., bytes]:
    return channel.unary_unary(path)


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_any_size_come_and_go_unchanged(channel: grpc.Channel, size: int) -> None:
    sent = handlers.pattern(size)
    assert raw(channel, handlers.ECHO)(sent) == sent


def test_the_largest_message_passes_in_both_directions(channel: grpc.Channel) -> None:
    sent = handlers.pattern(64 * MIB)
    assert raw(channel, handlers.SIZE)(sent) == f"{64 * MIB} {handlers.hash_of(sent)}".encode()
    assert raw(channel, handlers.BIG)(str(64 * MIB).encode()) == sent


def test_a_message_over_the_bound_is_refused_in_both_directions(channel: grpc.Channel) -> None:
    for call in (
        lambda: raw(channel, handlers.SIZE)(bytes(64 * MIB + 1)),
        lambda: raw(channel, handlers.BIG)(str(64 * MIB + 1).encode()),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raw(channel, handlers.ECHO)(b"still here") == b"still here"


def test_uploads_at_once_on_one_connection_are_not_mixed_up(channel: grpc.Channel) -> None:
    call = channel.unary_unary(handlers.SIZE)
    bodies = [handlers.pattern(300_000 + number)[number:] for number in range(40)]
    answers = [call.future(body) for body in bodies]
    for body, answer in zip(bodies, answers, strict=True):
        assert answer.result() == f"{len(body)} {handlers.hash_of(body)}".encode()


def test_an_error_has_its_code_and_its_words(channel: grpc.Channel) -> None:
    said = "not found: 100 % of „Ünïcode“\nand\ttwo lines"
    with pytest.raises(grpc.RpcError) as caught:
        raw(channel, handlers.FAIL)(said.encode())
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, said)


def test_a_long_error_still_arrives(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw(channel, handlers.FAIL)(b"taken: " + "é".encode() * 2_000)
    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert str(caught.value.details()).startswith("taken: é")


def test_a_mistake_of_ours_is_internal_and_tells_nothing(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw(channel, handlers.BREAK)(b"a secret")
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value.details())


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    for path in ("/test.Service/Nothing", "/no.Service/Echo"):
        with pytest.raises(grpc.RpcError) as caught:
            raw(channel, path)(bytes(100_000))
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_compressed_message_is_refused(own_port: int) -> None:
    address, gzip = f"127.0.0.1:{own_port}", grpc.Compression.Gzip
    with (
        grpc.insecure_channel(address, compression=gzip) as compressing,
        pytest.raises(grpc.RpcError) as caught,
    ):
        raw(compressing, handlers.ECHO)(bytes(10_000))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "compressed" in str(caught.value.details())


def test_metadata_goes_both_ways(channel: grpc.Channel, port: int) -> None:
    metadata = (("torpor-index", "docs"), ("x-long", "y" * 3_000), ("trace-bin", b"\0\xff"))
    body, call = channel.unary_unary(handlers.CALL).with_call(b"", metadata=metadata, timeout=30)
    shown = json.loads(body)
    assert shown["metadata"]["torpor-index"] == "docs"
    assert shown["metadata"]["x-long"] == "y" * 3_000
    assert "trace-bin" not in shown["metadata"]
    left = (shown["deadline"] - time.monotonic_ns()) / 1e9
    assert 20 < left < 31
    answered = dict(call.initial_metadata())
    assert answered["torpor-lsn"] == "17" and answered["torpor-exact"] == "true"


def test_a_call_knows_the_host_it_asked_for_and_the_address_it_came_to(own_port: int) -> None:
    with grpc.insecure_channel(f"127.3.2.1:{own_port}") as channel:
        shown = json.loads(raw(channel, handlers.CALL)(b""))
    assert shown["authority"] == f"127.3.2.1:{own_port}"
    assert shown["local"] == ["127.3.2.1", own_port]


def test_a_deadline_ends_the_call_and_its_handler(channel: grpc.Channel) -> None:
    before = int(raw(channel, handlers.CANCELLED)(b""))
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(handlers.SLOW)(b"30", timeout=0.1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    _wait_until(lambda: int(raw(channel, handlers.CANCELLED)(b"")) == before + 1)


def test_a_cancelled_call_ends_its_handler(channel: grpc.Channel) -> None:
    before = int(raw(channel, handlers.CANCELLED)(b""))
    calls = [channel.unary_unary(handlers.SLOW).future(b"30") for _ in range(20)]
    raw(channel, handlers.ECHO)(b"after them")
    for call in calls:
        call.cancel()
    _wait_until(lambda: int(raw(channel, handlers.CANCELLED)(b"")) == before + 20)


def test_a_slow_call_holds_up_no_other(channel: grpc.Channel) -> None:
    slow = channel.unary_unary(handlers.SLOW).future(b"1")
    for _ in range(50):
        raw(channel, handlers.ECHO)(b"quick")
    assert not slow.done()
    assert slow.result() == b"slept"


def test_many_clients_in_threads(port: int) -> None:
    def work(number: int) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for turn in range(20):
                sent = f"{number} {turn}".encode()
                assert raw(channel, handlers.ECHO)(sent) == sent

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))


async def test_a_thousand_calls_at_once_from_an_asyncio_client(port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", MESSAGE_OPTIONS) as channel:
        call = channel.unary_unary(handlers.ECHO)
        sent = [str(number).encode() * 50 for number in range(1_000)]
        assert await asyncio.gather(*map(call, sent)) == sent


async def test_grpclib_is_served(port: int) -> None:
    channel = Channel("127.0.0.1", port, codec=_Bytes())
    try:
        echo: UnaryUnaryMethod[bytes, bytes] = UnaryUnaryMethod(
            channel, handlers.ECHO, bytes, bytes
        )
        sent = [handlers.pattern(size) for size in (0, 3_000, 200_000, 2 * MIB)]
        assert await asyncio.gather(*map(echo, sent)) == sent
        fail: UnaryUnaryMethod[bytes, bytes] = UnaryUnaryMethod(
            channel, handlers.FAIL, bytes, bytes
        )
        with pytest.raises(GRPCError) as caught:
            await fail(b"not found: \xc3\xa9")
        assert (caught.value.status.value, caught.value.message) == (5, "not found: é")
        slow: UnaryUnaryMethod[bytes, bytes] = UnaryUnaryMethod(
            channel, handlers.SLOW, bytes, bytes
        )
        # Whichever of the two is first to see that it has passed.
        with pytest.raises((asyncio.TimeoutError, GRPCError), match=r"(?i)^$|deadline"):
            await slow(b"30", timeout=0.1)
    finally:
        channel.close()


def test_health_is_told(channel: grpc.Channel) -> None:
    check = raw(channel, "/grpc.health.v1.Health/Check")
    for service in ("", "test.Service"):
        request = introspection.HealthCheckRequest(service=service)
        assert check(request.SerializeToString()) == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as caught:
        check(introspection.HealthCheckRequest(service="no.Service").SerializeToString())
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_the_public_services(channel: grpc.Channel, version: str) -> None:
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    questions = [
        introspection.ReflectionRequest(list_services="*"),
        introspection.ReflectionRequest(file_containing_symbol="torpor.v1.DataService.Query"),
        introspection.ReflectionRequest(file_containing_symbol="VectorService"),
        introspection.ReflectionRequest(file_by_filename="torpor/v1/control.proto"),
        introspection.ReflectionRequest(file_containing_symbol="torpor.internal.v1.Work"),
    ]
    talk = channel.stream_stream(path)(iter(one.SerializeToString() for one in questions))
    answers = [introspection.ReflectionResponse.FromString(one) for one in talk]
    _, *files, missing = answers
    first = [
        FileDescriptorProto.FromString(one.file_descriptors.file_descriptor_proto[0])
        for one in files
    ]
    assert [one.name.rpartition("/")[2] for one in first] == [
        "data.proto",
        "vector_service.proto",
        "control.proto",
    ]
    assert "Query" in {method.name for method in first[1].service[0].method}
    assert missing.error.error_code == 5


def test_reflection_waits_for_the_next_question(channel: grpc.Channel) -> None:
    """Tools keep the stream open, and ask again by what they were told."""
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    question = introspection.ReflectionRequest(file_by_filename="torpor/v1/data.proto")
    answered: list[bytes] = []

    def ask() -> object:
        for number in range(3):
            _wait_until(lambda: len(answered) == number)  # noqa: B023 - called at once
            yield question.SerializeToString()

    for answer in channel.stream_stream(path)(ask()):
        answered.append(answer)  # noqa: PERF402 - the questions wait for it
    assert len(answered) == 3


class _Bytes:
    """grpclib's codec for messages that are encoded already."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: type) -> bytes:
        return message

    def decode(self, data: bytes, message_type: type) -> bytes:
        return data


def _wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
