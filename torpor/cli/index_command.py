"""`torpor index`: creates, lists, describes, configures and deletes indexes, wakes, puts to sleep."""

import argparse
from collections.abc import Iterator, Sequence

from torpor.cli import capacity_options
from torpor.cli.command import Parser, Work, add_yes, confirm, count, family, positive_number, run
from torpor.cli.connection import Connection
from torpor.cli.index_report import report
from torpor.cli.messages import document, word
from torpor.cli.recall_command import recall
from torpor.cli.screen import Screen, counted
from torpor.v1 import control_pb2 as control

_METRICS = ("cosine", "euclidean", "dotproduct")


def main(arguments: Sequence[str]) -> int:
    """Runs one of the commands of `torpor index`; returns the exit status."""
    parsers = [
        _list(),
        _create(),
        _describe(),
        _configure(),
        _delete(),
        _wake(),
        _sleep(),
        recall(),
    ]
    description = "The indexes of a server: their settings, their life, their cost."
    return run(family("torpor index", description, parsers), arguments)


def all_indexes(connection: Connection) -> Iterator[control.Index]:
    """Every index of the server, page by page."""
    request = control.ListIndexesRequest(page_size=1_000)
    while True:
        page = connection.call(connection.control.ListIndexes, request)
        yield from page.indexes
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _list() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        indexes = list(all_indexes(connection))
        if screen.as_json:
            screen.document({"indexes": [document(one) for one in indexes]})
            return
        columns = {"name": "left", "dimension": "right", "metric": "left", "state": "left"}
        columns |= {"queries": "right", "cold starts": "right", "awake s": "right", "tags": "left"}
        rows = [
            (
                one.name,
                f"{one.dimension:,}" if one.dimension else "sparse",
                word(control.Metric.DESCRIPTOR, one.metric),
                word(control.State.DESCRIPTOR, one.state),
                f"{one.cost.queries:,}",
                f"{one.cost.cold_starts:,}",
                f"{one.cost.awake_seconds:,.1f}",
                ", ".join(f"{key}={value}" for key, value in sorted(one.tags.items())),
            )
            for one in indexes
        ]
        if rows:
            screen.table(columns, rows)
        screen.summary(counted(len(rows), "index", "indexes"), connection.outcome)

    parser = Parser(
        "torpor index list",
        "List the indexes of the server, by name. Wakes nothing.",
        "torpor index list",
        "torpor index list --json | jq -r '.indexes[] | select(.state == \"awake\") | .name'",
    )
    return parser, work


def _create() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        sparse = options.sparse
        metric = (options.metric or "unspecified").upper()
        request = control.CreateIndexRequest(
            name=options.name,
            dimension=options.dimension,
            metric=control.Metric.Value(f"METRIC_{metric}"),
            spec=control.Spec(cloud=options.cloud, region=options.region),
            deletion_protection=options.protect,
            tags=dict(options.tag),
            idle_seconds=options.idle_seconds,
            vector_type=control.VECTOR_TYPE_SPARSE if sparse else control.VECTOR_TYPE_UNSPECIFIED,
            source_collection=options.from_collection,
        )
        capacity_options.create_with(request, options)
        _show(connection.call(connection.control.CreateIndex, request).index, screen)

    parser = Parser(
        "torpor index create",
        "Create an index, empty or with what a collection keeps. It is durable when the command "
        "returns, and asleep unless it has replicas.",
        "torpor index create docs --dimension 384",
        "torpor index create words --sparse --idle-seconds 10 --tag team=search",
        "torpor index create busy --dimension 384 --replicas 2",
        "torpor index create docs --from-collection docs-in-may",
    )
    parser.add_argument("name", metavar="NAME", help="1 to 45 of a-z, 0-9 and '-'")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument(
        "--dimension", metavar="D", type=count, default=0, help="number of values in each vector"
    )
    kind.add_argument("--sparse", action="store_true", help="its vectors are sparse")
    kind.add_argument(
        "--from-collection", metavar="COLLECTION", default="", help="with what it keeps"
    )
    parser.add_argument(
        "--metric",
        choices=_METRICS,
        help="how closeness is measured (default: the collection's; else cosine, or dotproduct with "
        "--sparse)",
    )
    parser.add_argument("--cloud", default="", help="default local")
    parser.add_argument("--region", default="", help="default default")
    _add_idle_seconds(parser)
    parser.add_argument("--tag", metavar="KEY=VALUE", type=_tag, action="append", default=[])
    parser.add_argument("--protect", action="store_true", help="refuse to delete it")
    capacity_options.add_to_create(parser)
    return parser, work


def _describe() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        request = control.DescribeIndexRequest(name=options.name)
        _show(connection.call(connection.control.DescribeIndex, request).index, screen)

    parser = Parser(
        "torpor index describe",
        "Show an index: its settings, its state, its cost, its last wake. Wakes nothing.",
        "torpor index describe docs",
    )
    parser.add_argument("name", metavar="NAME")
    return parser, work


def _configure() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        request = control.ConfigureIndexRequest(
            name=options.name,
            deletion_protection=options.protect,
            tags=dict(options.tag),
            idle_seconds=options.idle_seconds,
        )
        capacity_options.configure_with(request, options, connection)
        _show(connection.call(connection.control.ConfigureIndex, request).index, screen)

    parser = Parser(
        "torpor index configure",
        "Change the settings of an index that can change. What is not named stays as it is.",
        "torpor index configure docs --idle-seconds 5 --no-protect",
        "torpor index configure docs --tag team=search --tag old=",
        "torpor index configure docs --replicas 3",
    )
    parser.add_argument("name", metavar="NAME")
    _add_idle_seconds(parser)
    parser.add_argument(
        "--tag",
        metavar="KEY=VALUE",
        type=_tag,
        action="append",
        default=[],
        help="set a tag; `KEY=` removes it",
    )
    parser.add_argument(
        "--protect",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="turn deletion protection on or off",
    )
    capacity_options.add_to_configure(parser)
    return parser, work


def _delete() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        confirm(f"Delete the index {options.name!r} and everything in it?", yes=options.yes)
        connection.call(
            connection.control.DeleteIndex, control.DeleteIndexRequest(name=options.name)
        )
        if screen.as_json:
            screen.document({"deleted": options.name})
        else:
            screen.line(f"Deleted the index {options.name}.")

    parser = Parser(
        "torpor index delete",
        "Delete an index and everything in it, for good. Asks first, unless --yes.",
        "torpor index delete docs --yes",
    )
    parser.add_argument("name", metavar="NAME")
    add_yes(parser)
    return parser, work


def _wake() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        request = control.WakeIndexRequest(name=options.name)
        _show(connection.call(connection.control.WakeIndex, request).index, screen)

    parser = Parser(
        "torpor index wake",
        "Wake an index ahead of its first query.",
        "torpor index wake docs",
    )
    parser.add_argument("name", metavar="NAME")
    return parser, work


def _sleep() -> tuple[Parser, Work]:
    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        request = control.SleepIndexRequest(name=options.name)
        _show(connection.call(connection.control.SleepIndex, request).index, screen)

    parser = Parser(
        "torpor index sleep",
        "Put an index to sleep now. Queries in flight are answered first.",
        "torpor index sleep docs",
    )
    parser.add_argument("name", metavar="NAME")
    return parser, work


def _add_idle_seconds(parser: Parser) -> None:
    parser.add_argument(
        "--idle-seconds",
        metavar="S",
        type=positive_number,
        help="seconds without a query after which it falls asleep",
    )


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _show(index: control.Index, screen: Screen) -> None:
    if screen.as_json:
        screen.document(document(index))
    else:
        report(index, screen)
