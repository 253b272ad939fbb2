"""Checks the requests of the data plane; see validate.py for how they are read."""

import itertools
import math
from array import array

from router.errors import InvalidArgument
from router.validate import check_field, check_id, check_ids, check_namespace, parse, show
from storage import filters, limits
from storage.index_row import IndexRow
from storage.metadata import Checker, InvalidMetadata
from storage.records import Kind
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data

_NO_DENSE = "Index configuration does not support dense values"


class RecordChecks:
    """Checks records on their way into an index, and remembers what metadata it has seen."""

    def __init__(self) -> None:
        self._metadata = Checker()

    def check_upsert(
        self, request: twin.UpsertTwin, body: bytes, row: IndexRow
    ) -> tuple[twin.UpsertTwin, bytes]:
        """An UpsertRequest that can be applied, and the bytes to log for it."""
        expected = 4 * row.dimension
        if request.ByteSize() != len(body) or any(
            len(vector.values) != expected for vector in request.vectors
        ):
            body = parse(data.UpsertRequest, body).SerializeToString()
            request = parse(twin.UpsertTwin, body)
        check_namespace(request.namespace)
        if not 1 <= len(request.vectors) <= limits.UPSERT_VECTORS_MAX:
            raise InvalidArgument(
                f"The request has {len(request.vectors)} vectors; 1 to {limits.UPSERT_VECTORS_MAX}."
            )
        rewritten = False
        for vector in request.vectors:
            check_id(vector.id)
            what = f"Vector {show(vector.id)}"
            if row.dimension:
                _check_values(what, vector.values, row)
            elif vector.values:
                raise InvalidArgument(_NO_DENSE)
            elif not vector.sparse_values:
                raise InvalidArgument(f"{what} has no sparse values; a sparse index needs them.")
            if vector.sparse_values:
                _check_sparse(what, vector.sparse_values)
            if vector.metadata:
                stored = self._check_metadata(what, vector.metadata)
                if stored is not vector.metadata and stored != vector.metadata:
                    vector.metadata = stored
                    rewritten = True
        return request, request.SerializeToString() if rewritten else body

    def check_update(
        self, request: twin.UpdateTwin, body: bytes, row: IndexRow
    ) -> tuple[twin.UpdateTwin, bytes]:
        """An UpdateRequest that can be applied, and the bytes to log for it."""
        if request.ByteSize() != len(body) or len(request.values) not in (0, 4 * row.dimension):
            body = parse(data.UpdateRequest, body).SerializeToString()
            request = parse(twin.UpdateTwin, body)
        check_namespace(request.namespace)
        if request.HasField("filter"):
            _check_update_by_filter(request)
        else:
            _check_update_by_id(request, row)
        if request.set_metadata:
            stored = self._check_metadata("The update", request.set_metadata)
            if stored != request.set_metadata:
                request.set_metadata = stored
                body = request.SerializeToString()
        return request, body

    def _check_metadata(self, what: str, encoded: bytes) -> bytes:
        if len(encoded) > limits.METADATA_BYTES_MAX:
            raise InvalidArgument(
                f"{what}: the metadata has {len(encoded)} bytes; at most "
                f"{limits.METADATA_BYTES_MAX}."
            )
        try:
            return self._metadata.check(encoded)
        except InvalidMetadata as error:
            raise InvalidArgument(f"{what}: {error}") from None


def _check_update_by_id(request: twin.UpdateTwin, row: IndexRow) -> None:
    if not request.id:
        raise InvalidArgument("Give the id of the record to update, or a filter.")
    check_id(request.id)
    if request.dry_run:
        raise InvalidArgument("dry_run counts what a filter matches; give a filter, not an id.")
    if not (request.values or request.sparse_values or request.set_metadata):
        raise InvalidArgument("The update changes nothing: give values, sparse values or metadata.")
    what = f"Vector {show(request.id)}"
    if request.values:
        if not row.dimension:
            raise InvalidArgument(_NO_DENSE)
        _check_values(what, request.values, row)
    if request.sparse_values:
        _check_sparse(what, request.sparse_values)


def _check_update_by_filter(request: twin.UpdateTwin) -> None:
    if request.id:
        raise InvalidArgument("Give an id or a filter, not both.")
    if not check_filter(request.filter):
        raise InvalidArgument("Update with empty metadata filter is not allowed")
    if request.values or request.sparse_values:
        raise InvalidArgument("An update by filter sets metadata only, no values.")
    if not (request.set_metadata or request.dry_run):
        raise InvalidArgument("The update changes nothing: give set_metadata.")


