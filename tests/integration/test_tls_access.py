"""A server with a certificate: its addresses, its keys, and the command line that talks to it."""

import http.client
import json
import ssl
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from router.keys import Scope, new_key
from router.keys_file import change_keys
from tests.integration.certificates import Certificate
from tests.integration.client import code_of
from torpor.__main__ import main
from torpor.local import LocalServer
from torpor.v1 import control_pb2, control_pb2_grpc, data_pb2, data_pb2_grpc

DOMAIN = "vectors.test"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def own(folder: Path) -> Certificate:
    """The server's certificate: for its domain, and for two addresses of this machine."""
    subjects = (f"DNS:*.{DOMAIN}", f"DNS:{DOMAIN}", "IP:127.0.0.1", "IP:127.1.0.1")
    return Certificate.make(folder, "server", *subjects)


@pytest.fixture(scope="module")
def clients(folder: Path) -> Certificate:
    return Certificate.make(folder, "client", "DNS:client.test")


@pytest.fixture
def key(tmp_path: Path) -> str:
    """The one key of every server here."""
    made, text = new_key(Scope, None, "", ())
    change_keys(tmp_path / "keys", lambda _: [made])
    return text


def serve(tmp_path: Path, own: Certificate, *arguments: str) -> LocalServer:
    given = ["--tls-certificate", str(own.path), "--tls-key", str(own.key)]
    given += ["--keys-file", str(tmp_path / "keys"), *arguments]
    return LocalServer(tmp_path / "data", given, tmp_path / "log")


def channel(own: Certificate, address: str, name: str = "") -> grpc.Channel:
    """A channel that trusts the server alone; `name` is the host that it asks for."""
    credentials = grpc.ssl_channel_credentials(own.path.read_bytes())
    options = [("grpc.ssl_target_name_override", name)] if name else []
    return grpc.secure_channel(address, credentials, options)


def create(own: Certificate, server: LocalServer, key: str, name: str) -> control_pb2.Index:
    with channel(own, server.address) as secure:
        return (
            control_pb2_grpc.ControlServiceStub(secure)
            .CreateIndex(
                control_pb2.CreateIndexRequest(name=name, dimension=2),
                metadata=[("api-key", key)],
            )
            .index
        )


def stats(secure: grpc.Channel, key: str = "") -> str:
    """How a call that names no index ends."""
    stub = data_pb2_grpc.DataServiceStub(secure)
    metadata = [("api-key", key)] if key else []
    request = data_pb2.DescribeIndexStatsRequest()
    with secure:
        return code_of(lambda: stub.DescribeIndexStats(request, metadata=metadata))


def test_the_names_of_a_domain_are_reached_over_tls(
    tmp_path: Path, own: Certificate, key: str
) -> None:
    with serve(tmp_path, own, "--domain", DOMAIN) as server:
        port = server.address.rpartition(":")[2]
        assert create(own, server, key, "a").host == f"https://a-1.{DOMAIN}:{port}"
        name = f"a-1.{DOMAIN}"
        assert stats(channel(own, server.address, name), key) == "OK"
        assert stats(channel(own, server.address, name)) == "UNAUTHENTICATED"
        assert stats(channel(own, server.address, f"b-2.{DOMAIN}"), key) == "NOT_FOUND"
        assert stats(channel(own, server.address), key) == "INVALID_ARGUMENT"
        context = ssl.create_default_context(cafile=str(own.path))
        with closing(
            http.client.HTTPSConnection("127.0.0.1", int(port), context=context)
        ) as connection:
            headers = {"Host": name, "Api-Key": key}
            connection.request("POST", "/describe_index_stats", "{}", headers)
            answer = connection.getresponse()
            assert answer.status == 200 and json.loads(answer.read())["dimension"] == 2


def test_addresses_of_this_machine_are_reached_over_tls(
    tmp_path: Path, own: Certificate, key: str
) -> None:
    with serve(tmp_path, own) as server:
        host = create(own, server, key, "a").host
        assert host.startswith("https://127.1.0.1:")
        assert stats(channel(own, host.removeprefix("https://")), key) == "OK"


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit status of `torpor index list`, and the last line that it says."""
    capsys.readouterr()
    status = main(["index", "list", "--timeout", "10", *map(str, arguments)])
    said = capsys.readouterr()
    return status, (said.out + said.err).strip().splitlines()[-1]


def test_the_command_line_talks_tls_and_says_what_is_amiss(
    tmp_path: Path,
    own: Certificate,
    clients: Certificate,
    key: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORPOR_API_KEY", key)
    with serve(tmp_path, own) as server:
        create(own, server, key, "a")
        trusted = ("--server", f"https://{server.address}", "--ca", own.path)
        status, line = ask(capsys, *trusted)
        assert status == 0 and line.startswith("1 index in ")
        for arguments, reason in (
            (("--server", f"https://{server.address}"), "nobody trusted here has signed"),
            ((*trusted[:3], clients.path), "nobody trusted here has signed"),
            (("--server", server.address), "It may want TLS"),
        ):
            status, line = ask(capsys, *arguments)
            assert status == 1 and reason in line, line
    with LocalServer(tmp_path / "plain") as plain:
        status, line = ask(capsys, "--server", plain.address, "--tls")
        assert status == 1 and "does not speak TLS" in line, line


def test_the_command_line_shows_a_certificate_of_its_own(
    tmp_path: Path,
    own: Certificate,
    clients: Certificate,
    key: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORPOR_API_KEY", key)
    with serve(tmp_path, own, "--tls-client-ca", str(clients.path)) as server:
        trusted = ("--server", f"https://{server.address}", "--ca", own.path)
        status, line = ask(
            capsys, *trusted, "--client-certificate", clients.path, "--client-key", clients.key
        )
        assert status == 0 and line.startswith("0 indexes in ")
        assert ask(capsys, *trusted)[0] == 1
        status, line = ask(
            capsys, *trusted, "--client-certificate", own.path, "--client-key", own.key
        )
        assert status == 1


def test_a_server_whose_certificate_is_none_does_not_start(
    tmp_path: Path, own: Certificate, clients: Certificate, key: str
) -> None:
    mixed = Certificate(own.path, clients.key)
    with pytest.raises(RuntimeError, match=r"(?s)status 1.*Cannot use .*server\.pem"):
        serve(tmp_path, mixed)
