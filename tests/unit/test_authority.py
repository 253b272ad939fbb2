"""Hosts, ports and domains as settings and clients write them."""

import pytest

from router.authority import (
    Domain,
    is_any,
    is_loopback,
    join_authority,
    parse_domain,
    parse_ports,
    split_authority,
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.example:7700", ("a.example", "7700")),
        ("a.example", ("a.example", "")),
        ("127.0.0.1:1", ("127.0.0.1", "1")),
        ("[::1]:7700", ("::1", "7700")),
        ("[::1]", ("::1", "")),
        ("", ("", "")),
    ],
)
def test_an_authority_is_taken_apart(text: str, parts: tuple[str, str]) -> None:
    assert split_authority(text) == parts


@pytest.mark.parametrize("host", ["a.example", "127.0.0.1", "::1"])
def test_what_is_put_together_comes_apart(host: str) -> None:
    assert split_authority(join_authority(host, 7700)) == (host, "7700")


@pytest.mark.parametrize(
    ("host", "loopback", "everything"),
    [
        ("127.0.0.1", True, False),
        ("127.9.8.7", True, False),
        ("::1", True, False),
        ("localhost", True, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("192.168.1.2", False, False),
        ("localhost.example", False, False),
    ],
)
def test_what_only_this_machine_reaches(host: str, loopback: bool, everything: bool) -> None:
    assert (is_loopback(host), is_any(host)) == (loopback, everything)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("v.example.com", Domain(None, "v.example.com", None)),
        ("V.Example.com:8443", Domain(None, "v.example.com", 8443)),
        ("http://v.example.com", Domain("http", "v.example.com", None)),
        ("https://v:443", Domain("https", "v", 443)),
        ("ftp://v.example.com", None),
        ("v.example.com/", None),
        ("-v.example.com", None),
        ("v..example.com", None),
        ("v.example.com:0", None),
        ("v.example.com:65536", None),
        ("*.example.com", None),
        ("", None),
    ],
)
def test_domains(text: str, domain: Domain | None) -> None:
    assert parse_domain(text) == domain


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("20000-29999", range(20_000, 30_000)),
        ("1-1", range(1, 2)),
        ("2-1", None),
        ("0-1", None),
        ("1-65536", None),
        ("20000", None),
        ("a-b", None),
        ("-1-2", None),
    ],
)
def test_ranges_of_ports(text: str, ports: range | None) -> None:
    assert parse_ports(text) == ports