def check_delete(request: data.DeleteRequest) -> Kind:
    """How to log a DeleteRequest; raises unless exactly one selector is given, and a good one."""
    check_namespace(request.namespace.encode())
    if request.delete_all:
        if request.HasField("filter"):
            raise InvalidArgument("No filter allowed when delete_all=true")
        if request.ids:
            raise InvalidArgument("No explicit IDs allowed when delete_all=true")
        return Kind.DELETE_ALL
    if request.HasField("filter"):
        if request.ids:
            raise InvalidArgument("Give ids or a filter, not both.")
        if not check_filter(request.filter.SerializeToString()):
            raise InvalidArgument("Delete with empty metadata filter is not allowed")
        return Kind.DELETE_BY_FILTER
    if not request.ids:
        raise InvalidArgument("Give one of ids, delete_all and filter.")
    check_ids(request.ids)
    return Kind.DELETE_IDS


def check_new_namespace(request: data.CreateNamespaceRequest) -> None:
    """Raises unless a namespace of this name, with this schema, may be created."""
    if not request.name or request.name == limits.DEFAULT_NAMESPACE_NAME:
        raise InvalidArgument(
            "The default namespace always may be written to; name another namespace."
        )
    check_namespace(request.name.encode())
    if not request.HasField("schema"):
        return
    if not request.schema.fields:
        raise InvalidArgument("The schema has no field; leave it out to filter by every field.")
    for key, properties in request.schema.fields.items():
        check_field(key)
        if not properties.filterable:
            raise InvalidArgument(
                f"The schema field {key!r} is not filterable; leave such fields out."
            )


# Reads


def check_query(
    request: twin.QueryTwin, body: bytes, row: IndexRow
) -> tuple[twin.QueryTwin, bytes]:
    """A QueryRequest that can be answered, and the bytes to pass on for it."""
    if request.ByteSize() != len(body) or len(request.vector) not in (0, 4 * row.dimension):
        body = parse(data.QueryRequest, body).SerializeToString()
        request = parse(twin.QueryTwin, body)
    _check_query(request, row)
    return request, body


def check_query_batch(
    request: twin.QueryBatchTwin, body: bytes, row: IndexRow
) -> tuple[twin.QueryBatchTwin, bytes]:
    """A QueryBatchRequest that can be answered, and the bytes to pass on for it."""
    lengths = (0, 4 * row.dimension)
    if request.ByteSize() != len(body) or any(
        len(one.vector) not in lengths for one in request.queries
    ):
        body = parse(data.QueryBatchRequest, body).SerializeToString()
        request = parse(twin.QueryBatchTwin, body)
    if not 1 <= len(request.queries) <= limits.QUERY_BATCH_MAX:
        raise InvalidArgument(
            f"The request has {len(request.queries)} queries; 1 to {limits.QUERY_BATCH_MAX}."
        )
    for number, one in enumerate(request.queries):
        if one.index or one.WhichOneof("consistency"):
            raise InvalidArgument(
                f"Query {number} of the batch names an index or a consistency; give the batch one."
            )
        try:
            _check_query(one, row)
        except InvalidArgument as error:
            raise InvalidArgument(f"Query {number} of the batch: {error}") from None
    return request, body


def _check_query(request: twin.QueryTwin, row: IndexRow) -> None:
    check_namespace(request.namespace)
    if request.namespaces:
        _check_namespaces(request)
    if not 1 <= request.top_k <= limits.TOP_K_MAX:
        raise InvalidArgument(f"top_k is {request.top_k}; it must be 1 to {limits.TOP_K_MAX}.")
    if request.queries:
        raise InvalidArgument("The field queries is not supported; send a QueryBatchRequest.")
    check_filter(request.filter)
    if request.sparse_only and (request.id or request.vector or not request.sparse_vector):
        raise InvalidArgument(
            "A query that is sparse_only has a sparse_vector, no vector and no id."
        )
    if request.id:
        if request.vector:
            raise InvalidArgument("Cannot provide both 'ID' and 'vector' at the same time")
        if request.sparse_vector:
            raise InvalidArgument("Cannot provide both 'ID' and 'sparse_vector' at the same time")
        check_id(request.id)
    elif row.dimension and not request.sparse_only:
        _check_dense_query(request, row)
    else:
        if request.vector:
            raise InvalidArgument(_NO_DENSE)
        if not request.sparse_vector:
            raise InvalidArgument("Either 'sparse_vector' or 'ID' must be provided")
        _check_sparse("The query", request.sparse_vector)
    check_scan_factor(request)
    if request.HasField("max_candidates") and not (
        request.top_k <= request.max_candidates <= limits.CANDIDATES_MAX
    ):
        raise InvalidArgument(
            f"max_candidates is {request.max_candidates}; it must be top_k to "
            f"{limits.CANDIDATES_MAX}."
        )


def check_scan_factor(request: twin.QueryTwin | data.MeasureRecallRequest) -> None:
    """Raises InvalidArgument for a scan_factor out of bounds."""
    if request.HasField("scan_factor") and not 0.5 <= request.scan_factor <= 4.0:
        raise InvalidArgument(f"scan_factor is {request.scan_factor}; it must be 0.5 to 4.")


