"""API keys: what one is, what it is for, and how one is made.

A key is `torpor_<id>_<secret>`: 8 and 64 hexadecimal digits. The id is no secret; it finds the salt and
the hash that the key is compared with. The secret is 256 random bits, so that a fast hash is as good as
a slow one: nobody guesses it.
"""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b

SALT_BYTES = 16
HASH_BYTES = 32

_PREFIX = "torpor_"
_ID_DIGITS = 8
_SECRET_DIGITS = 64
_ID_END = len(_PREFIX) + _ID_DIGITS
_KEY_CHARACTERS = _ID_END + 1 + _SECRET_DIGITS


class Scope(StrEnum):
    """What a key is for. Each stands for itself: none holds another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of an API key; `indexes` are the names of those it is for, None for all."""

    id: str
    salt: bytes
    hash: bytes
    scopes: frozenset[Scope]
    indexes: frozenset[str] | None
    created: str
    note: str

    def matches(self, text: str) -> bool:
        """Whether this is the key; takes as long to say no as to say yes."""
        return hmac.compare_digest(_hash(text, self.salt), self.hash)

    def is_for(self, index: str) -> bool:
        """Whether the key may be used for an index of this name."""
        return self.indexes is None or index in self.indexes


def new_key(
    scopes: Iterable[Scope], indexes: Iterable[str] | None, note: str, taken: Iterable[Key]
) -> tuple[Key, str]:
    """A key whose id none of `taken` has, and the text that its owner sends, which is not kept."""
    ids = {key.id for key in taken}
    while (key_id := secrets.token_hex(_ID_DIGITS // 2)) in ids:
        pass
    text = f"{_PREFIX}{key_id}_{secrets.token_hex(_SECRET_DIGITS // 2)}"
    salt = secrets.token_bytes(SALT_BYTES)
    key = Key(
        id=key_id,
        salt=salt,
        hash=_hash(text, salt),
        scopes=frozenset(scopes),
        indexes=None if indexes is None else frozenset(indexes),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        note=note,
    )
    return key, text


def id_of(text: str) -> str:
    """The id in what a caller sent as its key; empty if that has not a key's length."""
    return text[len(_PREFIX) : _ID_END] if len(text) == _KEY_CHARACTERS else ""


def _hash(text: str, salt: bytes) -> bytes:
    # What came over the wire need not be text that UTF-8 can hold.
    encoded = text.encode(errors="replace")
    return blake2b(encoded, digest_size=HASH_BYTES, salt=salt, person=b"torpor api key").digest()
