"""An index as the control plane's messages show it."""

from router.addresses import Addresses
from router.index import Index
from router.lifecycle import Phase
from router.replicas import Standing
from router.validate_index import METRICS
from router.wake import Wake
from storage.index_row import Costs, IndexRow
from torpor.v1 import control_pb2 as control

METRIC_NUMBERS = {name: number for number, name in METRICS.items()}
VECTOR_TYPES = {
    "dense": control.VECTOR_TYPE_DENSE,
    "sparse": control.VECTOR_TYPE_SPARSE,
}
_STATES = {
    Phase.ASLEEP: control.STATE_ASLEEP,
    Phase.WAKING: control.STATE_WAKING,
    Phase.AWAKE: control.STATE_AWAKE,
    Phase.DRAINING: control.STATE_DRAINING,
    Phase.FAILED: control.STATE_FAILED,
}


class Describer:
    """Makes Index messages."""

    def __init__(self, addresses: Addresses, idle_seconds: float) -> None:
        """`idle_seconds` is the server's default, shown where an index has none of its own."""
        self._addresses = addresses
        self._idle_seconds = idle_seconds

    def index(self, index: Index) -> control.Index:
        """An index as it is now."""
        row, live = index.row, index.live
        awake_seconds = live.replicas.awake_seconds if live else 0.0
        described = control.Index(
            name=row.name,
            id=row.id,
            dimension=row.dimension,
            metric=METRIC_NUMBERS[row.metric],
            vector_type=VECTOR_TYPES[row.vector_type],
            spec=control.Spec(cloud=row.cloud, region=row.region),
            deletion_protection=row.deletion_protection,
            tags=row.tags,
            idle_seconds=self._idle_seconds if row.idle_seconds is None else row.idle_seconds,
            host=self._addresses.url_of(row),
            state=_STATES[live.replicas.phase] if live else control.STATE_ASLEEP,
            cost=_cost(row.costs + index.unsaved, awake_seconds),
            read_capacity=_read_capacity(index),
            pod=_pod(row),
            schema=control.Schema(
                dense_field=row.schema.dense_field,
                sparse_field=row.schema.sparse_field,
                filterable=row.schema.filterable,
            ),
            source_collection=row.source_collection or "",
        )
        described.created.FromMilliseconds(row.created_unix_ms)
        if index.last_wake is not None:
            described.last_wake.CopyFrom(_wake(index.last_wake))
        return described


def _cost(costs: Costs, awake_seconds: float) -> control.Cost:
    """What was used; `awake_seconds` are those of the workers alive now."""
    return control.Cost(
        cold_starts=costs.wakes,
        awake_seconds=costs.awake_seconds + awake_seconds,
        cpu_seconds=costs.cpu_seconds,
        build_cpu_seconds=costs.build_cpu_seconds,
        queries=costs.queries,
        vectors_upserted=costs.upserted_vectors,
        log_bytes=costs.log_bytes,
    )


def _read_capacity(index: Index) -> control.ReadCapacity:
    dedicated, live = index.row.dedicated, index.live
    if dedicated is None:
        return control.ReadCapacity(
            mode=control.CAPACITY_MODE_ON_DEMAND, state=control.CAPACITY_STATE_READY
        )
    # Replicas that do not exist yet are on their way: the index is being opened.
    standing = live.replicas.standing if live else Standing(dedicated.replicas, 0, 0, index.trouble)
    if standing.trouble:
        state = control.CAPACITY_STATE_ERROR
    elif standing.settled:
        state = control.CAPACITY_STATE_READY
    else:
        state = control.CAPACITY_STATE_SCALING
    return control.ReadCapacity(
        mode=control.CAPACITY_MODE_DEDICATED,
        replicas=dedicated.replicas,
        node_type=dedicated.node_type,
        shards=dedicated.shards,
        state=state,
        current_replicas=standing.awake,
        error_message=standing.trouble,
    )


def _pod(row: IndexRow) -> control.Pod | None:
    if row.pod is None or row.dedicated is None:
        return None
    return control.Pod(
        environment=row.pod.environment,
        pod_type=row.pod.pod_type,
        replicas=row.dedicated.replicas,
        shards=row.pod.shards,
        indexed=row.schema.filterable,
    )


def _wake(wake: Wake) -> control.Wake:
    described = control.Wake(
        queue_ms=wake.queue_ms,
        fork_ms=wake.fork_ms,
        open_ms=wake.open_ms,
        replay_ms=wake.replay_ms,
        first_scan_ms=wake.first_scan_ms,
        total_ms=wake.total_ms,
    )
    described.time.FromMilliseconds(int(wake.unix_seconds * 1e3))
    return described
