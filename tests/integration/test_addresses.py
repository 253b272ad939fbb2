"""An index is reached at its address by clients that name no index, over gRPC and REST."""

import http.client
import itertools
import json
import os
import resource
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from router.keys import Key, Scope, new_key
from router.keys_file import change_keys
from tests.integration.client import Client, code_of, wait_until
from tests.integration.conftest import Start
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

# Below the ports that systems give to outgoing connections; others' tests start elsewhere.
_PORTS = itertools.count(20_000 + os.getpid() % 100 * 100, 10)
DOMAIN = "vectors.test"


def free_ports(count: int) -> str:
    """A range of ports that nobody listens on now."""
    for first in _PORTS:
        if all(_is_free(port) for port in range(first, first + count)):
            return f"{first}-{first + count - 1}"
    raise AssertionError


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def port_of(client: Client) -> int:
    return int(client.server.address.rpartition(":")[2])


def host_of(client: Client, name: str) -> str:
    """The index's address without its scheme."""
    scheme, _, host = client.describe(name).host.partition("://")
    assert scheme == "http"
    return host


def stats(address: str, authority: str = "", index: str = "", **metadata: str) -> str:
    """How a call to an address ends; OK with how many vectors the index has."""
    options = [("grpc.default_authority", authority)] if authority else []
    request = data.DescribeIndexStatsRequest(index=index)
    with grpc.insecure_channel(address, options) as channel:
        call = channel.unary_unary(
            "/VectorService/DescribeIndexStats",
            request_serializer=data.DescribeIndexStatsRequest.SerializeToString,
            response_deserializer=data.DescribeIndexStatsResponse.FromString,
        )
        pairs = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        try:
            return f"OK {call(request, metadata=pairs).total_vector_count}"
        except grpc.RpcError as error:
            return str(error.code().name)


