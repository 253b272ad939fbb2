"""The control plane's operations on indexes."""

import asyncio

from router.limits import LIST_INDEXES_PAGE_DEFAULT
from router.rest.index_answers import shown_index
from router.rest.index_requests import VERSION_HEADER, configure_request, create_request
from router.rest.methods import Methods
from router.rest.request import Endpoints, Request, Response, respond
from torpor.v1 import control_pb2 as control


class Indexes:
    """The endpoints; what each one does is said in control.proto, under the method it calls."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods

    def endpoints(self) -> Endpoints:
        """The endpoints by method and path."""
        return {
            ("GET", "/indexes"): self.list_indexes,
            ("POST", "/indexes"): self.create,
            ("GET", "/indexes/{name}"): self.describe,
            ("PATCH", "/indexes/{name}"): self.configure,
            ("DELETE", "/indexes/{name}"): self.delete,
        }

    async def list_indexes(self, request: Request) -> Response:
        shown = []
        message = control.ListIndexesRequest(page_size=LIST_INDEXES_PAGE_DEFAULT)
        while True:
            page = await self._methods.control(
                "ListIndexes", message, control.ListIndexesResponse, request.call
            )
            shown += [shown_index(one, request.bare_hosts) for one in page.indexes]
            if not page.next_page_token:
                return respond({"indexes": shown})
            message.page_token = page.next_page_token
            # Ten thousand indexes are half a second of work: others have their turn in between.
            await asyncio.sleep(0)

    async def create(self, request: Request) -> Response:
        version = request.call.metadata.get(VERSION_HEADER, "").partition(",")[0].strip()
        message = create_request(request.fields(), version)
        created = await self._methods.control(
            "CreateIndex", message, control.CreateIndexResponse, request.call
        )
        return respond(shown_index(created.index, request.bare_hosts), status=201)

    async def describe(self, request: Request) -> Response:
        message = control.DescribeIndexRequest(name=request.path[0])
        found = await self._methods.control(
            "DescribeIndex", message, control.DescribeIndexResponse, request.call
        )
        return respond(shown_index(found.index, request.bare_hosts))

    async def configure(self, request: Request) -> Response:
        message = configure_request(request.path[0], request.fields())
        changed = await self._methods.control(
            "ConfigureIndex", message, control.ConfigureIndexResponse, request.call
        )
        return respond(shown_index(changed.index, request.bare_hosts), status=202)

    async def delete(self, request: Request) -> Response:
        message = control.DeleteIndexRequest(name=request.path[0])
        await self._methods.control(
            "DeleteIndex", message, control.DeleteIndexResponse, request.call
        )
        return Response(202)
