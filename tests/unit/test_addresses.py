"""An index's address comes back as the index, and as no other."""

from pathlib import Path

import pytest

from router.addresses import (
    Addresses,
    DomainAddresses,
    LoopbackAddresses,
    PortAddresses,
    addresses_of,
    check_hosts,
    check_ports,
)
from router.authority import Domain, split_authority
from router.call import Call
from router.errors import CannotListen, NotFound
from router.index import Index
from router.settings import Settings
from storage.index_row import Costs, IndexRow

PORT = 7700
DOMAIN = DomainAddresses(Domain(None, "v.example", None), PORT, tls=True)


def row(number: int, name: str = "docs") -> IndexRow:
    return IndexRow(
        *("", name, 4, "cosine", "local", "default"),
        *(False, {}, None, 0, Costs()),
        host_number=number,
    )


class Hosts:
    """Indexes by their host number."""

    def __init__(self, *rows: IndexRow) -> None:
        self.indexes = {one.host_number: Index(one, Costs()) for one in rows}

    def find(self, number: int) -> Index:
        if number not in self.indexes:
            raise NotFound("gone")
        return self.indexes[number]


def call_to(addresses: Addresses, one: IndexRow) -> Call:
    """A call by a client that was told the index's address, as a front sees it."""
    host, port = split_authority(addresses.host_of(one))
    if isinstance(addresses, DomainAddresses):
        return Call(authority=addresses.host_of(one), local=("10.0.0.1", PORT))
    return Call(authority=addresses.host_of(one), local=(host, int(port)))


WAYS: dict[str, Addresses] = {
    "loopback": LoopbackAddresses(PORT, "http"),
    "ports": PortAddresses(range(20_000, 30_000), "10.0.0.1", "http"),
    "domain": DOMAIN,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [1, 2, 255, 256, 10_000])
def test_a_call_to_an_indexes_address_is_for_that_index(way: str, number: int) -> None:
    addresses = WAYS[way]
    hosts = Hosts(row(number), row(number + 1))
    found = addresses.find(call_to(addresses, row(number)), hosts.find)
    assert found is hosts.indexes[number]


@pytest.mark.parametrize("way", WAYS)
def test_the_address_of_a_deleted_index_is_not_found(way: str) -> None:
    addresses = WAYS[way]
    with pytest.raises(NotFound):
        addresses.find(call_to(addresses, row(7)), Hosts(row(8)).find)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("local", [("127.0.0.1", PORT), ("10.0.0.1", PORT), ("::1", PORT), ("", 0)])
@pytest.mark.parametrize(
    "authority", ["", "127.0.0.1:7700", "v.example", "V.EXAMPLE.:1", "[::1]:7"]
)
def test_other_addresses_are_the_servers_own(
    way: str, local: tuple[str, int], authority: str
) -> None:
    assert WAYS[way].find(Call(authority=authority, local=local), Hosts().find) is None


@pytest.mark.parametrize("way", WAYS)
def test_the_last_number_has_an_address_and_addresses_differ(way: str) -> None:
    addresses = WAYS[way]
    numbers = [1, 2, addresses.hosts_max - 1, addresses.hosts_max]
    hosts = [addresses.host_of(row(number)) for number in numbers]
    assert len(set(hosts)) == 4
    last = row(addresses.hosts_max)
    assert addresses.find(call_to(addresses, last), Hosts(last).find) is not None


