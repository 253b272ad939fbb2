"""The documents of an index: its records under the names that its schema gives their fields.

A record's vectors and metadata lie in one object, beside `_id`. Text is metadata here: it is stored, and
filters compare it, but there is no search in it.
"""

from typing import Any

from router.call import Reply
from router.errors import InvalidArgument
from router.rest.document_changes import DocumentChanges
from router.rest.document_fields import (
    EVERY_FIELD,
    ID,
    NO_FIELD,
    REMOVE_FIELDS,
    Naming,
    Shown,
    changer,
    document_id,
    shown_of,
)
from router.rest.errors import NotOffered
from router.rest.fields import Fields
from router.rest.json_values import (
    encoded_struct,
    packed_floats,
    shown_scores,
    sparse_values,
    struct_of,
)
from router.rest.methods import Methods
from router.rest.request import Endpoint, Endpoints, Request, Response, respond
from storage.limits import UPSERT_VECTORS_MAX
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

_TEXT_CLAUSES = ("text", "query_string", "embed", "sparse_embed")


class Documents:
    """The endpoints."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods

    def endpoints(self) -> Endpoints:
        """The endpoints by method and path."""
        operations: dict[str, Endpoint] = {
            "upsert": self.upsert,
            "search": self.search,
            "fetch": self.fetch,
            "list": self.list_ids,
            "update": self.update,
            "delete": self.delete,
        }
        return {
            ("POST", f"/namespaces/{{namespace}}/documents/{name}"): endpoint
            for name, endpoint in operations.items()
        }

    async def upsert(self, request: Request) -> Response:
        naming = await self._naming(request)
        message = twin.UpsertTwin(
            vectors=[naming.record(one) for one in request.fields().objects("documents")],
            namespace=request.path[0].encode(),
        )
        reply = await self._methods.data("Upsert", message, request.call)
        answer = data.UpsertResponse.FromString(reply.body)
        return respond({"upserted_count": answer.upserted_count}, reply)

    async def search(self, request: Request) -> Response:
        naming = await self._naming(request)
        fields = request.fields()
        shown = shown_of(naming, fields, NO_FIELD)
        message = twin.QueryTwin(
            namespace=request.path[0].encode(),
            top_k=fields.whole("top_k") or 0,
            filter=encoded_struct(fields, "filter"),
            include_values=shown.values,
            include_metadata=shown.metadata,
        )
        _score_by(fields.objects("score_by"), naming, message)
        reply = await self._methods.data("Query", message, request.call)
        answer = twin.QueryResponseTwin.FromString(reply.body)
        matches = [
            {ID: match.id.decode(), "_score": score, **shown.document(match)}
            for match, score in zip(answer.matches, shown_scores(answer), strict=True)
        ]
        found = {
            "matches": matches,
            "namespace": answer.namespace.decode(),
            "usage": {"read_units": answer.usage.read_units},
        }
        return respond(found, reply)

    async def fetch(self, request: Request) -> Response:
        naming = await self._naming(request)
        fields = request.fields()
        shown = shown_of(naming, fields, EVERY_FIELD)
        ids, condition = fields.texts("ids"), struct_of(fields, "filter")
        if bool(ids) == (condition is not None):
            raise InvalidArgument("Give ids or a filter.")
        if condition is None:
            message = data.FetchRequest(ids=ids, namespace=request.path[0])
            reply = await self._methods.data("Fetch", message, request.call)
        else:
            page = data.FetchByMetadataRequest(
                namespace=request.path[0],
                filter=condition,
                limit=fields.whole("limit"),
                pagination_token=fields.text("pagination_token") or None,
            )
            reply = await self._methods.data("FetchByMetadata", page, request.call)
        return _fetched(reply, shown)

    async def list_ids(self, request: Request) -> Response:
        fields = request.fields()
        message = data.ListRequest(
            prefix=fields.text("prefix") or None,
            limit=fields.whole("limit"),
            pagination_token=fields.text("pagination_token") or None,
            namespace=request.path[0],
        )
        reply = await self._methods.data("List", message, request.call)
        answer = data.ListResponse.FromString(reply.body)
        found: dict[str, Any] = {
            "documents": [{ID: one.id} for one in answer.vectors],
            "namespace": answer.namespace,
            "usage": {"read_units": answer.usage.read_units},
        }
        if answer.HasField("pagination"):
            found["pagination"] = {"next": answer.pagination.next}
        return respond(found, reply)

    async def update(self, request: Request) -> Response:
        naming = await self._naming(request)
        fields = request.fields()
        by_filter = any(key in fields for key in ("filter", "set_fields", "remove_fields"))
        if ("documents" in fields) == by_filter:
            raise InvalidArgument("Give documents, or a filter with set_fields or remove_fields.")
        if by_filter:
            return await self._update_matching(naming, fields, request)
        documents = fields.objects("documents")
        if not 1 <= len(documents) <= UPSERT_VECTORS_MAX:
            raise InvalidArgument(
                f"The request changes {len(documents)} documents; 1 to {UPSERT_VECTORS_MAX}."
            )
        changes = {
            document_id(one): changer(naming, one, one.texts(REMOVE_FIELDS)) for one in documents
        }
        if len(changes) < len(documents):
            raise InvalidArgument("The request changes a document twice.")
        work = DocumentChanges(self._methods, request.path[0], request.call)
        await work.by_id(changes)
        return respond({}, work.written)

    async def _update_matching(self, naming: Naming, fields: Fields, request: Request) -> Response:
        condition = struct_of(fields, "filter")
        if not condition:
            raise InvalidArgument("Update with empty metadata filter is not allowed")
        added, removed = fields.object("set_fields") or Fields({}), fields.texts("remove_fields")
        if not (added.members() or removed):
            raise InvalidArgument("The update changes nothing: give set_fields or remove_fields.")
        change = changer(naming, added, removed)
        if removed or naming.vectors_of(added):
            work = DocumentChanges(self._methods, request.path[0], request.call)
            matched = await work.by_filter(condition, change)
            return respond({"matched_records": matched}, work.written)
        message = data.UpdateRequest(
            namespace=request.path[0],
            filter=condition,
            set_metadata=struct_of(fields, "set_fields"),
        )
        reply = await self._methods.data("Update", message, request.call)
        answer = data.UpdateResponse.FromString(reply.body)
        return respond({"matched_records": answer.matched_records}, reply)

    async def delete(self, request: Request) -> Response:
        fields = request.fields()
        condition = struct_of(fields, "filter")
        message = data.DeleteRequest(
            ids=fields.texts("ids"),
            delete_all=fields.flag("delete_all"),
            namespace=request.path[0],
            filter=condition,
        )
        found = {}
        if condition and not (message.ids or message.delete_all):
            # The deletion itself is not waited for: they are counted as they are now.
            counting = data.UpdateRequest(namespace=request.path[0], filter=condition, dry_run=True)
            counted = await self._methods.data("Update", counting, request.call)
            found["matched_records"] = data.UpdateResponse.FromString(counted.body).matched_records
        return respond(found, await self._methods.data("Delete", message, request.call))

    async def _naming(self, request: Request) -> Naming:
        """What the vectors of the index that the call came to are called."""
        message = control.DescribeIndexRequest()
        answer = await self._methods.control(
            "DescribeIndex", message, control.DescribeIndexResponse, request.call
        )
        return Naming.of(answer.index)


def _score_by(clauses: list[Fields], naming: Naming, message: twin.QueryTwin) -> None:
    """Puts the one clause that there may be into a query."""
    kinds = [clause.text("type") for clause in clauses]
    if unknown := [
        kind for kind in kinds if kind not in (*_TEXT_CLAUSES, "dense_vector", "sparse_vector")
    ]:
        raise InvalidArgument(f"score_by has no clause of the type {unknown[0]!r}.")
    if texts := [kind for kind in kinds if kind in _TEXT_CLAUSES]:
        raise NotOffered(
            f"This server does not search in text ({texts[0]}); search by dense_vector or sparse_vector."
        )
    if len(clauses) != 1:
        raise InvalidArgument(f"score_by has {len(clauses)} clauses of vectors; it must have one.")
    (clause,), (kind,) = clauses, kinds
    own = naming.dense if kind == "dense_vector" else naming.sparse
    names = clause.texts("fields") or [clause.text("field") or own]
    if not own or names != [own]:
        raise InvalidArgument(
            f"The {kind} clause names {', '.join(map(repr, names))}; "
            + (f"the {kind} of this index is {own!r}." if own else f"this index has no {kind}.")
        )
    if kind == "dense_vector":
        message.vector = packed_floats(clause, "values")
        return
    terms = sparse_values(clause, "sparse_values")
    if terms is None:
        raise InvalidArgument("The sparse_vector clause has no sparse_values.")
    message.sparse_vector = terms
    message.sparse_only = True


def _fetched(reply: Reply, shown: Shown) -> Response:
    answer = twin.FetchResponseTwin.FromString(reply.body)
    documents = {}
    for entry in answer.vectors:
        name = entry.key.decode()
        documents[name] = {ID: name, **shown.document(entry.value)}
    found: dict[str, Any] = {
        "documents": documents,
        "namespace": answer.namespace.decode(),
        "usage": {"read_units": answer.usage.read_units},
    }
    if answer.HasField("pagination"):
        found["pagination"] = {"next": answer.pagination.next}
    return respond(found, reply)
