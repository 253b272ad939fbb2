"""What all commands share: their common options, how they run, how they end.

    parser = Parser("torpor stats", "Count ...", "torpor stats docs")
    ...
    return run(parser, arguments, work)

`work` gets the options, a Connection and a Screen. What it raises becomes one line on stderr.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from torpor.cli.connection import Connection
from torpor.cli.endpoint import add_endpoint, endpoint_of
from torpor.cli.errors import CommandError, UsageError
from torpor.cli.screen import Screen, printable

Work = Callable[[argparse.Namespace, Connection, Screen], None]

_TIMEOUT_SECONDS = 30.0
_INTERRUPTED = 130
_PIPE_CLOSED = 141


class Parser(argparse.ArgumentParser):
    """A parser with the common options, whose help ends with examples."""

    def __init__(self, prog: str, description: str, *examples: str, common: bool = True) -> None:
        lines = "\n".join(f"  {example}" for example in examples)
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"example{'s' if len(examples) > 1 else ''}:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            # An abbreviation that works today is ambiguous after the next option.
            allow_abbrev=False,
        )
        self.example = examples[0]
        if common:
            self._add_common()

    def _add_common(self) -> None:
        group = self.add_argument_group("common options")
        add_endpoint(group)
        group.add_argument(
            "--timeout",
            metavar="SECONDS",
            type=positive_number,
            default=_TIMEOUT_SECONDS,
            help=f"how long each call may take (default {_TIMEOUT_SECONDS:g})",
        )
        group.add_argument(
            "--json", action="store_true", help="print one JSON document, and nothing else"
        )


def family(prog: str, description: str, parsers: Sequence[tuple[Parser, Work]]) -> Parser:
    """A parser of subcommands, each with its work; `prog` begins the name of each of them."""
    parser = Parser(prog, description, *(one.example for one, _ in parsers), common=False)
    # argparse makes the parsers of subcommands itself; these exist already.
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_existing)  # type: ignore[call-overload]
    for one, work in parsers:
        one.set_defaults(work=work)
        help_line = (one.description or "").split(". ")[0].removesuffix(".")
        commands.add_parser(one.prog.removeprefix(f"{prog} "), help=help_line, existing=one)
    return parser


def _existing(*, existing: Parser, **_: object) -> Parser:
    return existing


def run(parser: Parser, arguments: Sequence[str], work: Work | None = None) -> int:
    """Parses the arguments and does the work; returns the exit status."""
    for argument in arguments:
        # Bytes that are no text come from the system as halves of surrogate pairs.
        if not _is_text(argument):
            parser.error(f"the argument {argument!a} is not UTF-8")
    options = parser.parse_args(arguments)
    work = work or options.work
    screen = Screen(as_json=options.json)
    try:
        with Connection(endpoint_of(options), options.timeout) as connection:
            work(options, connection, screen)
        sys.stdout.flush()
    except UsageError as error:
        print(printable(f"{parser.prog}: {error}"), file=sys.stderr)
        return 2
    except CommandError as error:
        print(printable(f"torpor: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has enough, as `head` does. Python would complain when it flushes at exit.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return _PIPE_CLOSED
    return 0


def confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal, unless `yes`; raises CommandError unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Say --yes: there is no terminal to ask on.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was deleted.")


def add_namespace(parser: Parser) -> None:
    """The option of every command that works on one namespace."""
    parser.add_argument(
        "--namespace", metavar="NAME", default="", help="default: the default namespace"
    )


def add_yes(parser: Parser) -> None:
    """The option of a command that deletes what was not named one by one."""
    parser.add_argument(
        "--yes", action="store_true", help="do not ask; required where there is no terminal"
    )


def positive_number(text: str) -> float:
    """An argument's type: a finite number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def count(text: str) -> int:
    """An argument's type: a whole number from 1, as messages can hold it."""
    return _whole(text, 1, 2**32 - 1)


def whole_number(text: str) -> int:
    """An argument's type: a whole number from 0, as messages can hold it."""
    return _whole(text, 0, 2**32 - 1)


def log_number(text: str) -> int:
    """An argument's type: an LSN."""
    return _whole(text, 0, 2**64 - 1)


def _whole(text: str, least: int, most: int) -> int:
    number = int(text)
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of {least} to {most}")
    return number


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
