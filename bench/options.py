"""The command lines of questions, as far as they are alike."""

import argparse
from pathlib import Path

from bench import dataset as datasets


def command(name: str, said: str | None) -> argparse.ArgumentParser:
    """The command line of `python -m bench NAME`; `said` is its module's docstring, shown as it is."""
    return argparse.ArgumentParser(
        prog=f"python -m bench {name}",
        description=said,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def question(
    name: str, said: str | None, *, sizes: bool = False, top_k: bool = False
) -> argparse.ArgumentParser:
    """A command line that chooses a data set and where its record goes.

    With `sizes`, --rows is a list; with `top_k`, how many rows a query asks for can be chosen.
    """
    parser = command(name, said)
    datasets.add_options(parser, sizes=sizes)
    if top_k:
        parser.add_argument("--top-k", type=int, default=10)
    add_output(parser)
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """Where the record goes."""
    parser.add_argument("--output", type=Path, help="where to write the record")
