"""API keys over REST: who is refused how, on every route."""

from pathlib import Path

import pytest

from router.keys import Scope
from router.rest.app import App
from tests.integration.client import Client
from tests.integration.conftest import Start
from tests.integration.rest import Rest, RestAnswer
from tests.integration.test_keys import add

SPEC = {"serverless": {"cloud": "aws", "region": "us-east-1"}}


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """A key for everything, one for each scope, and one for another index."""
    file = tmp_path / "keys"
    made = {scope.value: add(file, scope) for scope in Scope}
    return {**made, "all": add(file), "other": add(file, indexes=["other"]), "wrong": "wrong"}


@pytest.fixture
def client(start: Start, tmp_path: Path, keys: dict[str, str]) -> Client:
    """A server that wants keys, with one index."""
    client = start("--keys-file", str(tmp_path / "keys"), "--idle-seconds", "600")
    with Rest(client.server.address, {"Api-Key": keys["all"]}) as rest:
        answer = rest.post("/indexes", {"name": "docs", "dimension": 2, "spec": SPEC})
        assert answer.status == 201
    return client


def refusal(answer: RestAnswer) -> tuple[int, object]:
    """The status and the code, of an error in either form."""
    said = answer.json
    return answer.status, said["code"] if "code" in said else said["error"]["code"]


def test_without_a_good_key_every_route_is_401(client: Client, keys: dict[str, str]) -> None:
    for headers in ({}, {"Api-Key": keys["wrong"]}):
        with Rest(client.server.address, {**headers, "Torpor-Index": "docs"}) as rest:
            for method, path in App({}).routes.table():
                path = path.format(name="docs", namespace="n", id="x")
                status, code = refusal(rest.ask(method, path, {} if method == "POST" else None))
                assert (status, code) in {(401, "UNAUTHENTICATED"), (401, 16)}, (method, path)


def test_a_stranger_may_not_send_what_is_large_to_read(client: Client) -> None:
    with Rest(client.server.address) as rest:
        answer = rest.post("/query", b"[" * 1_000_000)
        assert refusal(answer) == (401, 16)


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("read", {"read"}), ("write", {"write"}), ("admin", {"admin"}), ("other", set())],
)
def test_a_key_that_is_not_for_this_is_403(
    client: Client, keys: dict[str, str], scope: str, allowed: set[str]
) -> None:
    with Rest(client.server.address, {"Api-Key": keys[scope], "Torpor-Index": "docs"}) as rest:
        vectors = [{"id": "a", "values": [1, 2]}]
        answers = {
            "read": rest.post("/query", {"topK": 1, "id": "a"}),
            "write": rest.post("/vectors/upsert", {"vectors": vectors}),
            "admin": rest.ask("PATCH", "/indexes/docs", {"tags": {"a": "b"}}),
        }
    refused = {what: refusal(answer) for what, answer in answers.items() if what not in allowed}
    assert all(answers[what].status < 300 for what in allowed)
    codes = {"read": 7, "write": 7, "admin": "FORBIDDEN"}
    assert refused == {what: (403, codes[what]) for what in refused}
