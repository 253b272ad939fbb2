"""API keys through a real server: what each may do, which indexes it sees, changes while it runs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from router.keys import Scope, new_key
from router.keys_file import change_keys
from tests.integration.client import Client, code_of, message_of, wait_until
from tests.integration.conftest import Start
from torpor.__main__ import main
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data


def add(path: Path, *scopes: Scope, indexes: list[str] | None = None) -> str:
    made: list[str] = []

    def change(keys: list[Any]) -> list[Any]:
        key, text = new_key(scopes or Scope, indexes, "", keys)
        made.append(text)
        return [*keys, key]

    change_keys(path, change)
    return made[0]


class Caller:
    """Calls with one key."""

    def __init__(self, client: Client, key: str | None) -> None:
        self._client = client
        self._metadata = [("api-key", key)] if key is not None else []

    def control(self, method: str, request: object) -> Any:
        return getattr(self._client.control, method)(request, metadata=self._metadata)

    def data(self, method: str, request: object) -> Any:
        return getattr(self._client.data, method)(request, metadata=self._metadata)

    def create(self, name: str) -> Any:
        return self.control("CreateIndex", control.CreateIndexRequest(name=name, dimension=2))

    def names(self, size: int = 0) -> list[str]:
        """All indexes that the key sees, page by page."""
        request, found = control.ListIndexesRequest(page_size=size), []
        while True:
            page = self.control("ListIndexes", request)
            found += [one.name for one in page.indexes]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def codes(self, name: str) -> dict[str, str]:
        """How reading, writing and administering an index end."""
        vectors = [data.Vector(id="a", values=[1, 2])]
        calls: dict[str, Callable[[], Any]] = {
            "read": lambda: self.data("Query", data.QueryRequest(index=name, id="a", top_k=1)),
            "write": lambda: self.data("Upsert", data.UpsertRequest(index=name, vectors=vectors)),
            "admin": lambda: self.control(
                "ConfigureIndex", control.ConfigureIndexRequest(name=name, tags={"a": "b"})
            ),
            "describe": lambda: self.control(
                "DescribeIndex", control.DescribeIndexRequest(name=name)
            ),
        }
        return {what: code_of(call) for what, call in calls.items()}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def everything(keys: Path) -> str:
    """A key for everything, in the file before the server starts."""
    return add(keys)


@pytest.fixture
def guarded(start: Start, keys: Path, everything: str) -> Client:
    """A client, without any key, of a server that wants one."""
    return start("--keys-file", str(keys), "--idle-seconds", "600")


def test_without_a_key_nothing_is_done(guarded: Client, everything: str) -> None:
    Caller(guarded, everything).create("a")
    for key in (None, "", "wrong", everything[:-1] + "x"):
        caller = Caller(guarded, key)
        assert set(caller.codes("a").values()) == {"UNAUTHENTICATED"}
        assert set(caller.codes("nothing").values()) == {"UNAUTHENTICATED"}
        assert code_of(caller.names) == "UNAUTHENTICATED"
    assert "api-key" in message_of(Caller(guarded, None).names)
    assert "Invalid API key" in message_of(Caller(guarded, "wrong").names)


def test_a_scope_allows_what_it_says(guarded: Client, keys: Path, everything: str) -> None:
    scoped = {scope.value: add(keys, scope) for scope in Scope}
    Caller(guarded, everything).create("a")
    assert set(Caller(guarded, everything).codes("a").values()) == {"OK"}
    for scope, key in scoped.items():
        wait_until(lambda: _known(guarded, key))  # noqa: B023 - called at once
        codes = Caller(guarded, key).codes("a")
        assert codes.pop("describe") == "OK"
        assert {what for what, code in codes.items() if code == "OK"} == {scope}
        assert set(codes.values()) == {"OK", "PERMISSION_DENIED"}


def test_a_key_for_some_indexes_sees_no_others(
    guarded: Client, keys: Path, everything: str
) -> None:
    some = Caller(guarded, add(keys, indexes=["b", "d", "new", "never-made"]))
    for name in "abcde":
        Caller(guarded, everything).create(name)
    wait_until(lambda: code_of(some.names) == "OK")
    assert some.names() == ["b", "d"] == some.names(1) == some.names(2)
    assert Caller(guarded, everything).names(2) == ["a", "b", "c", "d", "e"]
    assert set(some.codes("b").values()) == {"OK"}
    # Whether there is an index of the name is not told.
    assert set(some.codes("a").values()) == {"PERMISSION_DENIED"}
    assert set(some.codes("x").values()) == {"PERMISSION_DENIED"}
    assert code_of(lambda: some.create("x")) == "PERMISSION_DENIED"
    from_collection = control.CreateIndexRequest(name="new", dimension=2, source_collection="c")
    assert code_of(lambda: some.control("CreateIndex", from_collection)) == "PERMISSION_DENIED"
    some.create("new")
    for name, code in (("new", "OK"), ("a", "PERMISSION_DENIED"), ("never-made", "NOT_FOUND")):
        for method, request in (
            ("WakeIndex", control.WakeIndexRequest(name=name)),
            ("SleepIndex", control.SleepIndexRequest(name=name)),
            ("DeleteIndex", control.DeleteIndexRequest(name=name)),
        ):
            assert code_of(lambda: some.control(method, request)) == code  # noqa: B023
    assert "new" not in Caller(guarded, everything).names()


def test_the_key_is_for_the_index_however_it_is_named(
    guarded: Client, keys: Path, everything: str
) -> None:
    for name in "ab":
        Caller(guarded, everything).create(name)
    key = add(keys, indexes=["b"])
    wait_until(lambda: _known(guarded, key))
    for name, code in (("b", "OK"), ("a", "PERMISSION_DENIED")):
        for named in ("torpor-index", "service-name"):
            metadata = [("api-key", key), (named, name)]
            assert _stats(guarded, "VectorService", metadata) == code
    both = [("api-key", key), ("torpor-index", "b"), ("service-name", "b")]
    assert _stats(guarded, "VectorService", both) == "OK"


def _stats(client: Client, service: str, metadata: list[tuple[str, str]], index: str = "") -> str:
    call = client.channel.unary_unary(
        f"/{service}/DescribeIndexStats",
        request_serializer=data.DescribeIndexStatsRequest.SerializeToString,
    )
    return code_of(lambda: call(data.DescribeIndexStatsRequest(index=index), metadata=metadata))


def test_service_name_is_a_name_for_clients_that_send_it_and_nobody_else(client: Client) -> None:
    for name in "ab":
        client.create(name)
    native, clients = "torpor.v1.DataService", "VectorService"
    assert _stats(client, clients, [("service-name", "a")]) == "OK"
    assert _stats(client, clients, [("service-name", "c")]) == "NOT_FOUND"
    assert _stats(client, clients, [("service-name", "")], "a") == "OK"
    assert _stats(client, clients, [("service-name", "a")], "a") == "OK"
    assert _stats(client, clients, [("service-name", "b")], "a") == "INVALID_ARGUMENT"
    metadata = [("service-name", "b"), ("torpor-index", "a")]
    assert _stats(client, clients, metadata) == "INVALID_ARGUMENT"
    assert _stats(client, native, metadata) == "OK"
    assert _stats(client, native, [("service-name", "a")]) == "INVALID_ARGUMENT"


def test_keys_come_and_go_while_the_server_runs(
    guarded: Client, keys: Path, everything: str
) -> None:
    key = add(keys)
    wait_until(lambda: _known(guarded, key))
    assert main(["key", "delete", key[7:15], "--keys-file", str(keys)]) == 0
    wait_until(lambda: not _known(guarded, key))
    keys.write_text("{")
    assert _known(guarded, everything)
    keys.unlink()
    assert _known(guarded, everything)


def _known(client: Client, key: str) -> bool:
    return code_of(Caller(client, key).names) != "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "Make the first key with `torpor key create"), ("{", "is not a file of keys")],
)
def test_a_server_without_its_keys_does_not_start(
    tmp_path: Path, keys: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        keys.write_text(content)
    status, said = _serve(tmp_path, "--listen", "127.0.0.1:0", "--keys-file", str(keys))
    assert status == 1 and reason in said and "Traceback" not in said


def test_a_server_without_keys_does_not_listen_to_others(tmp_path: Path) -> None:
    status, said = _serve(tmp_path, "--listen", "0.0.0.0:0")
    assert status == 2 and "torpor key create" in said and "insecure" in said


def _serve(folder: Path, *arguments: str) -> tuple[int, str]:
    """How a server ends that is not to start."""
    command = [sys.executable, "-P", "-m", "torpor", "serve", "--data", str(folder / "data")]
    ended = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    return ended.returncode, ended.stderr


def test_the_command_line_sends_the_key(
    guarded: Client,
    everything: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("TORPOR_SERVER", f"http://{guarded.server.address}")
    monkeypatch.delenv("TORPOR_API_KEY", raising=False)
    assert main(["index", "list"]) == 1
    assert capsys.readouterr().err.endswith("Give a key with --api-key or TORPOR_API_KEY.\n")
    assert main(["index", "create", "docs", "--dimension", "2", "--api-key", everything]) == 0
    monkeypatch.setenv("TORPOR_API_KEY", everything)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "values": [1, 2]}\n')
    assert main(["upsert", "docs", str(rows)]) == 0
    capsys.readouterr()
    assert main(["list", "docs"]) == 0
    assert capsys.readouterr().out == "a\n"


def test_health_checks_and_reflection_need_no_key(guarded: Client) -> None:
    health = guarded.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert health(b"") == b"\x08\x01"  # SERVING
    reflection = guarded.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    )
    services = next(iter(reflection(iter([b"\x3a\x00"]))))  # list_services
    assert b"torpor.v1.DataService" in services


def test_a_method_that_does_not_exist_says_so_without_a_key(guarded: Client) -> None:
    call = guarded.channel.unary_unary("/torpor.v1.DataService/Unheard")
    with pytest.raises(grpc.RpcError) as error:
        call(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
