"""Arguments that are JSON: given in place, as `@FILE`, or `-` for stdin."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torpor.cli.errors import Unfit, UsageError
from torpor.cli.lines import json_of

T = TypeVar("T")

HELP = "JSON, @FILE that holds it, or - for stdin"


def read(option: str, text: str, convert: Callable[[object], T]) -> T:
    """The argument of `option`, converted; raises UsageError that names the option."""
    content = _content(option, text)
    try:
        return convert(json_of(content))
    except Unfit as error:
        raise UsageError(f"{option} {error}") from None


def read_if(option: str, text: str | None, convert: Callable[[object], T]) -> T | None:
    """As `read`; None for an option that was not given."""
    return None if text is None else read(option, text, convert)


def _content(option: str, text: str) -> str:
    try:
        if text == "-":
            return sys.stdin.read()
        if text.startswith("@"):
            return Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{option}: cannot read {text[1:]}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{option}: {text} is not UTF-8") from None
    return text
