"""`torpor query`: the nearest neighbours of a vector, of a record, or of sparse values."""

import argparse
from collections.abc import Sequence

from torpor.cli import json_argument
from torpor.cli.command import Parser, count, log_number, run
from torpor.cli.connection import Connection
from torpor.cli.errors import UsageError
from torpor.cli.messages import dense, floats, plain, sparse, sparse_object, struct
from torpor.cli.screen import Screen, brief, compact, counted
from torpor.v1 import data_pb2 as data


def main(arguments: Sequence[str]) -> int:
    """Runs `torpor query`; returns the exit status."""
    parser = Parser(
        "torpor query",
        "Find the nearest neighbours, best first. Wakes a sleeping index.",
        "torpor query docs --vector '[0.1, 0.2, 0.3]' --top-k 3",
        'torpor query docs --id a --filter \'{"year": {"$gte": 2020}}\' --namespace news',
        'embed "a text" | torpor query docs --vector - --json',
    )
    parser.add_argument("index", metavar="INDEX")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--vector", metavar="JSON", help=f"a list of numbers: {json_argument.HELP}")
    asked.add_argument("--id", help="ask by the stored vector of this record")
    parser.add_argument(
        "--sparse",
        metavar="JSON",
        help='{"indices": [...], "values": [...]}: the query of a sparse index, or added to --vector',
    )
    parser.add_argument(
        "--top-k", metavar="K", type=count, default=10, help="how many (default 10)"
    )
    parser.add_argument("--filter", metavar="JSON", help="only records whose metadata match")
    parser.add_argument(
        "--namespace",
        metavar="NAME",
        action="append",
        default=[],
        help="several are searched together when it is given several times",
    )
    parser.add_argument("--include-values", action="store_true", help="show the matches' values")
    parser.add_argument("--no-metadata", action="store_true", help="leave the metadata out")
    effort = parser.add_argument_group("how a large namespace is searched")
    effort.add_argument("--exact", action="store_true", help="as a whole, whatever it takes")
    effort.add_argument(
        "--scan-factor", metavar="F", type=float, help="so many times the default of it, 0.5 to 4"
    )
    effort.add_argument(
        "--max-candidates", metavar="N", type=count, help="score at most so many of its records"
    )
    freshness = parser.add_mutually_exclusive_group()
    freshness.add_argument(
        "--at-least-lsn", metavar="LSN", type=log_number, help="see at least this write"
    )
    freshness.add_argument(
        "--current-view", action="store_true", help="look for nothing newer than the worker knows"
    )
    return run(parser, arguments, _query)


def _query(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
    response = connection.call(connection.data.Query, _request(options))
    several = len(options.namespace) > 1
    if screen.as_json:
        content = {"matches": [_match(match, several=several) for match in response.matches]}
        screen.document(content, connection.outcome)
        return
    columns = {"id": "left", "score": "right"}
    columns |= {"namespace": "left"} if several else {}
    columns |= {} if options.no_metadata else {"metadata": "left"}
    columns |= {"values": "left"} if options.include_values else {}
    rows = []
    for match in response.matches:
        row = [match.id, f"{match.score:.6g}"]
        row += [match.namespace] if several else []
        row += [] if options.no_metadata else [compact(plain(match.metadata))]
        row += [_values(match)] if options.include_values else []
        rows.append(row)
    if rows:
        screen.table(columns, rows)
    screen.summary(counted(len(rows), "match", "matches"), connection.outcome)


def _request(options: argparse.Namespace) -> data.QueryRequest:
    if options.vector is None and options.id is None and options.sparse is None:
        raise UsageError("say what to ask with: --vector, --id or --sparse")
    if options.id is not None and options.sparse is not None:
        raise UsageError("--id asks by a stored vector; --sparse cannot be added to it")
    if options.id is not None and len(options.namespace) > 1:
        raise UsageError("--id names a record of one namespace; give at most one --namespace")
    several = options.namespace if len(options.namespace) > 1 else []
    request = data.QueryRequest(
        index=options.index,
        namespace=options.namespace[0] if len(options.namespace) == 1 else "",
        namespaces=several,
        top_k=options.top_k,
        vector=json_argument.read_if("--vector", options.vector, dense),
        id=options.id or "",
        sparse_vector=json_argument.read_if("--sparse", options.sparse, sparse),
        filter=json_argument.read_if("--filter", options.filter, struct),
        include_values=options.include_values,
        include_metadata=not options.no_metadata,
        scan_factor=options.scan_factor,
        max_candidates=options.max_candidates,
        exact=options.exact,
        at_least_lsn=options.at_least_lsn,
    )
    # Also a false one would take the place of at_least_lsn.
    if options.current_view:
        request.current_view = True
    return request


def _match(match: data.ScoredVector, *, several: bool) -> dict[str, object]:
    made: dict[str, object] = {"id": match.id, "score": floats([match.score])[0]}
    if several:
        made["namespace"] = match.namespace
    if match.HasField("metadata"):
        made["metadata"] = plain(match.metadata)
    if match.values:
        made["values"] = floats(match.values)
    if match.HasField("sparse_values"):
        made["sparse_values"] = sparse_object(match.sparse_values)
    return made


def _values(match: data.ScoredVector) -> str:
    parts = [brief(match.values)]
    if match.HasField("sparse_values"):
        parts.append(f"sparse {brief(match.sparse_values.values)}")
    return " ".join(part for part in parts if part)