@pytest.mark.parametrize(
    ("addresses", "number", "url"),
    [
        (LoopbackAddresses(PORT, "http"), 1, "http://127.1.0.1:7700"),
        (LoopbackAddresses(PORT, "https"), 256, "https://127.1.1.0:7700"),
        (PortAddresses(range(20_000, 20_010), "10.0.0.1", "http"), 1, "http://10.0.0.1:20000"),
        (PortAddresses(range(20_000, 20_010), "::1", "https"), 10, "https://[::1]:20009"),
        (DOMAIN, 3, "https://docs-3.v.example:7700"),
        (DomainAddresses(Domain(None, "v", None), 443, tls=True), 3, "https://docs-3.v"),
        (DomainAddresses(Domain(None, "v", 8443), PORT, tls=True), 3, "https://docs-3.v:8443"),
        # Behind a proxy.
        (DomainAddresses(Domain(None, "v", None), PORT, tls=False), 3, "https://docs-3.v"),
        (DomainAddresses(Domain("https", "v", 99), PORT, tls=False), 3, "https://docs-3.v:99"),
        # Without any TLS.
        (DomainAddresses(Domain("http", "v", None), PORT, tls=False), 3, "http://docs-3.v:7700"),
        (DomainAddresses(Domain("http", "v", 80), PORT, tls=False), 3, "http://docs-3.v:80"),
    ],
)
def test_what_clients_are_told(addresses: Addresses, number: int, url: str) -> None:
    assert addresses.url_of(row(number)) == url
    assert addresses.host_of(row(number)) == url.partition("://")[2]


def test_loopback_addresses_come_mapped_from_a_socket_of_ipv6() -> None:
    hosts = Hosts(row(7))
    call = Call(local=("::ffff:127.1.0.7", PORT))
    assert LoopbackAddresses(PORT, "http").find(call, hosts.find) is hosts.indexes[7]


@pytest.mark.parametrize(
    "authority",
    ["docs-7.v.example", "DOCS-7.V.Example:443", "docs-7.v.example.", "docs-7.v.example.:443"],
)
def test_a_name_is_found_however_it_is_spelled(authority: str) -> None:
    hosts = Hosts(row(7))
    assert DOMAIN.find(Call(authority=authority), hosts.find) is hosts.indexes[7]


@pytest.mark.parametrize(
    "label",
    [
        *("docs", "docs-", "docs-8", "docs-07", "shop-7", "-7", "7", "a.docs-7", "docs-7-"),
        *("docs--7", "docs-٧", "docs-" + "9" * 400, ""),
    ],
)
def test_a_label_that_is_no_indexes_is_not_found(label: str) -> None:
    with pytest.raises(NotFound):
        DOMAIN.find(Call(authority=f"{label}.v.example"), Hosts(row(7)).find)


def test_the_longest_label_fits_into_dns() -> None:
    label = DOMAIN.host_of(row(DOMAIN.hosts_max, "a" * 45)).partition(".")[0]
    assert len(label) == 63


def test_settings_choose_the_way() -> None:
    assert addresses_of(Settings(), 5).url_of(row(1)) == "http://127.1.0.1:5"
    secure = Settings(tls_certificate="c", tls_key="k")
    assert addresses_of(secure, 5).url_of(row(1)) == "https://127.1.0.1:5"
    ports = Settings(index_ports="20000-20009")
    assert addresses_of(ports, 5).url_of(row(1)) == "http://127.0.0.1:20000"
    told = Settings(index_ports="20000-20009", advertise_host="me.example")
    assert addresses_of(told, 5).url_of(row(1)) == "http://me.example:20000"
    assert addresses_of(Settings(domain="v"), 5).url_of(row(1)) == "https://docs-1.v"


def test_an_index_beyond_the_ports_is_told_at_the_start() -> None:
    addresses = PortAddresses(range(20_000, 20_002), "a", "http")
    check_hosts([row(2)], addresses)
    with pytest.raises(CannotListen, match="'shop' has the number 3"):
        check_hosts([row(2), row(3, "shop")], addresses)


@pytest.mark.parametrize(
    "ports", [range(30_000, 32_769), range(60_999, 61_100), range(40_000, 40_001)]
)
def test_ports_that_the_system_gives_away_are_refused(tmp_path: Path, ports: range) -> None:
    ephemeral = tmp_path / "ip_local_port_range"
    ephemeral.write_text("32768\t60999\n")
    with pytest.raises(CannotListen, match="below 32768 or above 60999"):
        check_ports(ports, ephemeral)
    check_ports(range(32_767, 32_768), ephemeral)
    check_ports(range(61_000, 61_001), ephemeral)
