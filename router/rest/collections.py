"""The control plane's operations on collections."""

from typing import Any

from router.rest.methods import Methods
from router.rest.request import Endpoints, Request, Response, respond
from torpor.v1 import control_pb2 as control


class Collections:
    """The endpoints; what each one does is said in control.proto, under the method it calls."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods

    def endpoints(self) -> Endpoints:
        """The endpoints by method and path."""
        return {
            ("GET", "/collections"): self.list_collections,
            ("POST", "/collections"): self.create,
            ("GET", "/collections/{name}"): self.describe,
            ("DELETE", "/collections/{name}"): self.delete,
        }

    async def list_collections(self, request: Request) -> Response:
        message = control.ListCollectionsRequest()
        found = await self._methods.control(
            "ListCollections", message, control.ListCollectionsResponse, request.call
        )
        return respond({"collections": [_collection(one) for one in found.collections]})

    async def create(self, request: Request) -> Response:
        fields = request.fields()
        message = control.CreateCollectionRequest(
            name=fields.text("name"), source=fields.text("source")
        )
        created = await self._methods.control(
            "CreateCollection", message, control.CreateCollectionResponse, request.call
        )
        return respond(_collection(created.collection), status=201)

    async def describe(self, request: Request) -> Response:
        message = control.DescribeCollectionRequest(name=request.path[0])
        found = await self._methods.control(
            "DescribeCollection", message, control.DescribeCollectionResponse, request.call
        )
        return respond(_collection(found.collection))

    async def delete(self, request: Request) -> Response:
        message = control.DeleteCollectionRequest(name=request.path[0])
        await self._methods.control(
            "DeleteCollection", message, control.DeleteCollectionResponse, request.call
        )
        return Response(202)


def _collection(one: control.Collection) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": one.name,
        "status": "Ready",
        "environment": one.environment,
        "size": one.size_bytes,
        "vector_count": one.record_count,
    }
    if one.dimension:
        shown["dimension"] = one.dimension
    return shown
