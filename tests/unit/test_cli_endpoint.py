"""Which server a command talks to, from its options and from variables."""

import argparse
from pathlib import Path

import pytest

from torpor.cli.endpoint import Endpoint, add_endpoint, endpoint_of
from torpor.cli.errors import CommandError, UsageError

VARIABLES = (
    *("TORPOR_SERVER", "TORPOR_API_KEY", "TORPOR_CA"),
    *("TORPOR_CLIENT_CERTIFICATE", "TORPOR_CLIENT_KEY"),
)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def endpoint(*arguments: str) -> Endpoint:
    parser = argparse.ArgumentParser()
    add_endpoint(parser.add_argument_group())
    return endpoint_of(parser.parse_args(arguments))


def test_the_default_is_a_server_on_this_machine() -> None:
    assert endpoint() == Endpoint("127.0.0.1:7700")
    assert endpoint().metadata == ()


@pytest.mark.parametrize(
    ("arguments", "address", "tls"),
    [
        (["--server", "a.example:1"], "a.example:1", False),
        (["--server", "http://a.example:1"], "a.example:1", False),
        (["--server", "http://a.example"], "a.example:80", False),
        (["--server", "https://a.example"], "a.example:443", True),
        (["--server", "https://a.example:1/"], "a.example:1", True),
        (["--server", "[::1]:1"], "[::1]:1", False),
        (["--server", "https://[::1]"], "[::1]:443", True),
        (["--server", "a.example:1", "--tls"], "a.example:1", True),
        (["--server", "a.example:1", "--ca", "ca.pem"], "a.example:1", True),
    ],
)
def test_a_server_is_named_with_or_without_a_scheme(
    arguments: list[str], address: str, tls: bool
) -> None:
    found = endpoint(*arguments)
    assert (found.address, found.tls) == (address, tls)


def test_variables_stand_for_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ("https://a:1", "k", "ca", "c", "p"), strict=True):
        monkeypatch.setenv(name, value)
    assert endpoint() == Endpoint("a:1", True, "k", "ca", "c", "p")
    assert endpoint("--server", "b:2", "--api-key", "other").api_key == "other"
    assert endpoint().metadata == (("api-key", "k"),)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--server", "a.example"], "has no port"),
        (["--server", ""], "neither HOST:PORT nor a URL"),
        (["--server", "ftp://a:1"], "neither HOST:PORT nor a URL"),
        (["--server", "https://a/path"], "neither HOST:PORT nor a URL"),
        (["--server", "https://user@a"], "neither HOST:PORT nor a URL"),
        (["--server", "::1:7700"], "neither HOST:PORT nor a URL"),
        (["--server", "http://a:1", "--tls"], "without TLS"),
        (["--client-certificate", "c"], "belong together"),
        (["--client-key", "c"], "belong together"),
        (["--api-key", "a\nb"], "characters that no key has"),
        (["--api-key", "ключ"], "characters that no key has"),
    ],
)
def test_options_that_contradict_each_other_are_told(arguments: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        endpoint(*arguments)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_that_is_no_certificate_is_told(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CommandError, match=r"cannot use .*ca\.pem for TLS"):
        endpoint("--server", "https://a:1", "--ca", str(file)).channel()
    given = ("--client-certificate", str(file), "--client-key", str(file))
    with pytest.raises(CommandError, match=r"cannot use .*ca\.pem or .*ca\.pem for TLS"):
        endpoint("--server", "https://a:1", *given).channel()
