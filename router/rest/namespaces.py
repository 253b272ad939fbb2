"""The data plane's operations on namespaces, in snake_case; counts are strings, as they are there."""

from typing import Any

from router.rest.methods import Methods
from router.rest.request import Endpoints, Request, Response, respond
from torpor.v1 import data_pb2 as data


class Namespaces:
    """The endpoints; what each one does is said in data.proto, under the method it calls."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods

    def endpoints(self) -> Endpoints:
        """The endpoints by method and path."""
        return {
            ("GET", "/namespaces"): self.list_namespaces,
            ("POST", "/namespaces"): self.create,
            ("GET", "/namespaces/{namespace}"): self.describe,
            ("DELETE", "/namespaces/{namespace}"): self.delete,
        }

    async def list_namespaces(self, request: Request) -> Response:
        parameters = request.parameters()
        message = data.ListNamespacesRequest(
            pagination_token=parameters.text("paginationToken") or None,
            limit=parameters.whole("limit"),
            prefix=parameters.text("prefix") or None,
        )
        reply = await self._methods.data("ListNamespaces", message, request.call)
        answer = data.ListNamespacesResponse.FromString(reply.body)
        shown: dict[str, Any] = {
            "namespaces": [_description(one) for one in answer.namespaces],
            "total_count": answer.total_count,
        }
        if answer.HasField("pagination"):
            shown["pagination"] = {"next": answer.pagination.next}
        return respond(shown, reply)

    async def create(self, request: Request) -> Response:
        fields = request.fields()
        message = data.CreateNamespaceRequest(name=fields.text("name"))
        schema = fields.object("schema")
        if schema is not None:
            message.schema.SetInParent()
            for name, one in schema.named_objects("fields").items():
                message.schema.fields[name].filterable = one.flag("filterable")
        reply = await self._methods.data("CreateNamespace", message, request.call)
        return respond(_description(data.NamespaceDescription.FromString(reply.body)), reply)

    async def describe(self, request: Request) -> Response:
        message = data.DescribeNamespaceRequest(namespace=request.path[0])
        reply = await self._methods.data("DescribeNamespace", message, request.call)
        return respond(_description(data.NamespaceDescription.FromString(reply.body)), reply)

    async def delete(self, request: Request) -> Response:
        message = data.DeleteNamespaceRequest(namespace=request.path[0])
        return respond({}, await self._methods.data("DeleteNamespace", message, request.call))


def _description(one: data.NamespaceDescription) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": one.name,
        "record_count": str(one.record_count),
        "size_bytes": str(one.size_bytes),
    }
    if one.HasField("schema"):
        fields = {name: {"filterable": it.filterable} for name, it in one.schema.fields.items()}
        shown["schema"] = {"fields": fields}
    if one.HasField("indexed_fields"):
        shown["indexed_fields"] = {"fields": list(one.indexed_fields.fields)}
    return shown
