"""Where answers go: tables for people, or one JSON document for programs.

The answer itself goes to stdout; what is said about it, such as how long it took, to stderr, so that
`torpor list docs > ids.txt` holds ids only. With --json all of it is in the document.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from torpor.cli.connection import Outcome

# Without a terminal there is no width to fit into: a cell cut or wrapped at 80 would be of no use.
_WIDTH_WITHOUT_TERMINAL = 4_096
_VALUES_SHOWN = 4


class Screen:
    """Prints what one command has to say."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def document(self, content: Mapping[str, object], outcome: Outcome | None = None) -> None:
        """Prints the one JSON document of a command."""
        whole = dict(content)
        if outcome is not None:
            whole["took_ms"] = round(outcome.took_ms, 3)
            whole |= {"wake_ms": outcome.wake_ms, "exact": outcome.exact, "lsn": outcome.lsn}
        print(json.dumps(whole))

    def line(self, text: str) -> None:
        """Prints one line of an answer."""
        print(printable(text))

    def table(
        self, columns: Mapping[str, str], rows: Iterable[Sequence[str]], title: str | None = None
    ) -> None:
        """Prints a table; `columns` says "left" or "right" for each name."""
        table = Table(title=title, title_justify="left")
        for name, side in columns.items():
            justify = "right" if side == "right" else "left"
            # What does not fit is folded: an id with its end cut off is no id.
            table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row in rows:
            table.add_row(*map(printable, row))
        self._print(table)

    def facts(self, title: str, facts: Mapping[str, str]) -> None:
        """Prints names and values below each other."""
        table = Table(title=title, title_justify="left", show_header=False)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for name, value in facts.items():
            table.add_row(name, printable(value))
        self._print(table)

    def note(self, text: str) -> None:
        """Says something about the answer; nothing with --json."""
        if not self.as_json:
            print(printable(text), file=sys.stderr)

    def summary(self, what: str, outcome: Outcome) -> None:
        """Says what came, how long it took, what woke, how exact and how fresh it is."""
        parts = [f"{what} in {outcome.took_ms:.1f} ms"]
        if outcome.wake_ms is not None:
            parts[0] += f" (woke the index: {outcome.wake_ms:.1f} ms)"
        if outcome.exact is not None:
            parts.append("exact" if outcome.exact else "approximate")
        if outcome.lsn is not None:
            parts.append(f"LSN {outcome.lsn}")
        self.note(", ".join(parts))

    @staticmethod
    def _print(table: Table) -> None:
        width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
        # Ids and metadata are the user's text, and none of it is markup.
        console = Console(width=width, markup=False, highlight=False, emoji=False)
        # Not printed by rich itself, which would end the process where a pipe is closed.
        with console.capture() as captured:
            console.print(table)
        print(captured.get(), end="")


def printable(text: str) -> str:
    """The text with control characters escaped: what is stored must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun: 1 match, 1,000 matches."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def brief(values: Sequence[float]) -> str:
    """The first few values of a vector, and how many there are."""
    if not values:
        return ""
    shown = ", ".join(f"{value:.4g}" for value in values[:_VALUES_SHOWN])
    return f"[{shown}]" if len(values) <= _VALUES_SHOWN else f"[{shown}, …] ({len(values)})"


def compact(content: object) -> str:
    """A JSON object on one line, as people read it; nothing for an empty one."""
    return json.dumps(content, ensure_ascii=False) if content else ""
