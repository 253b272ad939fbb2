"""What creates and changes an index, read from JSON of either form.

Through 2026-04 an index is a dimension, a metric and a `spec`; from 2026-07 on, and in alphas, a
`schema` of fields and a `deployment`. A body that holds a spec, or a schema, says which one it is; only
one that holds neither is of the form of the version that its header names.
"""

import secrets
from collections.abc import Mapping
from typing import TypeVar

from router.errors import InvalidArgument
from router.rest.errors import Misfit, NotOffered
from router.rest.fields import Fields
from router.rest.read_capacity import pod, read_capacity
from torpor.v1 import control_pb2 as control

VERSION_HEADER = "x-pinecone-api-version"
# The environment of somebody's own cloud is kept as a region of this one.
BYOC_CLOUD = "byoc"
DENSE_FIELD = "_values"
SPARSE_FIELD = "_sparse_values"

_SCHEMA_FORM_SINCE = "2026-07"
_METRICS = {
    "cosine": control.METRIC_COSINE,
    "euclidean": control.METRIC_EUCLIDEAN,
    "dotproduct": control.METRIC_DOTPRODUCT,
}
_VECTOR_TYPES = {"dense": control.VECTOR_TYPE_DENSE, "sparse": control.VECTOR_TYPE_SPARSE}
_SCALARS = {"string", "float", "boolean", "string_list", "integer", ""}
# What makes a string a text to be searched.
_SEARCHED = ("full_text_search", "embed", "sparse_embed")
_PROTECTION = {"": None, "enabled": True, "disabled": False}


def create_request(fields: Fields, version: str) -> control.CreateIndexRequest:
    """A new index, of either form."""
    schema_form = "schema" in fields or (
        "spec" not in fields and (version >= _SCHEMA_FORM_SINCE or version.endswith(".alpha"))
    )
    request = _of_schema(fields) if schema_form else _of_spec(fields)
    request.name = fields.text("name") or f"index-{secrets.token_hex(4)}"
    request.deletion_protection = _protection(fields) or False
    request.tags.update(_tags(fields))
    return request


def configure_request(name: str, fields: Fields) -> control.ConfigureIndexRequest:
    """Changes to an index, of either form; what is absent stays."""
    if "schema" in fields:
        raise NotOffered("The schema of an index cannot be changed here; create another index.")
    if "embed" in fields:
        raise NotOffered("This server has no embedding models; send vectors.")
    request = control.ConfigureIndexRequest(
        name=name, deletion_protection=_protection(fields), tags=_tags(fields)
    )
    spec = fields.object("spec") or Fields({})
    # Clients send the capacity of a serverless index in `byoc` as well.
    for place in (fields, spec.object("serverless"), spec.object("byoc")):
        if place is not None and (capacity := place.object("read_capacity")) is not None:
            request.read_capacity.CopyFrom(read_capacity(capacity))
    changed = spec.object("pod") or fields.object("deployment")
    if changed is not None and ("replicas" in changed or "pod_type" in changed):
        request.pod.CopyFrom(pod(changed))
    return request


def _of_spec(fields: Fields) -> control.CreateIndexRequest:
    spec = fields.object("spec")
    if spec is None:
        raise Misfit("The field 'spec' is missing: it holds one of serverless, pod and byoc.")
    request = control.CreateIndexRequest(
        dimension=fields.whole("dimension") or 0,
        metric=_choice(fields, "metric", _METRICS) or control.METRIC_UNSPECIFIED,
        vector_type=_choice(fields, "vector_type", _VECTOR_TYPES)
        or control.VECTOR_TYPE_UNSPECIFIED,
    )
    given = [kind for kind in ("serverless", "pod", "byoc") if kind in spec]
    if len(given) != 1:
        raise Misfit("The field 'spec' must hold one of serverless, pod and byoc.")
    place = spec.object(given[0]) or Fields({})
    match given[0]:
        case "pod":
            request.pod.CopyFrom(pod(place))
        case "serverless":
            request.spec.cloud, request.spec.region = place.text("cloud"), place.text("region")
        case _:
            request.spec.cloud, request.spec.region = BYOC_CLOUD, place.text("environment")
    if (capacity := place.object("read_capacity")) is not None:
        request.read_capacity.CopyFrom(read_capacity(capacity))
    request.source_collection = place.text("source_collection")
    sparse = request.vector_type == control.VECTOR_TYPE_SPARSE
    request.schema.dense_field = "" if sparse else DENSE_FIELD
    request.schema.sparse_field = SPARSE_FIELD if sparse else ""
    if (schema := place.object("schema")) is not None:
        request.schema.filterable.extend(_filterable(schema))
    return request