def rest(address: str, path: str, host: str = "", key: str = "") -> tuple[int, Any]:
    """The status and the body of a POST, or of a GET of the control plane."""
    name, _, port = address.rpartition(":")
    headers = {"Host": host or address, "Api-Key": key, "X-Pinecone-Api-Version": "2025-10"}
    method, body = ("GET", None) if path.startswith("/indexes") else ("POST", "{}")
    with closing(http.client.HTTPConnection(name, int(port), timeout=20)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def counted(address: str, host: str = "") -> int:
    """How many vectors the index at an address has, over REST."""
    status, body = rest(address, "/describe_index_stats", host)
    assert status == 200, body
    count: int = body["totalVectorCount"]
    return count


def create_two(client: Client) -> None:
    """Index "a" with one vector, index "b" with two."""
    for number, name in enumerate("ab", 1):
        client.create(name, dimension=2)
        client.upsert(name, [[1, 2]] * number)


def restarted(start: Start, client: Client, *arguments: str) -> Client:
    """The server again, on the port that it had."""
    port = port_of(client)
    client.server.stop()
    return start("--listen", f"127.0.0.1:{port}", *arguments)


# An address for each


def test_each_index_answers_at_an_address_of_its_own(client: Client) -> None:
    create_two(client)
    for name, count in (("a", 1), ("b", 2)):
        host = host_of(client, name)
        assert host.startswith("127.1.0.") and host.endswith(f":{port_of(client)}")
        assert stats(host) == f"OK {count}"
        assert counted(host) == count
    assert stats(client.server.address) == "INVALID_ARGUMENT"
    assert rest(client.server.address, "/describe_index_stats")[0] == 400
    assert stats(f"127.0.0.9:{port_of(client)}", index="b") == "OK 2"


def test_an_address_stays_through_sleep_and_restart(start: Start) -> None:
    client = start("--idle-seconds", "600")
    create_two(client)
    hosts = {name: host_of(client, name) for name in "ab"}
    client.wake("a")
    client.sleep("a")
    assert stats(hosts["a"]) == "OK 1"
    client = restarted(start, client)
    assert {name: host_of(client, name) for name in "ab"} == hosts
    assert (stats(hosts["a"]), stats(hosts["b"])) == ("OK 1", "OK 2")


def test_the_address_of_a_deleted_index_is_nobodys(start: Start) -> None:
    client = start()
    create_two(client)
    old = host_of(client, "b")
    client.control.DeleteIndex(control.DeleteIndexRequest(name="b"))
    assert stats(old) == "NOT_FOUND"
    assert rest(old, "/describe_index_stats")[0] == 404
    client.create("b", dimension=2)
    client.create("c", dimension=2)
    client = restarted(start, client)
    client.create("d", dimension=2)
    assert len({old, *(host_of(client, name) for name in "abcd")}) == 5
    assert stats(old) == "NOT_FOUND"
    assert stats(host_of(client, "b")) == "OK 0"


def test_address_metadata_and_field_must_name_one_index(client: Client) -> None:
    create_two(client)
    host = host_of(client, "a")
    assert stats(host, index="a", torpor_index="a", service_name="a") == "OK 1"
    assert stats(host, service_name="") == "OK 1"
    for other in (
        {"index": "b"},
        {"torpor_index": "b"},
        {"service_name": "b"},
        {"index": "a", "torpor_index": "b"},
    ):
        assert stats(host, **other) == "INVALID_ARGUMENT"
    assert stats(client.server.address, index="a", torpor_index="b") == "INVALID_ARGUMENT"


def test_the_control_plane_answers_at_every_address(client: Client) -> None:
    client.create("a", dimension=2)
    for address in (client.server.address, host_of(client, "a")):
        status, body = rest(address, "/indexes/a")
        assert status == 200 and body["host"] == f"http://{host_of(client, 'a')}"


# A port for each


def test_each_index_answers_at_a_port_of_its_own(start: Start) -> None:
    ports = free_ports(3)
    first = int(ports.partition("-")[0])
    client = start("--index-ports", ports)
    create_two(client)
    assert host_of(client, "a") == f"127.0.0.1:{first}"
    assert host_of(client, "b") == f"127.0.0.1:{first + 1}"
    assert not _is_free(first) and not _is_free(first + 1) and _is_free(first + 2)
    for name, count in (("a", 1), ("b", 2)):
        assert stats(host_of(client, name)) == f"OK {count}"
        assert counted(host_of(client, name)) == count
    assert stats(host_of(client, "a"), index="b") == "INVALID_ARGUMENT"
    assert stats(client.server.address, index="b") == "OK 2"

    client = restarted(start, client, "--index-ports", ports, "--advertise-host", "localhost")
    assert host_of(client, "b") == f"localhost:{first + 1}"
    assert stats(host_of(client, "b")) == "OK 2"


def test_a_server_takes_all_the_descriptors_that_the_system_allows(start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1_024, hard), hard))
    try:
        client = start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = Path(f"/proc/{client.server.process.pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3] == line.split()[4]


def test_the_port_of_a_deleted_index_is_let_go(start: Start) -> None:
    ports = free_ports(3)
    client = start("--index-ports", ports)
    create_two(client)
    host = host_of(client, "a")
    with grpc.insecure_channel(host) as channel:
        call = channel.unary_unary("/VectorService/DescribeIndexStats")
        call(b"")
        client.control.DeleteIndex(control.DeleteIndexRequest(name="a"))
        # A connection that is there stays, and finds nothing.
        assert code_of(lambda: call(b"")) in {"NOT_FOUND", "UNAVAILABLE"}
    wait_until(lambda: _is_free(int(host.rpartition(":")[2])))
    client.create("a", dimension=2)
    assert host_of(client, "a") != host
    restarted(start, client, "--index-ports", ports)
    assert _is_free(int(host.rpartition(":")[2]))


def test_a_range_that_is_used_up_is_told_and_can_grow(start: Start) -> None:
    first = int(free_ports(4).partition("-")[0])
    client = start("--index-ports", f"{first}-{first + 1}")
    create_two(client)
    client.control.DeleteIndex(control.DeleteIndexRequest(name="a"))
    with pytest.raises(grpc.RpcError) as failed:
        client.create("c", dimension=2)
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "All 2 addresses" in str(failed.value.details())
    assert code_of(lambda: client.describe("c")) == "NOT_FOUND"
    client = restarted(start, client, "--index-ports", f"{first}-{first + 3}")
    client.create("c", dimension=2)
    assert stats(host_of(client, "c")) == "OK 0"
    assert stats(host_of(client, "b")) == "OK 2"


def test_a_new_index_whose_port_is_taken_is_not_created_and_the_next_gets_another(
    start: Start, tmp_path: Path
) -> None:
    ports = free_ports(3)
    first = int(ports.partition("-")[0])
    client = start("--index-ports", ports)
    with closing(socket.create_server(("127.0.0.1", first))):
        with pytest.raises(grpc.RpcError) as failed:
            client.create("a", dimension=2)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert f":{first}" in str(failed.value.details())
        assert not client.control.ListIndexes(control.ListIndexesRequest()).indexes
        wait_until(lambda: not list((tmp_path / "data" / "local" / "default").iterdir()))
        client.create("a", dimension=2)
    assert host_of(client, "a") == f"127.0.0.1:{first + 1}"


def test_a_server_that_cannot_have_an_indexes_port_does_not_start(
    start: Start, tmp_path: Path
) -> None:
    ports = free_ports(3)
    first = int(ports.partition("-")[0])
    client = start("--index-ports", ports)
    create_two(client)
    client.server.stop()
    with closing(socket.create_server(("127.0.0.1", first + 1))):
        assert f"Cannot listen on 127.0.0.1:{first + 1}" in refusal(tmp_path, ports)
    assert "'b' has the number 2" in refusal(tmp_path, f"{first}-{first}")
    assert "outgoing connections" in refusal(tmp_path, "32000-33000")


def refusal(folder: Path, ports: str) -> str:
    """What a server says that does not start."""
    command = [sys.executable, "-P", "-m", "torpor", "serve", "--data", str(folder / "data")]
    ended = subprocess.run(
        [*command, "--listen", "127.0.0.1:0", "--index-ports", ports],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr, ended.stderr
    return ended.stderr


# A name for each


def test_each_index_answers_to_a_name_of_its_own(start: Start) -> None:
    client = start("--domain", f"http://{DOMAIN}")
    create_two(client)
    address = client.server.address
    for number, name in enumerate("ab", 1):
        host = host_of(client, name)
        assert host == f"{name}-{number}.{DOMAIN}:{port_of(client)}"
        for authority in (host, host.upper(), host.partition(":")[0]):
            assert stats(address, authority) == f"OK {number}"
            assert counted(address, authority) == number
    for authority in (DOMAIN, "elsewhere.test", address):
        assert stats(address, authority) == "INVALID_ARGUMENT"
        assert stats(address, authority, index="b") == "OK 2"
        assert rest(address, "/indexes/a", authority)[0] == 200
    for label in ("a-2", "c-3", "a", "x.a-1"):
        assert stats(address, f"{label}.{DOMAIN}") == "NOT_FOUND"
        assert rest(address, "/describe_index_stats", f"{label}.{DOMAIN}")[0] == 404
    assert stats(address, f"a-1.{DOMAIN}", index="b") == "INVALID_ARGUMENT"


def test_behind_a_proxy_clients_are_told_its_scheme_and_port(start: Start) -> None:
    client = start("--domain", DOMAIN)
    create_two(client)
    assert client.describe("b").host == f"https://b-2.{DOMAIN}"
    assert stats(client.server.address, f"b-2.{DOMAIN}") == "OK 2"


# Keys


def keys_in(path: Path, **indexes: list[str] | None) -> dict[str, str]:
    """A file with a key for each of some lists of indexes."""
    made: dict[str, str] = {}

    def change(keys: list[Key]) -> list[Key]:
        changed = list(keys)
        for name, some in indexes.items():
            key, made[name] = new_key(Scope, some, "", changed)
            changed.append(key)
        return changed

    change_keys(path, change)
    return made


def test_keys_are_checked_on_the_index_that_the_address_is_of(start: Start, tmp_path: Path) -> None:
    keys = keys_in(tmp_path / "keys", every=None, b=["b"])
    client = start("--keys-file", str(tmp_path / "keys"))
    for name in "ab":
        request = control.CreateIndexRequest(name=name, dimension=2)
        client.control.CreateIndex(request, metadata=[("api-key", keys["every"])])
    a, b = (f"127.1.0.{number}:{port_of(client)}" for number in (1, 2))
    assert stats(a, api_key=keys["every"]) == "OK 0"
    assert stats(b, api_key=keys["b"]) == "OK 0"
    assert stats(a, api_key=keys["b"]) == "PERMISSION_DENIED"
    assert stats(a, index="b", api_key=keys["b"]) == "PERMISSION_DENIED"
    assert stats(a) == "UNAUTHENTICATED"
    assert stats(f"127.1.0.3:{port_of(client)}") == "UNAUTHENTICATED"
    assert rest(a, "/describe_index_stats", key=keys["every"])[0] == 200
    assert rest(a, "/describe_index_stats", key=keys["b"])[0] == 403
    assert rest(a, "/describe_index_stats")[0] == 401
    status, body = rest(client.server.address, "/indexes", key=keys["b"])
    assert status == 200 and [one["name"] for one in body["indexes"]] == ["b"]
    status, body = rest(client.server.address, "/indexes/a", key=keys["b"])
    assert status == 403 and body["error"]["code"] == "FORBIDDEN"
    status, body = rest(client.server.address, "/indexes", key="wrong")
    assert status == 401 and body["error"]["code"] == "UNAUTHENTICATED"
