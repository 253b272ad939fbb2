"""Requests as HTTP: paths, methods, bodies, errors, clients that leave."""

import asyncio
import logging
from typing import Any

import pytest

from router import errors
from router.call import Call, Reply
from router.limits import REST_BODY_BYTES_MAX
from router.rest.app import App
from storage import errors as storage_errors
from tests.unit.rest.asgi import Answer, abandon, ask
from tests.unit.rest.fake import Fake
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data


def control_error(answer: Answer) -> tuple[int, str, str]:
    """The status, code and message of an error of the control plane, which has nothing else."""
    assert answer.json.keys() == {"status", "error"}
    assert answer.json["error"].keys() == {"code", "message"}
    assert answer.json["status"] == answer.status
    return answer.status, answer.json["error"]["code"], answer.json["error"]["message"]


def data_error(answer: Answer) -> tuple[int, int, str]:
    """The status, code and message of an error of the data plane, which has no other details."""
    assert answer.json.keys() == {"code", "message", "details"}
    assert answer.json["details"] == []
    return answer.status, answer.json["code"], answer.json["message"]


# Paths


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("docs", "docs"),
        ("a%2Fb", "a/b"),
        ("%2E", "."),
        ("%2E%2E", ".."),
        ("%25", "%"),
        ("%C3%A9+x", "é+x"),
        ("__default__", "__default__"),
        ("", ""),
    ],
)
async def test_a_segment_is_decoded_after_the_path_is_split(
    fake: Fake, segment: str, name: str
) -> None:
    await ask(fake.app, "GET", f"/namespaces/{segment}/")
    asked = fake.sent("DescribeNamespace", data.DescribeNamespaceRequest)
    if segment:
        assert asked == [data.DescribeNamespaceRequest(namespace=name)]
    else:
        assert fake.sent("ListNamespaces", data.ListNamespacesRequest)


async def test_an_index_may_have_the_name_of_an_operation(fake: Fake) -> None:
    fake.answer("DescribeIndex", errors.NotFound("There is none."))
    await ask(fake.app, "GET", "/indexes/create-for-model")
    (sent,) = fake.sent("DescribeIndex", control.DescribeIndexRequest)
    assert sent.name == "create-for-model"


@pytest.mark.parametrize(
    "target", ["/", "/nothing", "/indexes/a/b", "/grpc/query", "/x/indexes", "//"]
)
async def test_an_unknown_path_is_not_found(fake: Fake, target: str) -> None:
    assert control_error(await ask(fake.app, "GET", target))[:2] == (404, "NOT_FOUND")
    assert fake.asked == []


async def test_a_segment_that_is_not_text_is_refused(fake: Fake) -> None:
    assert data_error(await ask(fake.app, "GET", "/namespaces/%FF"))[:2] == (400, 3)


async def test_a_wrong_method_is_told_the_right_ones(fake: Fake) -> None:
    answer = await ask(fake.app, "PUT", "/indexes/a")
    assert control_error(answer)[0] == 405
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    answer = await ask(fake.app, "OPTIONS", "/vectors/delete")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["allow"] == "DELETE, OPTIONS, POST"


async def test_a_head_is_a_get_without_its_body(fake: Fake) -> None:
    fake.answer("ListCollections", control.ListCollectionsResponse())
    got = await ask(fake.app, "GET", "/collections")
    answer = await ask(fake.app, "HEAD", "/collections")
    assert (answer.status, answer.body, answer.headers) == (200, b"", got.headers)


# Bodies


async def test_a_body_may_come_in_parts(fake: Fake) -> None:
    body = {"topK": 3, "vector": [1, 2, 3]}
    await ask(fake.app, "POST", "/query", body, parts=7)
    assert fake.sent("Query", data.QueryRequest) == [data.QueryRequest(top_k=3, vector=[1, 2, 3])]


@pytest.mark.parametrize(
    "body", [b"{", b"nonsense", b'{"a": NaN}', b"\xff{}", b"[" * 5000, b'"\\ud800"']
)
async def test_what_is_not_json_is_refused(fake: Fake, body: bytes) -> None:
    assert data_error(await ask(fake.app, "POST", "/query", body))[:2] == (400, 3)
    assert control_error(await ask(fake.app, "POST", "/indexes", body))[:2] == (
        400,
        "INVALID_ARGUMENT",
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "must be a JSON object"),
        ({"vectors": {}}, "'vectors' must be a list"),
        ({"vectors": [1]}, "'vectors' must be a list of objects"),
        ({"vectors": [{"id": 1}]}, "'vectors[0].id' must be a string"),
        ({"vectors": [{}, {"values": "abc"}]}, "'vectors[1].values' must be a list"),
        ({"vectors": [{"values": [True]}]}, "'vectors[0].values' must be a list of numbers"),
        ({"vectors": [{"values": [None]}]}, "'vectors[0].values' must be a list of numbers"),
        ({"vectors": [{"metadata": []}]}, "'vectors[0].metadata' must be an object"),
        ({"vectors": [{"sparseValues": {"indices": [1.5]}}]}, "must be whole numbers"),
        ({"vectors": [{"sparseValues": {"indices": [-1]}}]}, "must be 0 to 4294967295"),
        ({"vectors": [{"sparseValues": {"indices": [1 << 32]}}]}, "must be 0 to 4294967295"),
        ({"namespace": 3}, "'namespace' must be a string"),
    ],
)
async def test_json_that_does_not_fit_names_the_place(fake: Fake, body: Any, words: str) -> None:
    status, code, message = data_error(await ask(fake.app, "POST", "/vectors/upsert", body))
    assert (status, code) == (400, 3)
    assert words in message
    assert fake.asked == []


