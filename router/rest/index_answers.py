"""An index as JSON: one object that carries both forms, of which each client reads its own.

An index is ready from the moment it is created, asleep or awake: there is no other status.
"""

from typing import Any

from router.rest.index_requests import BYOC_CLOUD, SPARSE_FIELD
from router.rest.read_capacity import shown_pod, shown_read_capacity
from torpor.v1 import control_pb2 as control

_METRICS = {
    control.METRIC_COSINE: "cosine",
    control.METRIC_EUCLIDEAN: "euclidean",
    control.METRIC_DOTPRODUCT: "dotproduct",
}


def shown_index(index: control.Index, bare_host: bool) -> dict[str, Any]:
    """An index; its host without a scheme, if `bare_host`."""
    sparse = index.vector_type == control.VECTOR_TYPE_SPARSE
    shown: dict[str, Any] = {
        "name": index.name,
        "metric": _METRICS[index.metric],
        "host": index.host.partition("://")[2] if bare_host else index.host,
        "vector_type": "sparse" if sparse else "dense",
        "deletion_protection": "enabled" if index.deletion_protection else "disabled",
        "status": {"ready": True, "state": "Ready"},
        "spec": _spec(index),
        "schema": {"fields": _schema_fields(index)},
        "deployment": _deployment(index),
    }
    if not sparse:
        shown["dimension"] = index.dimension
    if index.tags:
        shown["tags"] = dict(index.tags)
    if not index.HasField("pod"):
        shown["read_capacity"] = shown_read_capacity(index.read_capacity)
    if index.source_collection:
        shown["source_collection"] = index.source_collection
    return shown


def _spec(index: control.Index) -> dict[str, Any]:
    if index.HasField("pod"):
        place = shown_pod(index.pod)
        place["pods"] = place["replicas"] * place["shards"]
        if index.pod.indexed:
            place["metadata_config"] = {"indexed": list(index.pod.indexed)}
        kind = "pod"
    else:
        place = {"read_capacity": shown_read_capacity(index.read_capacity)}
        if index.spec.cloud == BYOC_CLOUD:
            kind = "byoc"
            place["environment"] = index.spec.region
        else:
            kind = "serverless"
            place["cloud"], place["region"] = index.spec.cloud, index.spec.region
        if index.schema.filterable:
            fields = {name: {"filterable": True} for name in index.schema.filterable}
            place["schema"] = {"fields": fields}
    if index.source_collection:
        place["source_collection"] = index.source_collection
    return {kind: place}


def _schema_fields(index: control.Index) -> dict[str, Any]:
    dense, sparse = index.schema.dense_field, index.schema.sparse_field
    if dense and sparse == SPARSE_FIELD and index.metric != control.METRIC_DOTPRODUCT:
        # Indexes have sparse values by default; clients compute a dimension of one vector field only.
        sparse = ""
    fields: dict[str, Any] = {}
    if dense:
        fields[dense] = {
            "type": "dense_vector",
            "dimension": index.dimension,
            "metric": _METRICS[index.metric],
        }
    if sparse:
        fields[sparse] = {"type": "sparse_vector"}
    fields.update((name, {"filterable": True}) for name in index.schema.filterable)
    return fields


def _deployment(index: control.Index) -> dict[str, Any]:
    if index.HasField("pod"):
        return {"deployment_type": "pod", **shown_pod(index.pod)}
    if index.spec.cloud == BYOC_CLOUD:
        return {"deployment_type": "byoc", "environment": index.spec.region}
    return {
        "deployment_type": "managed",
        "cloud": index.spec.cloud,
        "region": index.spec.region,
    }
