"""API keys: what is one, the file they are in, and the keys of a server whose file changes."""

import json
import logging
import multiprocessing
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from router.errors import Unauthenticated
from router.key_command import main
from router.keyring import Keyring
from router.keys import Key, Scope, id_of, new_key
from router.keys_file import BadKeysFile, change_keys, read_keys

ALL = tuple(Scope)


def add(path: Path, *scopes: Scope, indexes: list[str] | None = None, note: str = "") -> str:
    """A new key in the file."""
    made: list[str] = []

    def change(keys: list[Key]) -> list[Key]:
        key, text = new_key(scopes or ALL, indexes, note, keys)
        made.append(text)
        return [*keys, key]

    change_keys(path, change)
    return made[0]


def remove(path: Path, text: str) -> None:
    change_keys(path, lambda keys: [key for key in keys if key.id != id_of(text)])


class Clock:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


# One key


def test_a_key_is_its_own_text_and_no_other() -> None:
    key, text = new_key(ALL, None, "", ())
    _, other = new_key(ALL, None, "", ())
    assert key.matches(text) and id_of(text) == key.id
    changed = text[:-1] + ("0" if text[-1] != "0" else "1")
    for wrong in (other, changed, text.upper(), text + "0", text[:-1], key.id, "", "\udcff" * 80):
        assert not key.matches(wrong)


def test_two_keys_with_one_secret_have_different_hashes() -> None:
    key, text = new_key(ALL, None, "", ())
    assert not replace(key, salt=bytes(16)).matches(text)


def test_an_id_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = new_key(ALL, None, "", ())
    drawn = iter([first.id, "00000001", "0" * 64])
    monkeypatch.setattr("router.keys.secrets.token_hex", lambda _: next(drawn))
    assert new_key(ALL, None, "", [first])[0].id == "00000001"


def test_the_text_is_not_in_the_file(path: Path) -> None:
    text = add(path)
    assert text[-64:] not in path.read_text()


# The file


def test_keys_are_read_as_they_were_written(path: Path) -> None:
    text = add(path, Scope.READ, Scope.WRITE, indexes=["b", "a"], note='a "note"\n\u2028 ü')
    add(path)
    one, two = read_keys(path)
    assert one.matches(text) and not two.matches(text)
    assert one.scopes == {Scope.READ, Scope.WRITE} and one.indexes == frozenset("ab")
    assert one.note == 'a "note"\n\u2028 ü' and two.indexes is None
    assert one.is_for("a") and not one.is_for("c") and two.is_for("c")


def test_only_the_owner_can_read_the_file_and_nothing_lies_beside_it(path: Path) -> None:
    add(path)
    add(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["keys"]


def test_a_link_stays_one(path: Path) -> None:
    target = path.with_name("target")
    path.symlink_to(target)
    add(path)
    add(path)
    assert path.is_symlink() and len(read_keys(target)) == 2


def test_a_change_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.files.os.fsync", fail)
    with pytest.raises(BadKeysFile, match="No space left"):
        add(path)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["keys"]


def _add_many(path: Path, count: int) -> None:
    for _ in range(count):
        add(path)


def test_changes_by_several_processes_are_all_kept(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_add_many, args=(path, 20)) for _ in range(3)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
        one.close()
    assert len({key.id for key in read_keys(path)}) == 60


GOOD: dict[str, Any] = {
    "id": "00000001",
    "salt": "00" * 16,
    "hash": "00" * 32,
    "scopes": ["read"],
    "indexes": None,
    "created": "",
    "note": "",
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scopes": ["root"]}, "root"),
        ({"scopes": "read"}, "no list"),
        ({"indexes": "docs"}, "no list"),
        ({"indexes": [1]}, "no text"),
        ({"salt": "00"}, "16 bytes"),
        ({"hash": "zz"}, "hex"),
        ({"hash": None}, "no text"),
        ({"id": 1}, "no text"),
        ({"expires": "2027-01-01"}, "does not know expires"),
    ],
)
def test_a_key_that_is_not_understood_is_refused_with_its_line(
    path: Path, change: dict[str, object], reason: str
) -> None:
    good = json.dumps(GOOD)
    path.write_text(f'{{"torpor_keys": 1}}\n\n{good}\n{json.dumps({**GOOD, **change})}\n')
    with pytest.raises(BadKeysFile, match=f"line 4.*{reason}"):
        read_keys(path)


