"""HTTP/1.1 on the same port: served by uvicorn, within bounds that are ours."""

import http.client
import json
import subprocess

import pytest

from router import limits
from tests.fronts.conftest import Own


def get(target: str = "/", *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "host: test", *fields, "", ""]
    return "\r\n".join(lines).encode()


def test_one_port_speaks_both(own_port: int) -> None:
    connection = http.client.HTTPConnection("127.4.5.6", own_port, timeout=10)
    try:
        for size in (0, 10, 5 << 20, 3):
            connection.request("POST", "/path", bytes(size), {"host": "my.host"})
            answer = connection.getresponse()
            shown = json.load(answer)
            assert answer.headers["date"]
            assert shown["size"] == size and shown["path"] == "/path"
            assert shown["host"] == "my.host" and shown["local"] == ["127.4.5.6", own_port]
        connection.request("POST", "/chunks", iter([b"x" * 70_000] * 20), encode_chunked=True)
        assert json.load(connection.getresponse())["size"] == 1_400_000
    finally:
        connection.close()


@pytest.mark.parametrize("flag", ["--http1.1", "--http1.0", "--http2"])
def test_curl_is_served(own_port: int, flag: str) -> None:
    """The last one offers an upgrade to HTTP/2, which is not taken."""
    url = f"http://127.0.0.1:{own_port}/path"
    command = ["curl", "-sS", flag, "-H", "Expect: 100-continue", "-d", "x" * 3_000, url, url]
    done = subprocess.run(command, capture_output=True, check=True, timeout=20)
    assert done.stdout.count(b'"size": 3000') == 2


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbroken\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_closed(own: Own, sent: bytes) -> None:
    peer = await own.plain()
    await peer.send(sent)
    assert b" 400 " in (await peer.read_all()).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "sent",
    [
        get("/" + "x" * limits.HTTP1_HEAD_BYTES_MAX),
        get("/", "a: " + "x" * limits.HTTP1_HEAD_BYTES_MAX),
        get("/", *["a: b"] * 4_000),
    ],
)
async def test_a_head_too_long_is_refused(own: Own, sent: bytes) -> None:
    peer = await own.plain()
    await peer.send(sent)
    assert (await peer.read_all()).split(b" ")[1:2] in ([], [b"431"], [b"400"])
    await own.until(lambda: len(own.connections) == 0)


async def test_a_head_without_end_is_refused_before_it_fills_memory(own: Own) -> None:
    """The parser keeps a field until it is complete, however long it is."""
    peer = await own.plain()
    await peer.send(b"GET / HTTP/1.1\r\na: ")
    for _ in range(200):
        await peer.send(b"x" * 65_536)
        assert own.connections.held < 20 * 65_536
    # Whoever goes on sending may miss the answer, for it is reset.
    assert (await peer.read_all()).split(b" ")[1:2] in ([], [b"431"])
    await own.until(lambda: len(own.connections) == 0)


async def test_trailers_without_end_are_refused_as_well(own: Own) -> None:
    peer = await own.plain()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")
    await peer.send(b"".join(b"a%d: b\r\n" % number for number in range(20_000)))
    said = await peer.read_all()
    assert said.split(b" ")[1:2] in ([], [b"400"], [b"431"])
    await own.until(lambda: len(own.connections) == 0)


async def test_a_body_too_long_is_refused(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.http1.HTTP1_REQUEST_BYTES_MAX", 1 << 20)
    peer = await own.plain()
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000\r\n\r\n")
    for _ in range(40):
        await peer.send(bytes(65_536))
    assert (await peer.read_all()).split(b" ")[1:2] in ([], [b"413"])
    await own.until(lambda: len(own.connections) == 0)


async def test_what_requests_hold_is_bounded(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.connections.CONNECTIONS_HELD_BYTES_MAX", 1 << 20)
    peers = [await own.plain() for _ in range(4)]
    for peer in peers:
        await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 400000\r\n\r\n")
    for peer in peers:
        await peer.send(bytes(390_000))
    await own.until(lambda: len(own.connections) < 4)
    assert own.connections.held <= (1 << 20) + (256 << 10)


async def test_requests_that_follow_each_other_release_what_they_held(own: Own) -> None:
    peer = await own.plain()
    for _ in range(50):
        await peer.send(get())
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.reader.readuntil(b"}")
    assert own.connections.held == 0


async def test_requests_may_be_sent_ahead_of_answers(own: Own) -> None:
    peer = await own.plain()
    await peer.send(get("/a") + get("/b") + get("/c", "connection: close"))
    said = await peer.read_all()
    assert [said.index(b'"path": "/%c"' % one) for one in b"abc"] == sorted(
        said.index(b'"path": "/%c"' % one) for one in b"abc"
    )


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (b"GET / HT", limits.FRAME_SECONDS),
        (get() + b"GET / HT", limits.FRAME_SECONDS),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc", limits.REQUEST_SECONDS),
        (
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
            limits.REQUEST_SECONDS,
        ),
    ],
)
async def test_a_request_that_is_never_finished(own: Own, sent: bytes, seconds: float) -> None:
    peer, other = await own.plain(), await own.peer()
    await peer.send(sent)
    assert await other.alive(1)
    await own.until(lambda: _incomplete(own))
    own.later(seconds - 1)
    assert len(own.connections) == 2
    own.later(seconds + 1)
    await own.until(lambda: len(own.connections) == 1)
    await peer.read_all()


async def test_an_answer_that_is_not_read(own: Own) -> None:
    peer = await own.plain()
    await peer.send(get("/big"))
    await own.until(
        lambda: any(getattr(one, "_paused_since", None) for one in own.connections._all)
    )
    own.later(limits.STALL_SECONDS + 1)
    await own.until(lambda: len(own.connections) == 0)


async def test_stopping_closes_what_is_idle_and_waits_for_the_rest(own: Own) -> None:
    idle, busy = await own.plain(), await own.plain()
    await idle.send(get())
    await idle.reader.readuntil(b"}")
    await busy.send(get("/sleep"))
    await own.until(lambda: len(own.connections) == 2)
    await own.connections.drain(0.1)
    assert await idle.read_all() == b"" and await busy.read_all() == b""


def _incomplete(own: Own) -> bool:
    return any(
        getattr(one, "_head_since", None) or getattr(one, "_request_since", None)
        for one in own.connections._all
    )
