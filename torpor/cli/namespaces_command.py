"""`torpor stats` and `torpor namespaces`: how an index's records lie in its namespaces."""

import argparse
from collections.abc import Iterator, Sequence

from torpor.cli import json_argument
from torpor.cli.command import Parser, Work, add_yes, confirm, count, family, run
from torpor.cli.connection import Connection
from torpor.cli.messages import document, struct
from torpor.cli.screen import Screen, counted
from torpor.v1 import data_pb2 as data

_DEFAULT_NAMESPACE = "__default__"
_PAGE = 100


def stats(arguments: Sequence[str]) -> int:
    """Runs `torpor stats`; returns the exit status."""
    parser = Parser(
        "torpor stats",
        "Count the records of an index by namespace. Without a filter, a sleeping index whose log is "
        "folded is not woken.",
        "torpor stats docs",
        'torpor stats docs --filter \'{"language": "en"}\'',
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("--filter", metavar="JSON", help="count the records that match")
    return run(parser, arguments, _stats)


def namespaces(arguments: Sequence[str]) -> int:
    """Runs one of the commands of `torpor namespaces`; returns the exit status."""
    description = "The namespaces of an index: parts with ids of their own."
    parsers = [_list(), _describe(), _create(), _delete()]
    return run(family("torpor namespaces", description, parsers), arguments)


def _stats(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
    request = data.DescribeIndexStatsRequest(
        index=options.index, filter=json_argument.read_if("--filter", options.filter, struct)
    )
    response = connection.call(connection.data.DescribeIndexStats, request)
    counts = {
        name or _DEFAULT_NAMESPACE: summary.vector_count
        for name, summary in sorted(response.namespaces.items())
    }
    total = response.total_vector_count
    if screen.as_json:
        content = {
            "namespaces": counts,
            "total": total,
            "dimension": response.dimension if response.HasField("dimension") else None,
            "metric": response.metric,
            "vector_type": response.vector_type,
        }
        screen.document(content, connection.outcome)
        return
    if counts:
        columns = {"namespace": "left", "records": "right"}
        screen.table(columns, [(name, f"{number:,}") for name, number in counts.items()])
    what = f"{counted(total, 'record')} in {counted(len(counts), 'namespace')}: counted"
    screen.summary(what, connection.outcome)


def _list() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        found = list(_all(options, connection))
        if screen.as_json:
            content = {"namespaces": [document(one) for one in found]}
            screen.document(content, connection.outcome)
            return
        if found:
            _table(found, screen)
        screen.summary(counted(len(found), "namespace"), connection.outcome)

    parser = Parser(
        "torpor namespaces list",
        "List the namespaces of an index, by name.",
        "torpor namespaces list docs --prefix customer-",
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("--prefix", metavar="P", help="only names that start with this")
    parser.add_argument("--limit", metavar="N", type=count, help="at most so many (default all)")
    return parser, work


def _describe() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        request = data.DescribeNamespaceRequest(index=options.index, namespace=options.name)
        _show(connection.call(connection.data.DescribeNamespace, request), connection, screen)

    parser = Parser(
        "torpor namespaces describe",
        "Show one namespace.",
        "torpor namespaces describe docs news",
        "torpor namespaces describe docs __default__",
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("name", metavar="NAME")
    return parser, work


def _create() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        request = data.CreateNamespaceRequest(index=options.index, name=options.name)
        for field in options.filterable:
            request.schema.fields[field].filterable = True
        _show(connection.call(connection.data.CreateNamespace, request), connection, screen)

    parser = Parser(
        "torpor namespaces create",
        "Create an empty namespace. One is also created by the first write that names it.",
        "torpor namespaces create docs news --filterable year --filterable author",
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--filterable",
        metavar="FIELD",
        action="append",
        default=[],
        help="a metadata field that filters may use; without any, all fields may be used",
    )
    return parser, work


def _delete() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        question = f"Delete the namespace {options.name!r} of the index {options.index!r} with all "
        confirm(question + "its records?", yes=options.yes)
        request = data.DeleteNamespaceRequest(index=options.index, namespace=options.name)
        connection.call(connection.data.DeleteNamespace, request)
        if screen.as_json:
            screen.document({"deleted": options.name}, connection.outcome)
        else:
            screen.summary(f"deleted the namespace {options.name}", connection.outcome)

    parser = Parser(
        "torpor namespaces delete",
        "Delete a namespace with all its records. Asks first, unless --yes.",
        "torpor namespaces delete docs news --yes",
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("name", metavar="NAME")
    add_yes(parser)
    return parser, work


def _all(
    options: argparse.Namespace, connection: Connection
) -> Iterator[data.NamespaceDescription]:
    left = options.limit
    page_size = _PAGE if left is None else min(left, _PAGE)
    request = data.ListNamespacesRequest(
        index=options.index, prefix=options.prefix, limit=page_size
    )
    while True:
        page = connection.call(connection.data.ListNamespaces, request)
        yield from page.namespaces if left is None else page.namespaces[:left]
        left = None if left is None else left - len(page.namespaces)
        if not page.HasField("pagination") or (left is not None and left <= 0):
            return
        request.pagination_token = page.pagination.next


def _show(description: data.NamespaceDescription, connection: Connection, screen: Screen) -> None:
    if screen.as_json:
        screen.document(document(description), connection.outcome)
        return
    _table([description], screen)
    screen.summary(f"the namespace {description.name}", connection.outcome)


def _table(found: Sequence[data.NamespaceDescription], screen: Screen) -> None:
    columns = {"namespace": "left", "records": "right", "bytes": "right", "filterable": "left"}
    rows = [
        (
            one.name,
            f"{one.record_count:,}",
            f"{one.size_bytes:,}",
            ", ".join(sorted(one.indexed_fields.fields)) if one.HasField("schema") else "all",
        )
        for one in found
    ]
    screen.table(columns, rows)
