"""Peers that say exactly what a test wants: bytes, or frames of HTTP/2."""

import asyncio
import struct
from dataclasses import dataclass

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION,
) = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PADDED = 8

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Frame:
    """A frame that the server sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """The error code of a RST_STREAM or GOAWAY frame."""
        return int.from_bytes(self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8])


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload


def message(body: bytes) -> bytes:
    """A gRPC message with what goes ahead of it."""
    return b"\0" + len(body).to_bytes(4) + body


class Plain:
    """A peer that speaks bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        try:
            await self.writer.drain()
        except ConnectionError:
            # The server may close before all is sent; a test sees that from what it reads.
            pass

    async def read_all(self) -> bytes:
        """Whatever comes until the server closes."""
        found = b""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while data := await self.reader.read(1 << 20):
                    found += data
        except ConnectionError:
            pass
        return found

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass


class Peer(Plain):
    """A peer that speaks HTTP/2, as badly as it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.closed = False

    async def greet(self, settings: dict[str, int]) -> None:
        numbers = {"initial_window": 4, "max_frame": 5, "table": 1}
        said = b"".join(struct.pack(">HI", numbers[name], v) for name, v in settings.items())
        await self.send(PREFACE, frame(SETTINGS, payload=said))
        await self.until(lambda got: got.kind == SETTINGS and got.flags & ACK)

    def block(self, path: str = "/test.Service/Echo", **more: str) -> bytes:
        """The header block of a call; names have underscores for hyphens."""
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "test",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        fields |= {name.replace("_", "-"): value for name, value in more.items()}
        return self.encoder.encode(list(fields.items()))

    def call(
        self, stream: int, body: bytes = b"", path: str = "/test.Service/Echo", **more: str
    ) -> bytes:
        """The frames of a whole call."""
        return frame(HEADERS, END_HEADERS, stream, self.block(path, **more)) + frame(
            DATA, END_STREAM, stream, message(body)
        )

    async def read(self) -> Frame | None:
        """The next frame; None when the server has closed."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                head = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(head[:3]))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed = True
            return None
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return Frame(kind, flags, stream, payload)

    async def until(self, wanted: object) -> Frame | None:
        """The next frame of which something holds; None when the server closes before."""
        assert callable(wanted)
        while (got := await self.read()) is not None:
            if got.kind == HEADERS:
                self.headers = {str(k): str(v) for k, v in self.decoder.decode(got.payload)}
            if wanted(got):
                return got
        return None

    async def answer(self, stream: int) -> tuple[str, bytes]:
        """The gRPC status of a call and its message; "reset N" for a stream that was reset."""
        body = b""
        while True:
            got = await self.until(lambda one: one.stream == stream)
            if got is None:
                return "closed", body
            if got.kind == RST_STREAM:
                return f"reset {got.number}", body
            if got.kind == DATA:
                body += got.payload
            if got.flags & END_STREAM:
                return self.headers.get("grpc-status") or self.headers[":status"], body[5:]

    async def ending(self) -> int | None:
        """The code of the GOAWAY with which the server closes; None if it closes without."""
        code = None
        while (got := await self.read()) is not None:
            if got.kind == GOAWAY:
                code = got.number
        return code

    async def alive(self, stream: int) -> bool:
        """Whether a call is still answered."""
        await self.send(self.call(stream, b"hello"))
        return await self.answer(stream) == ("0", b"hello")
