"""`torpor index recall`: how near the approximate answers of an index are to the exact ones."""

import argparse

from torpor.cli import json_argument
from torpor.cli.command import Parser, Work, count
from torpor.cli.connection import Connection
from torpor.cli.messages import struct
from torpor.cli.screen import Screen, counted
from torpor.v1 import data_pb2 as data


def recall() -> tuple[Parser, Work]:
    """The command and what it does."""

    def work(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
        found = connection.call(connection.data.MeasureRecall, _request(options))
        if screen.as_json:
            names = [field.name for field in found.DESCRIPTOR.fields]
            screen.document({name: getattr(found, name) for name in names}, connection.outcome)
            return
        if found.samples:
            screen.facts(options.name, _facts(found, options.top_k))
        screen.summary(counted(found.samples, "sample"), connection.outcome)

    parser = Parser(
        "torpor index recall",
        "Measure recall: records drawn at random ask for their nearest neighbours, approximately and "
        "exactly. Wakes a sleeping index; takes about as long as so many exact queries.",
        "torpor index recall docs",
        "torpor index recall docs --namespace news -k 100 --samples 1000 --scan-factor 2",
        "torpor index recall docs --json | jq .recall_low",
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--namespace", metavar="NAME", default="", help="default: the default one")
    parser.add_argument(
        *("-k", "--top-k"), metavar="K", type=count, default=10, help="neighbours (default 10)"
    )
    parser.add_argument(
        "--samples", metavar="N", type=count, default=100, help="records (default 100)"
    )
    parser.add_argument("--seed", metavar="N", type=int, help="draw the same records again")
    parser.add_argument("--scan-factor", metavar="F", type=float, help="as in torpor query")
    parser.add_argument("--max-candidates", metavar="N", type=count, help="as in torpor query")
    parser.add_argument("--filter", metavar="JSON", help="only neighbours whose metadata match")
    return parser, work


def _request(options: argparse.Namespace) -> data.MeasureRecallRequest:
    return data.MeasureRecallRequest(
        index=options.name,
        namespace=options.namespace,
        top_k=options.top_k,
        samples=options.samples,
        seed=options.seed,
        scan_factor=options.scan_factor,
        max_candidates=options.max_candidates,
        filter=json_argument.read_if("--filter", options.filter, struct),
    )


def _facts(found: data.MeasureRecallResponse, top_k: int) -> dict[str, str]:
    return {
        f"recall@{top_k}": f"{found.recall:.4f}",
        "95 % confidence": f"{found.recall_low:.4f} to {found.recall_high:.4f}",
        "records": f"{found.records:,}",
        "answers known to be exact": f"{found.exact:,}",
        "approximate answer": f"{found.approximate_ms:.2f} ms in the worker",
        "exact answer": f"{found.exact_ms:.2f} ms in the worker",
        "seed": str(found.seed),
    }
