"""The API keys of a running server: those of its file, as they are now."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from router.errors import Unauthenticated
from router.keys import Key, id_of
from router.keys_file import BadKeysFile, read_keys
from router.limits import KEYS_CHECK_SECONDS

log = logging.getLogger("torpor.keys")


class Keyring:
    """Knows keys by what callers send. A file that has become unreadable leaves the keys as they were.

    The file is looked at when a key is asked for, at most once a second: an idle server does nothing.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the file; raises BadKeysFile."""
        self._path = path
        self._clock = clock
        self._seen = _version(path)
        self._checked = clock()
        self._keys = _by_id(read_keys(path))

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, text: str) -> Key:
        """The key that a caller sent; raises Unauthenticated."""
        self._refresh()
        key = self._keys.get(id_of(text))
        if key is not None and key.matches(text):
            return key
        if not text:
            raise Unauthenticated(
                "There is no API key in the call; this server wants one, as the metadata or header "
                "api-key."
            )
        raise Unauthenticated("Invalid API key: it is not one of this server's.")

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._checked < KEYS_CHECK_SECONDS:
            return
        self._checked = now
        version = _version(self._path)
        if version == self._seen:
            return
        # Taken before the file is read: what changes meanwhile is seen the next time.
        self._seen = version
        try:
            self._keys = _by_id(read_keys(self._path))
        except BadKeysFile as error:
            log.error("keys_unchanged keys=%d error=%s", len(self._keys), error)
        else:
            log.info("keys_read file=%s keys=%d", self._path, len(self._keys))


def _by_id(keys: list[Key]) -> dict[str, Key]:
    return {key.id: key for key in keys}


def _version(path: Path) -> tuple[int, ...] | None:
    """What is another after every change of a file; None while it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
