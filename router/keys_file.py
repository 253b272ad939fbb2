"""The file of API keys: lines of JSON, which people may read and programs may grep.

    {"torpor_keys": 1}
    {"id": "3f9c04aa", "salt": "<16 bytes>", "hash": "<32 bytes>", "scopes": ["read", "write"],
     "indexes": ["docs"], "created": "2026-11-25T16:00:00Z", "note": "the crawler"}

The first line is the format's version; a newer one is refused. Then one key a line, its bytes in
hexadecimal. `indexes` is null for a key that is for all of them. `hash` is the salted BLAKE2b of the
key, which itself is nowhere. A field that this release does not know is refused: it may restrict the
key.

The file is replaced as a whole: a reader sees all of a change or nothing, and so does a crash.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

from router.keys import HASH_BYTES, SALT_BYTES, Key, Scope
from storage.files import Files

FORMAT = 1

_FIELDS = frozenset(one.name for one in fields(Key))


class BadKeysFile(Exception):
    """A file of keys cannot be read or written; the message names it, and the line."""


def read_keys(path: Path) -> list[Key]:
    """The keys in a file; raises BadKeysFile."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise BadKeysFile(
            f"There is no file of keys {path}. Make the first key with `torpor key create "
            f"--keys-file {path}`."
        ) from None
    except OSError as error:
        raise BadKeysFile(f"The keys file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadKeysFile(f"{path} is not a file of keys: it is not UTF-8.") from None
    _check_format(path, lines)
    keys: dict[str, Key] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            key = _decode(line)
        except (ValueError, TypeError, RecursionError) as error:
            raise BadKeysFile(f"{path}, line {number}, is not a key: {error}.") from None
        if key.id in keys:
            raise BadKeysFile(f"{path}, line {number}, has the id {key.id} of another key.")
        keys[key.id] = key
    return list(keys.values())


def change_keys(path: Path, change: Callable[[list[Key]], Sequence[Key]]) -> None:
    """Replaces the keys in a file, which is made if it is not there, by what `change` makes of them.

    Changes by several processes follow each other. Raises BadKeysFile; then nothing has changed.
    """
    # A link stays one, and what it points to is replaced.
    path = path.resolve()
    try:
        with _locked(path.parent):
            keys = change(read_keys(path) if path.exists() else [])
            _write(path, keys)
    except OSError as error:
        raise BadKeysFile(f"The keys file {path} cannot be written: {error.strerror}.") from None


def _write(path: Path, keys: Sequence[Key]) -> None:
    files = Files()
    lines = [{"torpor_keys": FORMAT}, *map(_encode, keys)]
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    new = path.with_name(f".{path.name}.new")
    files.write_new(new, [text.encode()])
    with suppress(FileNotFoundError):
        # The server's own user goes on reading the file after root has changed it.
        was = path.stat()
        if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(new, was.st_uid, was.st_gid)
    files.rename(new, path)
    files.sync_folder(path.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps others from changing a folder's keys. The file itself is another one after a change."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_format(path: Path, lines: list[str]) -> None:
    try:
        version = json.loads(lines[0])["torpor_keys"]
    except (ValueError, TypeError, KeyError):
        version = None
    if not isinstance(version, int):
        raise BadKeysFile(
            f'{path} is not a file of keys: it does not begin with {{"torpor_keys": 1}}.'
        )
    if version != FORMAT:
        raise BadKeysFile(f"{path} has format {version}; this release reads format {FORMAT}.")


def _encode(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "salt": key.salt.hex(),
        "hash": key.hash.hex(),
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "indexes": None if key.indexes is None else sorted(key.indexes),
        "created": key.created,
        "note": key.note,
    }


def _decode(line: str) -> Key:
    values = json.loads(line)
    if not isinstance(values, dict):
        raise TypeError("it is not a JSON object")
    if unknown := values.keys() - _FIELDS:
        raise ValueError(f"this release does not know {', '.join(sorted(unknown))}")
    if missing := _FIELDS - values.keys():
        raise ValueError(f"it has no {', '.join(sorted(missing))}")
    indexes = values["indexes"]
    return Key(
        id=_text(values["id"]),
        salt=_bytes(values["salt"], SALT_BYTES),
        hash=_bytes(values["hash"], HASH_BYTES),
        scopes=frozenset(Scope(scope) for scope in _list(values["scopes"])),
        indexes=None if indexes is None else frozenset(_list(indexes)),
        created=_text(values["created"]),
        note=_text(values["note"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _bytes(value: object, size: int) -> bytes:
    found = bytes.fromhex(_text(value))
    if len(found) != size:
        raise ValueError(f"{value!r} is not {size} bytes")
    return found


def _list(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return [_text(one) for one in value]
