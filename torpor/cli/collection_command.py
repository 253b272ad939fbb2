"""`torpor collection`: keeps what an index holds now, lists, describes and deletes what was kept."""

import argparse
from collections.abc import Sequence

from torpor.cli.command import Parser, Work, add_yes, confirm, family, run
from torpor.cli.connection import Connection
from torpor.cli.messages import document, word
from torpor.cli.screen import Screen, counted
from torpor.v1 import control_pb2 as control


def main(arguments: Sequence[str]) -> int:
    """Runs one of the commands of `torpor collection`; returns the exit status."""
    description = (
        "What indexes held at some moment, kept apart from them. "
        "`torpor index create NAME --from-collection COLLECTION` makes an index of one."
    )
    parsers = [_create(), _list(), _describe(), _delete()]
    return run(family("torpor collection", description, parsers), arguments)


def _create() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        request = control.CreateCollectionRequest(name=options.name, source=options.source)
        method = connection.control.CreateCollection
        _show(connection.call(method, request).collection, screen)

    parser = Parser(
        "torpor collection create",
        "Keep what an index holds now. Its files are shared, not copied; the collection stays when the "
        "index is deleted.",
        "torpor collection create docs-in-may --from docs",
    )
    parser.add_argument("name", metavar="NAME", help="1 to 45 of a-z, 0-9 and '-'")
    parser.add_argument("--from", metavar="INDEX", dest="source", required=True, help="the index")
    return parser, work


def _list() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        request = control.ListCollectionsRequest()
        found = connection.call(connection.control.ListCollections, request).collections
        if screen.as_json:
            screen.document({"collections": [document(one) for one in found]})
            return
        columns = {"name": "left", "source": "left", "records": "right", "bytes": "right"}
        columns |= {"dimension": "right", "metric": "left", "created": "left"}
        rows = [
            (
                one.name,
                one.source,
                f"{one.record_count:,}",
                f"{one.size_bytes:,}",
                f"{one.dimension:,}" if one.dimension else "sparse",
                word(control.Metric.DESCRIPTOR, one.metric),
                f"{one.created.ToDatetime():%Y-%m-%d %H:%M:%S} UTC",
            )
            for one in found
        ]
        if rows:
            screen.table(columns, rows)
        screen.summary(counted(len(rows), "collection"), connection.outcome)

    parser = Parser(
        "torpor collection list",
        "List the collections of the server, by name.",
        "torpor collection list --json | jq -r '.collections[].name'",
    )
    return parser, work


def _describe() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        request = control.DescribeCollectionRequest(name=options.name)
        method = connection.control.DescribeCollection
        _show(connection.call(method, request).collection, screen)

    parser = Parser(
        "torpor collection describe",
        "Show a collection.",
        "torpor collection describe docs-in-may",
    )
    parser.add_argument("name", metavar="NAME")
    return parser, work


def _delete() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        confirm(f"Delete the collection {options.name!r} and all it keeps?", yes=options.yes)
        request = control.DeleteCollectionRequest(name=options.name)
        connection.call(connection.control.DeleteCollection, request)
        if screen.as_json:
            screen.document({"deleted": options.name})
        else:
            screen.line(f"Deleted the collection {options.name}.")

    parser = Parser(
        "torpor collection delete",
        "Delete a collection. Indexes that were made of it keep their records. Asks first, unless "
        "--yes.",
        "torpor collection delete docs-in-may --yes",
    )
    parser.add_argument("name", metavar="NAME")
    add_yes(parser)
    return parser, work


def _show(collection: control.Collection, screen: Screen) -> None:
    if screen.as_json:
        screen.document(document(collection))
        return
    sparse = not collection.dimension
    facts = {
        "of the index": collection.source,
        "records": f"{collection.record_count:,}",
        "bytes": f"{collection.size_bytes:,}",
        "vectors": "sparse" if sparse else f"{collection.dimension:,} dimensions",
        "metric": word(control.Metric.DESCRIPTOR, collection.metric),
        "environment": collection.environment,
        "lives in": f"{collection.spec.cloud}/{collection.spec.region}/{collection.id}",
        "created": f"{collection.created.ToDatetime():%Y-%m-%d %H:%M:%S} UTC",
    }
    screen.facts(collection.name, facts)
