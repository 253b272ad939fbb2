"""What requests say of read capacity and of pods, which are one thing in two spellings: replicas."""

import re

from router.errors import InvalidArgument
from storage.index_row import Dedicated, IndexRow, Pod
from torpor.v1 import control_pb2 as control

_NODE_TYPES = ("b1", "t1")
_POD_TYPE = re.compile(r"(s1|p1|p2)\.x[1248]")
_ENVIRONMENT = re.compile(r"[a-z0-9-]{1,45}")

Fields = tuple[str, ...]


def new_capacity(
    request: control.CreateIndexRequest,
) -> tuple[Dedicated | None, Pod | None, Fields]:
    """The replicas of a new index, its pod, and the fields its pod lets filters use.

    Raises InvalidArgument, as `changed_capacity` does.
    """
    if not request.HasField("pod"):
        return _dedicated(None, request.read_capacity), None, ()
    if request.HasField("read_capacity"):
        raise InvalidArgument("An index has a pod or a read capacity, not both; leave one out.")
    pod, defaults = request.pod, Pod()
    made = Pod(
        environment=pod.environment or defaults.environment,
        pod_type=_pod_type(pod.pod_type or defaults.pod_type),
        shards=_shards(pod.shards if pod.HasField("shards") else defaults.shards),
    )
    if not _ENVIRONMENT.fullmatch(made.environment):
        raise InvalidArgument(
            f"The environment {made.environment!r} is not 1 to 45 characters of a-z, 0-9 and '-'."
        )
    replicas = pod.replicas if pod.HasField("replicas") else Dedicated().replicas
    return Dedicated(replicas), made, tuple(pod.indexed)


def changed_capacity(
    row: IndexRow, request: control.ConfigureIndexRequest
) -> tuple[Dedicated | None, Pod | None]:
    """The replicas of an index and its pod, with the changes that are asked for."""
    if row.pod is None or row.dedicated is None:
        if request.HasField("pod"):
            raise InvalidArgument(
                "Configuring replicas and pod type is not supported for serverless indexes; change "
                f"the capacity of index {row.name!r} with read_capacity."
            )
        if not request.HasField("read_capacity"):
            return row.dedicated, None
        return _dedicated(row.dedicated, request.read_capacity), None
    if request.HasField("read_capacity"):
        raise InvalidArgument(
            f"Index {row.name!r} has a pod; change its capacity with pod.replicas."
        )
    return _changed_pod(row.dedicated, row.pod, request.pod)


def _dedicated(now: Dedicated | None, asked: control.ReadCapacity) -> Dedicated | None:
    """The replicas after a change; None is on demand."""
    mode = asked.mode
    if mode == control.CAPACITY_MODE_UNSPECIFIED:
        mode = control.CAPACITY_MODE_DEDICATED if now else control.CAPACITY_MODE_ON_DEMAND
    if mode == control.CAPACITY_MODE_DEDICATED:
        before = now or Dedicated()
        return Dedicated(
            replicas=asked.replicas if asked.HasField("replicas") else before.replicas,
            node_type=_node_type(asked.node_type or before.node_type),
            shards=_shards(asked.shards if asked.HasField("shards") else before.shards),
        )
    if mode != control.CAPACITY_MODE_ON_DEMAND:
        raise InvalidArgument(f"The capacity mode {mode} is not one this server knows.")
    if asked.HasField("replicas") or asked.HasField("shards") or asked.node_type:
        raise InvalidArgument(
            "replicas, shards and node_type belong to CAPACITY_MODE_DEDICATED; on demand there are none."
        )
    return None


def _changed_pod(
    dedicated: Dedicated, pod: Pod, asked: control.Pod
) -> tuple[Dedicated | None, Pod | None]:
    environment = asked.environment or pod.environment
    shards = asked.shards if asked.HasField("shards") else pod.shards
    if environment != pod.environment or shards != pod.shards or asked.indexed:
        raise InvalidArgument("Of a pod, replicas and pod_type can change, and nothing else.")
    replicas = asked.replicas if asked.HasField("replicas") else dedicated.replicas
    pod_type = _pod_type(asked.pod_type or pod.pod_type)
    if pod_type.partition(".")[0] != pod.pod_type.partition(".")[0]:
        raise InvalidArgument(
            f"Cannot change pod type {pod.pod_type} to {pod_type}; only its size, after the dot, can."
        )
    return Dedicated(replicas), Pod(environment, pod_type, shards)


def _node_type(name: str) -> str:
    if name not in _NODE_TYPES:
        raise InvalidArgument(f"The node type {name!r} is none; there are b1 and t1.")
    return name


def _pod_type(name: str) -> str:
    if not _POD_TYPE.fullmatch(name):
        raise InvalidArgument(
            f"The pod type {name!r} is none; it is s1, p1 or p2 with .x1, .x2, .x4 or .x8."
        )
    return name


def _shards(number: int) -> int:
    if number < 1:
        raise InvalidArgument("There are 0 shards asked for; an index has at least 1.")
    return number