async def test_an_object_that_is_nested_too_deep_is_refused(fake: Fake) -> None:
    deep = b'{"a":' * 200 + b"1" + b"}" * 200
    for body in (b'{"filter":%b}' % deep, b'{"filter":{"a":[[%b]]}}' % deep):
        status, _, message = data_error(await ask(fake.app, "POST", "/query", body))
        assert status == 400
        assert "nested deeper" in message


@pytest.mark.parametrize("headers", [{"Content-Length": str(REST_BODY_BYTES_MAX + 1)}, {}])
async def test_a_body_over_the_bound_is_refused(fake: Fake, headers: dict[str, str]) -> None:
    """Announced, before it is read; else, when it has passed the bound."""
    body = b"{}" if headers else b" " * (REST_BODY_BYTES_MAX + 1)
    answer = await ask(fake.app, "POST", "/query", body, headers, parts=3)
    assert data_error(answer)[:2] == (413, 3)
    assert fake.asked == []


async def test_a_compressed_body_is_refused(fake: Fake) -> None:
    answer = await ask(fake.app, "POST", "/query", b"\x1f\x8b", {"Content-Encoding": "gzip"})
    assert data_error(answer)[0] == 415


@pytest.mark.parametrize("query", ["ids=%FF", "&".join(["ids=a"] * 1025)])
async def test_a_query_string_that_cannot_be_read_is_refused(fake: Fake, query: str) -> None:
    assert data_error(await ask(fake.app, "GET", f"/vectors/fetch?{query}"))[:2] == (400, 3)


@pytest.mark.parametrize("limit", ["-1", "a", "1.5", "99999999999999999999", "²"])
async def test_a_parameter_that_does_not_fit_is_refused(fake: Fake, limit: str) -> None:
    answer = await ask(fake.app, "GET", f"/vectors/list?limit=%{limit.encode().hex('%')}")
    assert data_error(answer)[:2] == (400, 3)


# Errors


@pytest.mark.parametrize(
    ("error", "http", "word", "number"),
    [
        (errors.InvalidArgument("why"), 400, "INVALID_ARGUMENT", 3),
        (errors.NotFound("why"), 404, "NOT_FOUND", 5),
        (errors.AlreadyExists("why"), 409, "ALREADY_EXISTS", 6),
        (errors.ProtectedIndex("why"), 403, "FORBIDDEN", 9),
        (errors.ConditionFailed("why"), 412, "FAILED_PRECONDITION", 9),
        (errors.Overloaded("why"), 429, "RESOURCE_EXHAUSTED", 8),
        (errors.TooLarge("why"), 400, "INVALID_ARGUMENT", 8),
        (errors.DeadlinePassed("why"), 504, "DEADLINE_EXCEEDED", 4),
        (errors.Unavailable("why"), 503, "UNAVAILABLE", 14),
        (errors.PoisonRequest("why"), 500, "INTERNAL", 13),
        (storage_errors.DataLoss("why"), 500, "DATA_LOSS", 15),
        (storage_errors.DiskFull("why"), 429, "RESOURCE_EXHAUSTED", 8),
        (storage_errors.WriteOutcomeUnknown("why"), 500, "UNKNOWN", 2),
    ],
)
async def test_errors_have_the_documented_status_and_body(
    fake: Fake, error: Exception, http: int, word: str, number: int
) -> None:
    fake.answer("DescribeIndex", error)
    fake.answer("Query", error)
    assert control_error(await ask(fake.app, "GET", "/indexes/a")) == (http, word, "why")
    assert data_error(await ask(fake.app, "POST", "/query", {})) == (http, number, "why")


async def test_our_own_mistake_is_logged_and_not_shown(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    fake.answer("Query", ZeroDivisionError("secret"))
    with caplog.at_level(logging.ERROR):
        answer = await ask(fake.app, "POST", "/query", {})
    assert data_error(answer)[:2] == (500, 13)
    assert b"secret" not in answer.body
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_method_that_the_server_does_not_have_is_said_to_be_missing() -> None:
    answer = await ask(App({}), "GET", "/collections")
    assert control_error(answer)[:2] == (400, "UNIMPLEMENTED")


# Strangers


async def test_a_stranger_is_refused_before_the_body_is_read(fake: Fake) -> None:
    def admit(call: Call) -> None:
        if call.metadata.get("api-key") != "secret":
            raise errors.InvalidArgument("Who are you?")

    app = App(fake.handlers(), admit)
    read = []

    async def receive() -> Any:
        read.append("body")
        raise AssertionError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": b"/backups/a/create-index",
        "headers": [],
    }
    await app(scope, receive, send)
    assert (sent[0]["status"], read) == (400, [])
    await ask(app, "POST", "/query", {}, {"Api-Key": "secret"})
    assert [name for name, _, _ in fake.asked] == ["Query"]


# Clients that leave


async def test_a_client_that_leaves_cancels_its_request() -> None:
    started, left, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait(body: bytes, call: Call) -> Reply:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    app = App({"/torpor.v1.DataService/Query": wait})
    request = asyncio.create_task(abandon(app, "POST", "/query", {}, left))
    await started.wait()
    left.set()
    await request
    assert cancelled.is_set()


async def test_cancelling_the_server_is_not_taken_for_a_client_that_left() -> None:
    started = asyncio.Event()

    async def wait(body: bytes, call: Call) -> Reply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    app = App({"/torpor.v1.DataService/Query": wait})
    request = asyncio.create_task(ask(app, "POST", "/query", {}))
    await started.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
