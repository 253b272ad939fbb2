"""`torpor key`: makes, lists and deletes API keys, in the file that a server reads them from.

A server that runs on the file sees each change within a second. No server is asked: whoever can write
the file decides who has a key.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from router.errors import InvalidArgument
from router.keys import Key, Scope, new_key
from router.keys_file import BadKeysFile, change_keys, read_keys
from router.validate_index import check_name

_VARIABLE = "TORPOR_KEYS_FILE"


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Runs one of the commands; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    file = options.keys_file or environment.get(_VARIABLE)
    if not file:
        parser.error(f"say which file with --keys-file or {_VARIABLE}")
    try:
        options.work(options, Path(file))
    except (BadKeysFile, InvalidArgument) as error:
        print(f"torpor key: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torpor key",
        description="The API keys of a server. A running server sees changes within a second.",
        epilog="example:\n"
        "  torpor key create --keys-file keys --scope read --index docs --note 'the web site'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    create = commands.add_parser(
        "create",
        help="make a key and print it, once",
        description="Make a key and print it. It is stored nowhere: what is lost is made anew.",
    )
    create.add_argument(
        "--scope",
        choices=[scope.value for scope in Scope],
        action="append",
        help="read: query, fetch, list, count; write: upsert, update, delete, namespaces; admin: "
        "create, configure, delete, wake indexes; may be given several times (default: all three)",
    )
    create.add_argument(
        "--index",
        metavar="NAME",
        action="append",
        help="the index that the key is for; may be given several times (default: all indexes)",
    )
    create.add_argument(
        "--note", default="", help="what the key is used for, for `torpor key list`"
    )
    create.set_defaults(work=_create)
    listing = commands.add_parser(
        "list", help="list the keys", description="List the keys, without their secrets."
    )
    listing.set_defaults(work=_list)
    delete = commands.add_parser(
        "delete", help="delete a key", description="Delete a key: calls with it are refused."
    )
    delete.add_argument("id", metavar="ID", help="as `torpor key list` shows it")
    delete.set_defaults(work=_delete)
    for one in (create, listing, delete):
        one.add_argument("--keys-file", metavar="FILE", help=f"default: the variable {_VARIABLE}")
    return parser


def _create(options: argparse.Namespace, file: Path) -> None:
    for name in options.index or ():
        check_name(name, "index")
    scopes = [Scope(one) for one in options.scope] if options.scope else list(Scope)
    text = ""

    def add(keys: list[Key]) -> list[Key]:
        nonlocal text
        key, text = new_key(scopes, options.index, options.note, keys)
        return [*keys, key]

    change_keys(file, add)
    print("This is the key. It is shown once, and stored nowhere.", file=sys.stderr)
    print(text)


def _list(options: argparse.Namespace, file: Path) -> None:
    rows = [("id", "created", "scopes", "indexes", "note")]
    for key in read_keys(file):
        scopes = ",".join(scope.value for scope in Scope if scope in key.scopes)
        indexes = "all" if key.indexes is None else ",".join(sorted(key.indexes))
        note = "".join(one if one.isprintable() else "?" for one in key.note)
        rows.append((key.id, key.created, scopes, indexes, note))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _delete(options: argparse.Namespace, file: Path) -> None:
    def without(keys: list[Key]) -> list[Key]:
        left = [key for key in keys if key.id != options.id]
        if len(left) == len(keys):
            raise InvalidArgument(f"There is no key {options.id!r} in {file}.")
        return left

    read_keys(file)  # a file that is not there is a mistake here, and not one to be made
    change_keys(file, without)
    print(f"Deleted the key {options.id}.", file=sys.stderr)
