"""The options about read capacity of `torpor index create` and `configure`, as messages."""

import argparse

from torpor.cli.command import Parser, whole_number
from torpor.cli.connection import Connection
from torpor.cli.errors import UsageError
from torpor.v1 import control_pb2 as control


def add_to_create(parser: Parser) -> None:
    """How many workers a new index has."""
    group = parser.add_argument_group("read capacity (default: on demand)")
    group.add_argument(
        "--replicas", metavar="N", type=whole_number, help="workers that are always awake"
    )
    group.add_argument("--pod-type", metavar="TYPE", help="create it with pods, such as p1.x1")
    group.add_argument(
        "--environment", metavar="NAME", help="the environment of its pods (default local)"
    )


def add_to_configure(parser: Parser) -> None:
    """How many workers an index is to have."""
    group = parser.add_argument_group("read capacity")
    kind = group.add_mutually_exclusive_group()
    kind.add_argument(
        "--replicas",
        metavar="N",
        type=whole_number,
        help="workers that are always awake; with 0, it can be written and not read",
    )
    kind.add_argument(
        "--on-demand", action="store_true", help="a query wakes a worker, which leaves when idle"
    )
    group.add_argument("--pod-type", metavar="TYPE", help="the type of its pods, such as p1.x2")


def create_with(request: control.CreateIndexRequest, options: argparse.Namespace) -> None:
    """Puts the options into a request."""
    if options.pod_type is not None or options.environment is not None:
        request.pod.pod_type = options.pod_type or ""
        request.pod.environment = options.environment or ""
        if options.replicas is not None:
            request.pod.replicas = options.replicas
    elif options.replicas is not None:
        request.read_capacity.mode = control.CAPACITY_MODE_DEDICATED
        request.read_capacity.replicas = options.replicas


def configure_with(
    request: control.ConfigureIndexRequest, options: argparse.Namespace, connection: Connection
) -> None:
    """Puts the options into a request; asks whether the index has pods if that matters."""
    if options.on_demand:
        if options.pod_type is not None:
            raise UsageError("--pod-type and --on-demand cannot be had together")
        request.read_capacity.mode = control.CAPACITY_MODE_ON_DEMAND
        return
    if options.pod_type is not None:
        request.pod.pod_type = options.pod_type
    if options.replicas is None:
        return
    describe = control.DescribeIndexRequest(name=options.name)
    index = connection.call(connection.control.DescribeIndex, describe).index
    if index.HasField("pod") or options.pod_type is not None:
        request.pod.replicas = options.replicas
    else:
        request.read_capacity.mode = control.CAPACITY_MODE_DEDICATED
        request.read_capacity.replicas = options.replicas