def _check_dense_query(request: twin.QueryTwin, row: IndexRow) -> None:
    if request.sparse_vector:
        if not request.vector:
            raise InvalidArgument(
                "Cannot query index with dense 'vector_type' with only sparse vector"
            )
        if row.metric != "dotproduct":
            raise InvalidArgument(
                f"A sparse vector needs the metric dotproduct; index {row.name!r} has {row.metric}."
            )
        _check_sparse("The query", request.sparse_vector)
    elif not request.vector:
        raise InvalidArgument("Either 'vector' or 'ID' must be provided")
    _check_floats("The query vector", request.vector, row.dimension)


def _check_namespaces(request: twin.QueryTwin) -> None:
    if request.namespace or request.id:
        raise InvalidArgument("The field namespaces is given without namespace and without id.")
    if len(request.namespaces) > limits.QUERY_NAMESPACES_MAX:
        raise InvalidArgument(
            f"The query names {len(request.namespaces)} namespaces; at most "
            f"{limits.QUERY_NAMESPACES_MAX}."
        )
    for one in request.namespaces:
        check_namespace(one)
    if len({stored_name(one.decode()) for one in request.namespaces}) < len(request.namespaces):
        raise InvalidArgument("The query names a namespace twice.")


def check_fetch(request: data.FetchRequest) -> None:
    """Raises InvalidArgument unless there are ids to fetch, and good ones."""
    check_namespace(request.namespace.encode())
    check_ids(request.ids)


def check_page_filter(request: data.FetchByMetadataRequest) -> bytes:
    """The filter of a page of records."""
    encoded = request.filter.SerializeToString()
    if not check_filter(encoded):
        raise InvalidArgument("Empty filter provided for fetch by metadata request")
    return encoded


def check_prefix(prefix: str) -> bytes:
    """The prefix of a page of ids."""
    encoded = prefix.encode()
    if len(encoded) > limits.ID_BYTES_MAX or "\0" in prefix:
        raise InvalidArgument(
            f"The prefix is not at most {limits.ID_BYTES_MAX} bytes of UTF-8 without NUL."
        )
    return encoded


def page_limit(
    request: data.ListRequest | data.FetchByMetadataRequest, default: int, largest: int
) -> int:
    """How many entries a page has at most."""
    if not request.HasField("limit"):
        return default
    if not 1 <= request.limit <= largest:
        raise InvalidArgument(f"limit is {request.limit}; it must be 1 to {largest}.")
    return request.limit


# Parts of requests


def stored_name(name: str) -> bytes:
    """A namespace's name as it is stored: the default one is empty."""
    return b"" if name == limits.DEFAULT_NAMESPACE_NAME else name.encode()


def check_filter(encoded: bytes) -> filters.Filter | None:
    """The filter, None for an empty one; raises InvalidArgument."""
    try:
        return filters.parse(encoded)
    except filters.InvalidFilter as error:
        raise InvalidArgument(str(error)) from None


def _check_values(what: str, packed: bytes, row: IndexRow) -> None:
    _check_floats(what, packed, row.dimension)
    if row.metric == "cosine" and not any(array("f", packed)):
        raise InvalidArgument(f"{what} is all zero; under cosine it has no direction.")


def _check_floats(what: str, packed: bytes, dimension: int) -> None:
    if len(packed) != 4 * dimension:
        raise InvalidArgument(
            f"Vector dimension {len(packed) // 4} does not match the dimension of the index "
            f"{dimension}"
        )
    # Little-endian, every fourth byte has a sign and the upper seven bits of an exponent. Where they
    # are not all ones, as below 2**127, there is neither NaN nor infinity: no float need be looked at.
    exponents = packed[3::4]
    if b"\x7f" not in exponents and b"\xff" not in exponents:
        return
    # A sum of finite floats is finite in double precision, and of anything else it is not.
    if not math.isfinite(sum(array("f", packed))):
        raise InvalidArgument(f"{what} holds NaN or infinity.")


def _check_sparse(what: str, encoded: bytes) -> None:
    found = parse(data.SparseValues, encoded)
    indices, values = list(found.indices), found.values
    if len(indices) != len(values):
        raise InvalidArgument(
            f"{what}: sparse values have {len(indices)} indices and {len(values)} values; as many "
            "of each are needed."
        )
    if not 1 <= len(indices) <= limits.SPARSE_VALUES_MAX:
        raise InvalidArgument(
            f"{what}: there are {len(indices)} sparse values; 1 to {limits.SPARSE_VALUES_MAX}."
        )
    for before, after in itertools.pairwise(indices):
        if before >= after:
            fault = "is there twice" if before == after else f"comes before {after}"
            raise InvalidArgument(
                f"{what}: sparse indices must ascend, and {before} {fault}. Sort them with their values."
            )
    if not math.isfinite(sum(values)):
        raise InvalidArgument(f"{what}: sparse values hold NaN or infinity.")
