"""What CreateIndex and ConfigureIndex ask for, as the row of an index: checked, with its defaults."""

import re
from collections.abc import Iterable
from dataclasses import replace

from router.errors import InvalidArgument
from router.limits import IDLE_SECONDS_MAX, IDLE_SECONDS_MIN
from router.validate import check_field
from router.validate_capacity import changed_capacity, new_capacity
from storage import limits
from storage.index_row import Costs, IndexRow, Schema
from torpor.v1 import control_pb2 as control

METRICS = {
    control.METRIC_COSINE: "cosine",
    control.METRIC_EUCLIDEAN: "euclidean",
    control.METRIC_DOTPRODUCT: "dotproduct",
}

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")
_PLACE = re.compile(r"[a-z0-9-]{1,45}")
_TAG_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_TAG_VALUE = re.compile(r"[ -~]{0,120}")


def new_row(request: control.CreateIndexRequest) -> IndexRow:
    """The index to create, without its id, number and time; raises InvalidArgument."""
    check_name(request.name, "index")
    metric = _new_metric(request)
    _check_vector_type(request, metric)
    dedicated, pod, indexed = new_capacity(request)
    tags = dict(request.tags)
    _check_tags(tags)
    return IndexRow(
        id="",
        name=request.name,
        dimension=request.dimension,
        metric=metric,
        cloud=_place("cloud", request.spec.cloud or "local"),
        region=_place("region", request.spec.region or "default"),
        deletion_protection=request.deletion_protection,
        tags=tags,
        idle_seconds=_idle_seconds(request),
        created_unix_ms=0,
        costs=Costs(),
        dedicated=dedicated,
        pod=pod,
        schema=_new_schema(request, indexed),
        source_collection=request.source_collection or None,
    )


def changed_row(row: IndexRow, request: control.ConfigureIndexRequest) -> IndexRow:
    """The index with the changes that are asked for; raises InvalidArgument."""
    if request.HasField("deletion_protection"):
        row = replace(row, deletion_protection=request.deletion_protection)
    if request.tags:
        merged = {**row.tags, **request.tags}
        row = replace(row, tags={key: value for key, value in merged.items() if value})
        _check_tags(row.tags)
    if request.HasField("idle_seconds"):
        row = replace(row, idle_seconds=_idle_seconds(request))
    dedicated, pod = changed_capacity(row, request)
    return replace(row, dedicated=dedicated, pod=pod)


def check_name(name: str, what: str) -> None:
    """Raises InvalidArgument unless an index or a collection may have this name."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"The {what} name {name!r} is not 1 to 45 characters of a-z, 0-9 and '-', the first and "
            "last of them an alphanumeric character."
        )


def _place(what: str, name: str) -> str:
    if not _PLACE.fullmatch(name):
        raise InvalidArgument(f"The {what} {name!r} is not 1 to 45 characters of a-z, 0-9 and '-'.")
    return name


def _new_metric(request: control.CreateIndexRequest) -> str:
    if not request.metric:
        sparse = request.vector_type == control.VECTOR_TYPE_SPARSE
        return "dotproduct" if sparse else "cosine"
    metric = METRICS.get(request.metric)
    if metric is None:
        raise InvalidArgument(f"metric {request.metric} is not one this server knows.")
    return metric


def _check_vector_type(request: control.CreateIndexRequest, metric: str) -> None:
    """Raises InvalidArgument unless vector type, dimension and metric fit together."""
    dimension = request.dimension
    match request.vector_type:
        case control.VECTOR_TYPE_SPARSE:
            if request.HasField("pod"):
                raise InvalidArgument("Sparse vector type is not supported for pod indexes")
            if metric != "dotproduct":
                raise InvalidArgument("Sparse vector indexes must use the metric dotproduct")
            if dimension:
                raise InvalidArgument(
                    f"The dimension is {dimension}; a sparse index has none, leave it out."
                )
        case control.VECTOR_TYPE_UNSPECIFIED | control.VECTOR_TYPE_DENSE:
            if not 1 <= dimension <= limits.DIMENSION_MAX:
                raise InvalidArgument(
                    f"The dimension is {dimension}; it must be 1 to {limits.DIMENSION_MAX}."
                )
        case unknown:
            raise InvalidArgument(f"vector_type {unknown} is not one this server knows.")


def _check_tags(tags: dict[str, str]) -> None:
    if len(tags) > limits.TAGS_MAX:
        raise InvalidArgument(f"There are {len(tags)} tags; at most {limits.TAGS_MAX}.")
    for key, value in tags.items():
        if not _TAG_KEY.fullmatch(key):
            raise InvalidArgument(f"The tag key {key!r} is not 1 to 80 of A-Z, a-z, 0-9, _ and -.")
        if not _TAG_VALUE.fullmatch(value):
            raise InvalidArgument(f"The value of tag {key!r} is not 0 to 120 printable characters.")


def _idle_seconds(
    request: control.CreateIndexRequest | control.ConfigureIndexRequest,
) -> float | None:
    """The idle time asked for; None is the server's default."""
    if not request.HasField("idle_seconds"):
        return None
    seconds = request.idle_seconds
    if not IDLE_SECONDS_MIN <= seconds <= IDLE_SECONDS_MAX:
        raise InvalidArgument(
            f"idle_seconds is {seconds}; it must be {IDLE_SECONDS_MIN} to {IDLE_SECONDS_MAX:.0f}."
        )
    return seconds


# Schemas


def _new_schema(request: control.CreateIndexRequest, indexed: tuple[str, ...]) -> Schema:
    """What the vectors are called, and which fields filters may use: `indexed` are a pod's."""
    sparse = request.vector_type == control.VECTOR_TYPE_SPARSE
    asked = request.schema
    if indexed and asked.filterable:
        raise InvalidArgument(
            "Fields that filters may use are named in pod.indexed or in schema.filterable, not in both."
        )
    if sparse and asked.dense_field:
        raise InvalidArgument(
            f"A sparse index has no dense vectors to be called {asked.dense_field!r}."
        )
    defaults = Schema()
    # A schema that names no sparse field asks for none; only a sparse index cannot be without.
    sparse_default = "" if request.HasField("schema") and not sparse else defaults.sparse_field
    schema = Schema(
        dense_field="" if sparse else asked.dense_field or defaults.dense_field,
        sparse_field=asked.sparse_field or sparse_default,
        filterable=tuple(asked.filterable) or indexed,
    )
    _check_schema(schema)
    return schema


def _check_schema(schema: Schema) -> None:
    if len(schema.filterable) > limits.SCHEMA_FIELDS_MAX:
        raise InvalidArgument(
            f"There are {len(schema.filterable)} filterable fields; at most "
            f"{limits.SCHEMA_FIELDS_MAX}."
        )
    vectors = [name for name in (schema.dense_field, schema.sparse_field) if name]
    defaults = Schema()
    for name in vectors:
        # Names with a '_' ahead are the documents' own, as _id and _score.
        if name.startswith("_") and name not in (defaults.dense_field, defaults.sparse_field):
            raise InvalidArgument(
                f"The vectors cannot be called {name!r}: of names that start with '_' there are only "
                f"{defaults.dense_field!r} and {defaults.sparse_field!r}."
            )
    names = [*vectors, *schema.filterable]
    for name in names:
        check_field(name)
    if (twice := _first_twice(names)) is not None:
        raise InvalidArgument(f"The schema has the field {twice!r} twice.")


def _first_twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