def _of_schema(fields: Fields) -> control.CreateIndexRequest:
    schema = fields.object("schema")
    if schema is None:
        raise Misfit("The field 'schema' is missing: it holds the fields of the index.")
    request = control.CreateIndexRequest()
    dense, sparse = _vector_field(schema, "dense_vector"), _vector_field(schema, "sparse_vector")
    if not dense and not sparse:
        raise InvalidArgument("The schema has no field of type dense_vector or sparse_vector.")
    request.schema.dense_field, request.schema.sparse_field = dense, sparse
    if dense:
        field = schema.named_objects("fields")[dense]
        request.dimension = field.whole("dimension") or 0
        request.metric = _choice(field, "metric", _METRICS) or control.METRIC_COSINE
        request.vector_type = control.VECTOR_TYPE_DENSE
    else:
        request.vector_type = control.VECTOR_TYPE_SPARSE
    request.schema.filterable.extend(_filterable(schema))
    deployment = fields.object("deployment") or Fields({})
    match deployment.text("deployment_type"):
        case "pod":
            request.pod.CopyFrom(pod(deployment))
        case "byoc":
            request.spec.cloud, request.spec.region = BYOC_CLOUD, deployment.text("environment")
        case "managed" | "":
            request.spec.cloud = deployment.text("cloud") or "aws"
            request.spec.region = deployment.text("region") or "us-east-1"
        case other:
            raise InvalidArgument(
                f"The deployment_type is {other!r}; it must be managed, pod or byoc."
            )
    if (capacity := fields.object("read_capacity")) is not None:
        request.read_capacity.CopyFrom(read_capacity(capacity))
    request.source_collection = fields.text("source_collection")
    return request


def _vector_field(schema: Fields, kind: str) -> str:
    """The name of the one field of a type; empty if there is none."""
    names = [
        name for name, one in schema.named_objects("fields").items() if one.text("type") == kind
    ]
    if len(names) > 1:
        raise NotOffered(
            f"The schema has {len(names)} fields of type {kind}; an index here has one."
        )
    return names[0] if names else ""


def _filterable(schema: Fields) -> list[str]:
    """The metadata fields that a schema names; raises NotOffered for text to be searched."""
    names = []
    for name, one in schema.named_objects("fields").items():
        kind = one.text("type")
        if kind in ("dense_vector", "sparse_vector"):
            continue
        if kind not in _SCALARS or any(
            key in one for key in ("full_text_search", "embed", "sparse_embed")
        ):
            raise NotOffered(
                f"The schema field {name!r} is text to be searched, which this server does not do; "
                "store it as metadata, and vectors made of it beside it."
            )
        if one.flag("filterable"):
            names.append(name)
    return names


Choice = TypeVar("Choice")


def _choice(fields: Fields, key: str, choices: Mapping[str, Choice]) -> Choice | None:
    """One of several words, whatever its case; None if it is not there."""
    word = fields.text(key)
    if not word:
        return None
    if word.lower() not in choices:
        raise InvalidArgument(f"The {key} is {word!r}; it must be one of {', '.join(choices)}.")
    return choices[word.lower()]


def _protection(fields: Fields) -> bool | None:
    value = fields.text("deletion_protection")
    if value not in _PROTECTION:
        raise InvalidArgument(
            "Invalid deletion_protection, value should be either enabled or disabled, and not "
            f"{value!r}."
        )
    return _PROTECTION[value]


def _tags(fields: Fields) -> dict[str, str]:
    tags = fields.object("tags")
    return {} if tags is None else {key: tags.text(key) for key, _ in tags.members()}
