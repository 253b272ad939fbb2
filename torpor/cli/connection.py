"""One channel to a server, and calls whose answers say what woke and how long it took."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import grpc
from google.protobuf.message import Message

from torpor.cli.endpoint import DEFAULT_ADDRESS, Endpoint
from torpor.cli.errors import CallFailed
from torpor.v1 import control_pb2_grpc, data_pb2, data_pb2_grpc

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

# How grpc says that nobody was reached, as opposed to a server that answers UNAVAILABLE.
_UNREACHED = ("failed to connect", "dns resolution failed", "name resolution", "no such host")
# And how it says that somebody was, and why they did not come to terms.
_AT_ODDS = {
    "certificate_verify_failed": "has a certificate that nobody trusted here has signed; name its "
    "authority with --ca or TORPOR_CA.",
    "not in peer certificate": "has a certificate for other names than this one.",
    "wrong_version_number": "does not speak TLS; leave out --tls, --ca and https://.",
    "socket closed": "closed the connection. It may want TLS, for which --tls asks, or a certificate of "
    "this client's, for which there is --client-certificate.",
}


@dataclass(slots=True)
class Outcome:
    """What the calls of one command cost, and how fresh and exact their answers are."""

    took_ms: float = 0.0
    wake_ms: float | None = None
    exact: bool | None = None
    lsn: int | None = None

    def add(self, took_ms: float, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Counts one call in, by the metadata of its response."""
        self.took_ms += took_ms
        for key, value in metadata:
            text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
            if key == "torpor-wake-ms":
                self.wake_ms = (self.wake_ms or 0.0) + float(text)
            elif key == "torpor-exact":
                self.exact = text == "true" and self.exact is not False
            elif key == "torpor-lsn":
                self.lsn = max(self.lsn or 0, int(text))


class Connection:
    """Talks to one server. Every call has the same timeout and adds to the outcome."""

    def __init__(self, endpoint: Endpoint, timeout_seconds: float) -> None:
        """Connects with the first call, not here; raises CommandError for a bad file of TLS."""
        self.address = endpoint.address
        self.timeout_seconds = timeout_seconds
        self.outcome = Outcome()
        self._metadata = endpoint.metadata
        self._channel = endpoint.channel()
        self.control = control_pb2_grpc.ControlServiceStub(self._channel)
        self.data = data_pb2_grpc.DataServiceStub(self._channel)

    def call(
        self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", request: Request
    ) -> Response:
        """The answer to one call; raises CallFailed."""
        began = time.perf_counter()
        try:
            response, call = method.with_call(
                request, timeout=self.timeout_seconds, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise self.failure(error) from None
        self.outcome.add((time.perf_counter() - began) * 1e3, call.initial_metadata())
        return response

    def start_upsert(
        self, request: data_pb2.UpsertRequest
    ) -> "grpc.CallFuture[data_pb2.UpsertResponse]":
        """Sends vectors without waiting for the answer; see `failure` for what it may raise."""
        return self.data.Upsert.future(
            request, timeout=self.timeout_seconds, metadata=self._metadata
        )

    def failure(self, error: grpc.RpcError) -> CallFailed:
        """What a failed call means, in words for the user."""
        code, details = error.code(), error.details() or "the server gave no reason"
        said = details.lower()
        if code is grpc.StatusCode.UNAVAILABLE and any(sign in said for sign in _UNREACHED):
            for sign, reason in _AT_ODDS.items():
                if sign in said:
                    return CallFailed(code, f"the server at {self.address} {reason}")
            return CallFailed(
                code,
                f"no server answers at {self.address}. Start one with `torpor serve --data ./data "
                f"--listen {DEFAULT_ADDRESS}`, or name another with --server or TORPOR_SERVER.",
            )
        if code is grpc.StatusCode.UNAUTHENTICATED:
            details += " Give a key with --api-key or TORPOR_API_KEY."
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            details = f"no answer within {self.timeout_seconds:g} s; --timeout allows more"
        return CallFailed(code, f"{code.name}: {' '.join(details.split())}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()