@pytest.mark.parametrize("field", GOOD)
def test_a_key_without_a_field_is_refused(path: Path, field: str) -> None:
    left = {name: value for name, value in GOOD.items() if name != field}
    path.write_text(f'{{"torpor_keys": 1}}\n{json.dumps(left)}\n')
    with pytest.raises(BadKeysFile, match=f"line 2.*it has no {field}"):
        read_keys(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin with"),
        (b"hello", "does not begin with"),
        (b"[1]", "does not begin with"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"torpor_keys": 2}\n', "format 2"),
        (b'{"torpor_keys": 1}\n{"id": ', "line 2"),
        (b'{"torpor_keys": 1}\n[]', "line 2"),
        (b'{"torpor_keys": 1}\n' + b"[" * 100_000, "line 2"),
        (b'{"torpor_keys": 1}\n' + 2 * (json.dumps(GOOD).encode() + b"\n"), "line 3.*id 00000001"),
    ],
)
def test_what_is_no_file_of_keys_is_refused(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BadKeysFile, match=reason):
        read_keys(path)
    with pytest.raises(BadKeysFile, match=reason):
        add(path)
    assert path.read_bytes() == content


# The keys of a running server


def test_a_ring_without_a_file_does_not_start(path: Path) -> None:
    with pytest.raises(BadKeysFile, match="torpor key create --keys-file"):
        Keyring(path)


def test_calls_without_a_key_and_with_a_wrong_one_are_told_apart(path: Path) -> None:
    text = add(path)
    ring = Keyring(path)
    assert ring.find(text).id == id_of(text)
    with pytest.raises(Unauthenticated, match="There is no API key"):
        ring.find("")
    for wrong in ("nonsense", text[:-1] + "g", text + " ", "torpor_" + "\N{SNOWMAN}" * 73):
        with pytest.raises(Unauthenticated, match="Invalid API key"):
            ring.find(wrong)


def test_the_file_is_read_again_when_it_has_changed(path: Path) -> None:
    clock = Clock()
    first = add(path)
    ring = Keyring(path, clock)
    second = add(path)
    remove(path, first)
    assert ring.find(first)  # not looked at again within a second
    clock.now += 1.0
    assert ring.find(second) and len(ring) == 1
    with pytest.raises(Unauthenticated):
        ring.find(first)


def test_a_change_in_place_is_seen(path: Path) -> None:
    clock = Clock()
    text = add(path)
    ring = Keyring(path, clock)
    path.write_text(path.read_text().replace("write", "admin"))
    clock.now += 1.0
    assert ring.find(text).scopes == {Scope.READ, Scope.ADMIN}


@pytest.mark.parametrize("how", ["gone", "broken", "unreadable"])
def test_a_broken_file_leaves_the_keys_as_they_were_and_is_told_once(
    path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    clock = Clock()
    text = add(path)
    good = path.read_bytes()
    ring = Keyring(path, clock)
    path.unlink()
    if how == "broken":
        path.write_text("{")
    elif how == "unreadable":
        path.mkdir()
    with caplog.at_level(logging.INFO, "torpor.keys"):
        for _ in range(3):
            clock.now += 1.0
            assert ring.find(text)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert str(path) in caplog.text
    if how == "unreadable":
        path.rmdir()
    path.write_bytes(good)
    remove(path, text)
    clock.now += 1.0
    with pytest.raises(Unauthenticated):
        ring.find(text)


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        status = main([*map(str, arguments)], {})
    except SystemExit as left:
        status = int(left.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_key_is_made_listed_and_deleted(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--keys-file", path)
    status, out, err = run(
        capsys,
        *("create", *where, "--scope", "write", "--scope", "read", "--index", "b", "--index", "a"),
        *("--note", "the crawler"),
    )
    text = out.removesuffix("\n")
    (key,) = read_keys(path)
    assert status == 0 and key.matches(text) and "once" in err
    assert key.scopes == {Scope.READ, Scope.WRITE} and key.indexes == frozenset("ab")

    assert run(capsys, "create", *where)[0] == 0
    status, out, _ = run(capsys, "list", *where)
    assert status == 0 and text not in out
    header, first, second = out.splitlines()
    assert header.split() == ["id", "created", "scopes", "indexes", "note"]
    assert first.split() == [key.id, key.created, "read,write", "a,b", "the", "crawler"]
    assert second.split()[2:] == ["read,write,admin", "all"]

    assert run(capsys, "delete", key.id, *where)[0] == 0
    assert [one.id for one in read_keys(path)] != [key.id] and len(read_keys(path)) == 1


def test_mistakes_at_the_command_change_nothing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--keys-file", path)
    assert "There is no file of keys" in run(capsys, "list", *where)[2]
    assert "There is no file of keys" in run(capsys, "delete", "x", *where)[2]
    assert "'Docs!'" in run(capsys, "create", *where, "--index", "Docs!")[2]
    assert run(capsys, "create", *where, "--scope", "all")[0] == 2
    assert "TORPOR_KEYS_FILE" in run(capsys, "list")[2]
    assert not path.exists()
    add(path)
    status, _, err = run(capsys, "delete", "x", *where)
    assert status == 1 and "There is no key 'x'" in err and len(read_keys(path)) == 1


def test_the_variable_names_the_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create"], {"TORPOR_KEYS_FILE": str(path)}) == 0
    assert read_keys(path)[0].matches(capsys.readouterr().out.strip())
