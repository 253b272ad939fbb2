"""`torpor update` and `torpor delete`: changes of records that exist, one by one or by a filter."""

import argparse
from collections.abc import Sequence

from torpor.cli import json_argument
from torpor.cli.command import Parser, add_namespace, add_yes, confirm, run
from torpor.cli.connection import Connection
from torpor.cli.errors import UsageError
from torpor.cli.messages import dense, sparse, struct
from torpor.cli.screen import Screen, counted
from torpor.v1 import data_pb2 as data

_IDS_MAX = 1_000


def update(arguments: Sequence[str]) -> int:
    """Runs `torpor update`; returns the exit status."""
    parser = Parser(
        "torpor update",
        "Change a record, or the metadata of all records that match a filter. What is not named "
        "stays.",
        "torpor update docs a --set '{\"read\": true}'",
        "torpor update docs --filter '{\"year\": 2019}' --set '{\"old\": true}' --dry-run",
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("id", metavar="ID", nargs="?")
    parser.add_argument("--filter", metavar="JSON", help="change the records that match")
    parser.add_argument("--set", metavar="JSON", help="metadata fields to set; others stay")
    parser.add_argument("--values", metavar="JSON", help="new values; with ID")
    parser.add_argument("--sparse", metavar="JSON", help="new sparse values; with ID")
    parser.add_argument(
        "--dry-run", action="store_true", help="with --filter: only count what matches"
    )
    add_namespace(parser)
    return run(parser, arguments, _update)


def delete(arguments: Sequence[str]) -> int:
    """Runs `torpor delete`; returns the exit status."""
    parser = Parser(
        "torpor delete",
        "Delete records by their ids, those that match a filter, or a whole namespace. Asks first "
        "before --filter and --all, unless --yes.",
        "torpor delete docs a b",
        'torpor delete docs --filter \'{"year": {"$lt": 2010}}\' --yes',
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("ids", metavar="ID", nargs="*")
    parser.add_argument("--filter", metavar="JSON", help="delete the records that match")
    parser.add_argument("--all", action="store_true", help="delete all, and the namespace")
    add_namespace(parser)
    add_yes(parser)
    return run(parser, arguments, _delete)


def _update(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
    by_filter = options.filter is not None
    if (options.id is not None) == by_filter:
        raise UsageError("say which records: either one ID or --filter")
    if by_filter and (options.values is not None or options.sparse is not None):
        raise UsageError("--values and --sparse are those of one record: give its ID")
    if options.dry_run and not by_filter:
        raise UsageError("--dry-run goes with --filter")
    if options.set is None and options.values is None and options.sparse is None:
        raise UsageError("say what to change: --set, --values or --sparse")
    request = data.UpdateRequest(
        index=options.index,
        id=options.id or "",
        namespace=options.namespace,
        filter=json_argument.read_if("--filter", options.filter, struct),
        set_metadata=json_argument.read_if("--set", options.set, struct),
        values=json_argument.read_if("--values", options.values, dense),
        sparse_values=json_argument.read_if("--sparse", options.sparse, sparse),
        dry_run=options.dry_run or None,
    )
    response = connection.call(connection.data.Update, request)
    matched = response.matched_records if response.HasField("matched_records") else None
    if screen.as_json:
        screen.document(
            {"matched": matched, "dry_run": options.dry_run, "id": options.id}, connection.outcome
        )
        return
    if matched is None:
        what = f"updated {options.id}, if it is there,"
    else:
        records = counted(matched, "record")
        what = f"{records} would be updated: counted" if options.dry_run else f"updated {records}"
    screen.summary(what, connection.outcome)


def _delete(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
    if [bool(options.ids), options.filter is not None, options.all].count(True) != 1:
        raise UsageError("say what to delete: ids, or --filter, or --all")
    request = data.DeleteRequest(index=options.index, namespace=options.namespace)
    where = f"the namespace {options.namespace or '__default__'!r} of the index {options.index!r}"
    if options.all:
        confirm(f"Delete {where} with all its records?", yes=options.yes)
        request.delete_all = True
        requests, what = [request], f"deleted {where}"
    elif options.filter is not None:
        request.filter.CopyFrom(json_argument.read("--filter", options.filter, struct))
        confirm(f"Delete all records that match from {where}?", yes=options.yes)
        requests, what = [request], f"deleted all records that match from {where}"
    else:
        requests = []
        for start in range(0, len(options.ids), _IDS_MAX):
            part = data.DeleteRequest(ids=options.ids[start : start + _IDS_MAX])
            part.MergeFrom(request)
            requests.append(part)
        what = f"deleted {counted(len(set(options.ids)), 'id')}"
    for one in requests:
        connection.call(connection.data.Delete, one)
    if screen.as_json:
        screen.document({"ids": options.ids, "all": options.all}, connection.outcome)
    else:
        screen.summary(what, connection.outcome)
