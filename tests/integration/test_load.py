"""The load generator, against a server with a certificate and keys."""

import json
from pathlib import Path

import pytest

from bench import load
from bench.errors import BenchError
from router.keys import Scope, new_key
from router.keys_file import change_keys
from tests.integration.certificates import Certificate
from torpor.cli.endpoint import endpoint_of
from torpor.local import LocalServer
from torpor.v1 import control_pb2, control_pb2_grpc


def test_load_is_put_on_a_server_with_tls_and_keys_and_refused_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Certificate.make(tmp_path, "server", "DNS:localhost", "IP:127.0.0.1")
    made, key = new_key(Scope, None, "", ())
    change_keys(tmp_path / "keys", lambda _: [made])
    given = ["--tls-certificate", str(own.path), "--tls-key", str(own.key)]
    given += ["--keys-file", str(tmp_path / "keys"), "--idle-seconds", "600"]
    with LocalServer(tmp_path / "data", given, tmp_path / "log") as server:
        target = ["--target", server.address, "--ca", str(own.path), "--index", "a"]
        shape = ["--dimension", "4", "--seconds", "0.5", "--upserts", "30"]
        options = load.parse([*target, "--api-key", key, *shape, "--rate", "1"])
        with endpoint_of(options).channel() as channel:
            control_pb2_grpc.ControlServiceStub(channel).CreateIndex(
                control_pb2.CreateIndexRequest(name="a", dimension=4), metadata=[("api-key", key)]
            )
        for how in (["--rate", "60"], ["--in-flight", "3"]):
            output = ["--output", str(tmp_path / "record.json")]
            assert load.main([*target, "--api-key", key, *shape, *how, *output]) == 0
            record = json.loads((tmp_path / "record.json").read_text())
            assert record["figures"]["requests that failed"] == 0
            assert {"Query: client ms", "Upsert: client ms"} <= record["samples"].keys()
        with pytest.raises(BenchError, match="UNAUTHENTICATED"):
            load.main([*target, "--api-key", "wrong", *shape, "--rate", "10"])
        wrong = ["--dimension", "5", "--seconds", "0.2", "--rate", "20"]
        assert load.main([*target, "--api-key", key, *wrong]) == 1
        assert "INVALID_ARGUMENT" in capsys.readouterr().err
