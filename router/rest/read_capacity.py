"""Read capacity and pods between JSON and the messages: the same in requests and in answers."""

from typing import Any

from router.errors import InvalidArgument
from router.rest.fields import Fields
from torpor.v1 import control_pb2 as control

_MODES = {
    "OnDemand": control.CAPACITY_MODE_ON_DEMAND,
    "Dedicated": control.CAPACITY_MODE_DEDICATED,
}
_STATES = {
    control.CAPACITY_STATE_SCALING: "Scaling",
    control.CAPACITY_STATE_ERROR: "Error",
}


def read_capacity(fields: Fields) -> control.ReadCapacity:
    """`{mode, dedicated{node_type, scaling, manual{shards, replicas}}}`, in which all may be absent."""
    mode = fields.text("mode")
    if mode and mode not in _MODES:
        raise InvalidArgument(
            f"read_capacity has the mode {mode!r}; it must be OnDemand or Dedicated."
        )
    dedicated = fields.object("dedicated") or Fields({})
    scaling = dedicated.text("scaling")
    if scaling not in ("", "Manual"):
        raise InvalidArgument(f"read_capacity has the scaling {scaling!r}; it must be Manual.")
    manual = dedicated.object("manual") or Fields({})
    return control.ReadCapacity(
        mode=_MODES.get(mode, control.CAPACITY_MODE_UNSPECIFIED),
        replicas=manual.whole("replicas"),
        node_type=dedicated.text("node_type"),
        shards=manual.whole("shards"),
    )


def shown_read_capacity(capacity: control.ReadCapacity) -> dict[str, Any]:
    """What an index's answers say of its read capacity."""
    status: dict[str, Any] = {"state": _STATES.get(capacity.state, "Ready")}
    if capacity.mode != control.CAPACITY_MODE_DEDICATED:
        return {"mode": "OnDemand", "status": status}
    status["current_replicas"] = capacity.current_replicas
    status["current_shards"] = capacity.shards or 1
    if capacity.error_message:
        status["error_message"] = capacity.error_message
    manual = {"shards": capacity.shards or 1, "replicas": capacity.replicas}
    return {
        "mode": "Dedicated",
        "dedicated": {
            "node_type": capacity.node_type or "b1",
            "scaling": "Manual",
            "manual": manual,
        },
        "status": status,
    }


def pod(fields: Fields) -> control.Pod:
    """`{environment, pod_type, replicas, shards, metadata_config{indexed}}`, in which all may be absent.

    `pods` is their product and is not read.
    """
    indexed = fields.object("metadata_config")
    return control.Pod(
        environment=fields.text("environment"),
        pod_type=fields.text("pod_type"),
        replicas=fields.whole("replicas"),
        shards=fields.whole("shards"),
        indexed=indexed.texts("indexed") if indexed else [],
    )


def shown_pod(one: control.Pod) -> dict[str, Any]:
    """What both forms of an index say of its pods."""
    return {
        "environment": one.environment,
        "pod_type": one.pod_type,
        "replicas": one.replicas,
        "shards": one.shards or 1,
    }
