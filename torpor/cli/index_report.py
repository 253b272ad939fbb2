"""One index as people read it: what it is, what it has cost, where its last wake spent its time."""

from datetime import datetime

from torpor.cli.messages import word
from torpor.cli.screen import Screen, counted
from torpor.v1 import control_pb2 as control


def report(index: control.Index, screen: Screen) -> None:
    """Prints all there is to know about an index."""
    screen.facts(index.name, _settings(index))
    screen.facts("cost", _cost(index.cost))
    if index.HasField("last_wake"):
        screen.facts("last wake", _wake(index.last_wake))


def _settings(index: control.Index) -> dict[str, str]:
    sparse = index.vector_type == control.VECTOR_TYPE_SPARSE
    dedicated = index.read_capacity.mode == control.CAPACITY_MODE_DEDICATED
    facts = {
        "state": word(control.State.DESCRIPTOR, index.state),
        "host": index.host,
        "read capacity": _capacity(index.read_capacity) if dedicated else "on demand",
        "vectors": "sparse" if sparse else f"{index.dimension:,} dimensions",
        "metric": word(control.Metric.DESCRIPTOR, index.metric),
        "falls asleep after": "never" if dedicated else f"{index.idle_seconds:g} s",
        "protected": "yes" if index.deletion_protection else "no",
        "tags": ", ".join(f"{key}={value}" for key, value in sorted(index.tags.items())) or "none",
        "lives in": f"{index.spec.cloud}/{index.spec.region}/{index.id}",
        "created": _time(index.created.ToDatetime()),
    }
    if index.HasField("pod"):
        facts["pods"] = f"{index.pod.pod_type} in {index.pod.environment}"
    if index.schema.filterable:
        facts["filters may use"] = ", ".join(index.schema.filterable)
    if index.source_collection:
        facts["made of the collection"] = index.source_collection
    return facts


def _capacity(capacity: control.ReadCapacity) -> str:
    awake = f"{capacity.current_replicas} of {counted(capacity.replicas, 'replica')} awake"
    trouble = f": {capacity.error_message}" if capacity.error_message else ""
    return f"{awake}, {word(control.CapacityState.DESCRIPTOR, capacity.state)}{trouble}"


def _cost(cost: control.Cost) -> dict[str, str]:
    return {
        "cold starts": f"{cost.cold_starts:,}",
        "seconds awake": f"{cost.awake_seconds:,.2f}",
        "worker CPU seconds": f"{cost.cpu_seconds:,.2f}",
        "builder CPU seconds": f"{cost.build_cpu_seconds:,.2f}",
        "queries and fetches": f"{cost.queries:,}",
        "vectors upserted": f"{cost.vectors_upserted:,}",
        "log written": f"{cost.log_bytes:,} bytes",
    }


def _wake(wake: control.Wake) -> dict[str, str]:
    phases = {
        "queue": wake.queue_ms,
        "fork": wake.fork_ms,
        "open": wake.open_ms,
        "log replay": wake.replay_ms,
        "first scan": wake.first_scan_ms,
        "total": wake.total_ms,
    }
    shown = {phase: f"{value:.2f} ms" for phase, value in phases.items()}
    return {"began": _time(wake.time.ToDatetime()), **shown}


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
