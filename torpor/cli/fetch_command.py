"""`torpor fetch` and `torpor list`: records by their ids or by a filter, and the ids of a namespace."""

import argparse
from collections.abc import Iterator, Sequence

from torpor.cli import json_argument
from torpor.cli.command import Parser, add_namespace, count, run
from torpor.cli.connection import Connection
from torpor.cli.errors import UsageError
from torpor.cli.messages import plain, record, struct
from torpor.cli.screen import Screen, brief, compact, counted
from torpor.v1 import data_pb2 as data

_IDS_MAX = 1_000
_LIST_PAGE = 100
_FILTER_PAGE = 1_000
_LIMIT = 100


def fetch(arguments: Sequence[str]) -> int:
    """Runs `torpor fetch`; returns the exit status."""
    parser = Parser(
        "torpor fetch",
        "Show records by their ids, or those that match a filter. Wakes a sleeping index.",
        "torpor fetch docs a b",
        "torpor fetch docs --filter '{\"year\": 2024}' --limit 20 --json | jq -c '.records[]'",
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("ids", metavar="ID", nargs="*")
    parser.add_argument("--filter", metavar="JSON", help=json_argument.HELP)
    parser.add_argument(
        "--limit", metavar="N", type=count, help=f"with --filter: at most so many ({_LIMIT})"
    )
    add_namespace(parser)
    return run(parser, arguments, _fetch)


def list_ids(arguments: Sequence[str]) -> int:
    """Runs `torpor list`; returns the exit status."""
    parser = Parser(
        "torpor list",
        "Print the ids of a namespace, one a line, in byte order. Wakes a sleeping index.",
        "torpor list docs --prefix chapter-1/",
        "torpor list docs > ids.txt",
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("--prefix", metavar="P", help="only ids that start with this")
    parser.add_argument("--limit", metavar="N", type=count, help="at most so many (default all)")
    add_namespace(parser)
    return run(parser, arguments, _list)


def _fetch(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
    if bool(options.ids) == (options.filter is not None):
        raise UsageError("say which records: either ids or --filter")
    if options.limit is not None and options.filter is None:
        raise UsageError("--limit goes with --filter")
    if options.filter is None:
        vectors = _by_ids(options, connection)
        found = {vector.id for vector in vectors}
        missing = [name for name in dict.fromkeys(options.ids) if name not in found]
        what = counted(len(vectors), "record")
        if missing:
            what += f" (not there: {', '.join(missing)})"
        content: dict[str, object] = {
            "records": [record(one) for one in vectors],
            "missing": missing,
        }
    else:
        vectors, more = _by_filter(options, connection)
        what = counted(len(vectors), "record")
        if more:
            what += " (more match: raise --limit)"
        content = {"records": [record(one) for one in vectors], "more": more}
    if screen.as_json:
        screen.document(content, connection.outcome)
        return
    if vectors:
        _table(vectors, screen)
    screen.summary(what, connection.outcome)


def _by_ids(options: argparse.Namespace, connection: Connection) -> list[data.Vector]:
    """The records that exist, in the order of the arguments."""
    ids = list(dict.fromkeys(options.ids))
    found: list[data.Vector] = []
    for start in range(0, len(ids), _IDS_MAX):
        some = ids[start : start + _IDS_MAX]
        request = data.FetchRequest(index=options.index, ids=some, namespace=options.namespace)
        vectors = connection.call(connection.data.Fetch, request).vectors
        found += [vectors[name] for name in some if name in vectors]
    return found


def _by_filter(
    options: argparse.Namespace, connection: Connection
) -> tuple[list[data.Vector], bool]:
    """The first matching records in byte order of their ids, and whether there are more."""
    limit = options.limit or _LIMIT
    found: list[data.Vector] = []
    request = data.FetchByMetadataRequest(
        index=options.index,
        namespace=options.namespace,
        filter=json_argument.read("--filter", options.filter, struct),
        # The same in every request of the walk: a token goes with the request it came from.
        limit=min(limit, _FILTER_PAGE),
    )
    while True:
        page = connection.call(connection.data.FetchByMetadata, request)
        found += sorted(page.vectors.values(), key=lambda vector: vector.id.encode())
        more = page.HasField("pagination")
        if not more or len(found) >= limit:
            return found[:limit], more or len(found) > limit
        request.pagination_token = page.pagination.next


def _table(vectors: Sequence[data.Vector], screen: Screen) -> None:
    columns = {"id": "left", "values": "left", "metadata": "left", "LSN": "right"}
    rows = []
    for vector in vectors:
        values = brief(vector.values)
        if vector.HasField("sparse_values"):
            values += f"{' ' if values else ''}sparse {brief(vector.sparse_values.values)}"
        rows.append((vector.id, values, compact(plain(vector.metadata)), str(vector.lsn)))
    screen.table(columns, rows)


def _list(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
    names = _ids(options, connection)
    if screen.as_json:
        found = list(names)
        screen.document({"ids": found}, connection.outcome)
        return
    number = 0
    for name in names:
        screen.line(name)
        number += 1
    screen.summary(counted(number, "id"), connection.outcome)


def _ids(options: argparse.Namespace, connection: Connection) -> Iterator[str]:
    left = options.limit
    page_size = _LIST_PAGE if left is None else min(left, _LIST_PAGE)
    request = data.ListRequest(
        index=options.index, namespace=options.namespace, prefix=options.prefix, limit=page_size
    )
    while True:
        page = connection.call(connection.data.List, request)
        ids = [item.id for item in page.vectors]
        yield from ids if left is None else ids[:left]
        left = None if left is None else left - len(ids)
        if not page.HasField("pagination") or (left is not None and left <= 0):
            return
        request.pagination_token = page.pagination.next
