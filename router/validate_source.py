"""What a collection says of an index that is created from it."""

from router.errors import InvalidArgument
from router.validate_index import METRICS
from storage.index_row import CollectionRow, Pod
from torpor.v1 import control_pb2 as control

_METRIC_NUMBERS = {name: number for number, name in METRICS.items()}


def filled_in(
    request: control.CreateIndexRequest, source: CollectionRow
) -> control.CreateIndexRequest:
    """The request with what it leaves to its source; raises InvalidArgument where they disagree."""
    filled = control.CreateIndexRequest()
    filled.CopyFrom(request)
    sparse = not source.dimension
    if not filled.vector_type and sparse and not filled.dimension:
        filled.vector_type = control.VECTOR_TYPE_SPARSE
    if sparse != (filled.vector_type == control.VECTOR_TYPE_SPARSE):
        raise InvalidArgument("Index and collection must have the same vector type")
    filled.dimension = filled.dimension or source.dimension
    if filled.dimension != source.dimension:
        raise InvalidArgument("Index and collection must have the same dimension")
    filled.metric = filled.metric or _METRIC_NUMBERS[source.metric]
    if not filled.HasField("schema"):
        schema = source.schema
        filled.schema.dense_field = schema.dense_field
        filled.schema.sparse_field = schema.sparse_field
        if not filled.pod.indexed:
            filled.schema.filterable.extend(schema.filterable)
    if (
        filled.HasField("pod")
        and (filled.pod.environment or Pod().environment) != source.environment
    ):
        raise InvalidArgument("Source collection must be in the same environment as the index")
    return filled
