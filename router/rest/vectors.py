"""The data plane's operations on vectors, in camelCase."""

from typing import Any

from router.call import Reply
from router.rest.fields import Fields
from router.rest.json_values import (
    encoded_struct,
    packed_floats,
    shown_floats,
    shown_metadata,
    shown_scores,
    shown_sparse,
    sparse_values,
    struct_of,
)
from router.rest.methods import Methods
from router.rest.request import Endpoints, Request, Response, respond
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data


class Vectors:
    """The endpoints; what each one does is said in data.proto, under the method it calls."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods

    def endpoints(self) -> Endpoints:
        """The endpoints by method and path."""
        return {
            ("POST", "/vectors/upsert"): self.upsert,
            ("POST", "/query"): self.query,
            ("GET", "/vectors/fetch"): self.fetch,
            ("POST", "/vectors/fetch_by_metadata"): self.fetch_by_metadata,
            ("GET", "/vectors/list"): self.list_ids,
            ("POST", "/vectors/update"): self.update,
            ("POST", "/vectors/delete"): self.delete,
            ("DELETE", "/vectors/delete"): self.delete_by_parameters,
            ("POST", "/describe_index_stats"): self.describe_index_stats,
            ("GET", "/describe_index_stats"): self.describe_index_stats,
        }

    async def upsert(self, request: Request) -> Response:
        fields = request.fields()
        message = twin.UpsertTwin(
            vectors=[_vector(one) for one in fields.objects("vectors")],
            namespace=fields.text("namespace").encode(),
        )
        reply = await self._methods.data("Upsert", message, request.call)
        answer = data.UpsertResponse.FromString(reply.body)
        return respond({"upsertedCount": answer.upserted_count}, reply)

    async def query(self, request: Request) -> Response:
        fields = request.fields()
        if "queries" in fields:
            return await self._queries(fields, request)
        reply = await self._methods.data("Query", _query(fields), request.call)
        answer = twin.QueryResponseTwin.FromString(reply.body)
        shown = {
            "results": [],
            "matches": _matches(answer),
            "namespace": answer.namespace.decode(),
            "usage": {"readUnits": answer.usage.read_units},
        }
        return respond(shown, reply)

    async def _queries(self, fields: Fields, request: Request) -> Response:
        """Several queries in one request, as clients sent them once."""
        message = twin.QueryBatchTwin(
            queries=[_old_query(one, fields) for one in fields.objects("queries")]
        )
        reply = await self._methods.data("QueryBatch", message, request.call)
        answer = twin.QueryBatchResponseTwin.FromString(reply.body)
        results = [
            {"matches": _matches(one), "namespace": one.namespace.decode()}
            for one in answer.results
        ]
        units = sum(one.usage.read_units for one in answer.results)
        shown = {"results": results, "matches": [], "namespace": "", "usage": {"readUnits": units}}
        return respond(shown, reply)

    async def fetch(self, request: Request) -> Response:
        parameters = request.parameters()
        message = data.FetchRequest(
            ids=parameters.texts("ids"), namespace=parameters.text("namespace")
        )
        return _fetched(await self._methods.data("Fetch", message, request.call))

    async def fetch_by_metadata(self, request: Request) -> Response:
        fields = request.fields()
        message = data.FetchByMetadataRequest(
            namespace=fields.text("namespace"),
            filter=struct_of(fields, "filter"),
            limit=fields.whole("limit"),
            pagination_token=fields.text("paginationToken") or None,
        )
        return _fetched(await self._methods.data("FetchByMetadata", message, request.call))

    async def list_ids(self, request: Request) -> Response:
        parameters = request.parameters()
        message = data.ListRequest(
            prefix=parameters.text("prefix") or None,
            limit=parameters.whole("limit"),
            pagination_token=parameters.text("paginationToken") or None,
            namespace=parameters.text("namespace"),
        )
        reply = await self._methods.data("List", message, request.call)
        answer = data.ListResponse.FromString(reply.body)
        shown: dict[str, Any] = {
            "vectors": [{"id": one.id} for one in answer.vectors],
            "namespace": answer.namespace,
            "usage": {"readUnits": answer.usage.read_units},
        }
        if answer.HasField("pagination"):
            shown["pagination"] = {"next": answer.pagination.next}
        return respond(shown, reply)

    async def update(self, request: Request) -> Response:
        fields = request.fields()
        message = twin.UpdateTwin(
            id=fields.text("id").encode(),
            values=packed_floats(fields, "values"),
            set_metadata=encoded_struct(fields, "setMetadata") or None,
            namespace=fields.text("namespace").encode(),
            sparse_values=sparse_values(fields, "sparseValues"),
            filter=encoded_struct(fields, "filter"),
            dry_run=fields.flag("dryRun"),
        )
        reply = await self._methods.data("Update", message, request.call)
        answer = data.UpdateResponse.FromString(reply.body)
        shown = {}
        if answer.HasField("matched_records"):
            shown["matchedRecords"] = answer.matched_records
        return respond(shown, reply)

    async def delete(self, request: Request) -> Response:
        fields = request.fields()
        message = data.DeleteRequest(
            ids=fields.texts("ids"),
            delete_all=fields.flag("deleteAll"),
            namespace=fields.text("namespace"),
            filter=struct_of(fields, "filter"),
        )
        return respond({}, await self._methods.data("Delete", message, request.call))

    async def delete_by_parameters(self, request: Request) -> Response:
        """As old clients ask for it."""
        parameters = request.parameters()
        message = data.DeleteRequest(
            ids=parameters.texts("ids"),
            delete_all=parameters.flag("deleteAll"),
            namespace=parameters.text("namespace"),
        )
        return respond({}, await self._methods.data("Delete", message, request.call))

    async def describe_index_stats(self, request: Request) -> Response:
        message = data.DescribeIndexStatsRequest(filter=struct_of(request.fields(), "filter"))
        reply = await self._methods.data("DescribeIndexStats", message, request.call)
        answer = data.DescribeIndexStatsResponse.FromString(reply.body)
        shown: dict[str, Any] = {
            "namespaces": {
                name: {"vectorCount": one.vector_count} for name, one in answer.namespaces.items()
            },
            "indexFullness": answer.index_fullness,
            "totalVectorCount": answer.total_vector_count,
            "metric": answer.metric,
            "vectorType": answer.vector_type,
        }
        if answer.HasField("dimension"):
            shown["dimension"] = answer.dimension
        return respond(shown, reply)


# From JSON


def _vector(fields: Fields) -> twin.VectorTwin:
    return twin.VectorTwin(
        id=fields.text("id").encode(),
        values=packed_floats(fields, "values"),
        metadata=encoded_struct(fields, "metadata") or None,
        sparse_values=sparse_values(fields, "sparseValues"),
    )


def _query(fields: Fields) -> twin.QueryTwin:
    return twin.QueryTwin(
        namespace=fields.text("namespace").encode(),
        top_k=fields.whole("topK") or 0,
        filter=encoded_struct(fields, "filter"),
        include_values=fields.flag("includeValues"),
        include_metadata=fields.flag("includeMetadata"),
        vector=packed_floats(fields, "vector"),
        id=fields.text("id").encode(),
        sparse_vector=sparse_values(fields, "sparseVector"),
        scan_factor=fields.number("scanFactor"),
        max_candidates=fields.whole("maxCandidates"),
    )


def _old_query(fields: Fields, outer: Fields) -> twin.QueryTwin:
    """One of several queries; what it leaves open, the request says for all."""

    def where(key: str) -> Fields:
        return fields if key in fields else outer

    return twin.QueryTwin(
        namespace=where("namespace").text("namespace").encode(),
        top_k=where("topK").whole("topK") or 0,
        filter=encoded_struct(where("filter"), "filter"),
        include_values=outer.flag("includeValues"),
        include_metadata=outer.flag("includeMetadata"),
        vector=packed_floats(fields, "values"),
        sparse_vector=sparse_values(fields, "sparseValues"),
    )


# To JSON


def _matches(answer: twin.QueryResponseTwin) -> list[dict[str, Any]]:
    return [
        {"id": match.id.decode(), "score": score, **_contents(match)}
        for match, score in zip(answer.matches, shown_scores(answer), strict=True)
    ]


def _contents(found: twin.ScoredVectorTwin | twin.VectorTwin) -> dict[str, Any]:
    """What a record holds beside its id, as far as it was asked for."""
    shown: dict[str, Any] = {"values": shown_floats(found.values) if found.values else []}
    if found.HasField("sparse_values"):
        shown["sparseValues"] = shown_sparse(found.sparse_values)
    if found.HasField("metadata"):
        shown["metadata"] = shown_metadata(found.metadata)
    return shown


def _fetched(reply: Reply) -> Response:
    answer = twin.FetchResponseTwin.FromString(reply.body)
    vectors = {}
    for entry in answer.vectors:
        name = entry.key.decode()
        vectors[name] = {"id": name, **_contents(entry.value)}
    shown: dict[str, Any] = {
        "vectors": vectors,
        "namespace": answer.namespace.decode(),
        "usage": {"readUnits": answer.usage.read_units},
    }
    if answer.HasField("pagination"):
        shown["pagination"] = {"next": answer.pagination.next}
    return respond(shown, reply)
