"""What docs/access.md says to type can be typed, and leads to the addresses that it names."""

import re
import shlex
from pathlib import Path

import pytest

from router.addresses import addresses_of
from router.key_command import main
from router.settings import read_settings
from tests.unit.test_addresses import row

PAGE = (Path(__file__).parent.parent.parent / "docs" / "access.md").read_text()
BLOCKS = "".join(re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")


def commands(name: str) -> list[list[str]]:
    """The arguments of every `torpor NAME` on the page."""
    return [shlex.split(line) for line in re.findall(rf"torpor {name} (.*)", BLOCKS)]


SERVED = commands("serve")


@pytest.mark.parametrize("arguments", SERVED, ids=" ".join)
def test_a_server_can_be_started_as_the_page_says(arguments: list[str]) -> None:
    settings = read_settings(arguments, {})
    port = int(settings.listen.rpartition(":")[2])
    url = addresses_of(settings, port).url_of(row(7))
    if settings.domain:
        assert url == "https://docs-7.vectors.example.com" and url in PAGE
    elif settings.index_ports:
        assert url == "http://localhost:20006"
    else:
        assert url.removeprefix("https") == "://127.1.0.7:7700"


def test_the_first_address_on_the_page_is_the_default() -> None:
    assert addresses_of(read_settings([], {}), 7700).url_of(row(7)) in PAGE


def test_keys_are_made_listed_and_deleted_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    *others, delete = commands("key")
    for arguments in others:
        assert main(arguments, {}) == 0
    assert len(others) == 3 and "the web site" in capsys.readouterr().out
    # The id on the page is nobody's.
    assert main(delete, {}) == 1
    assert "There is no key '3f9c04aa'" in capsys.readouterr().err
