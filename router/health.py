"""grpc.health.v1.Health: a server that answers serves, and names the services that it serves."""

from collections.abc import Iterable

from router.call import Call, Handlers, Reply
from router.errors import NotFound
from router.validate import parse
from torpor.internal.v1 import introspection_pb2 as introspection


def health_handlers(services: Iterable[str]) -> Handlers:
    """Check, for these services and for the server as a whole; Watch is not offered."""
    known = {"", *services}
    serving = introspection.HealthCheckResponse.SERVING_STATUS_SERVING
    healthy = introspection.HealthCheckResponse(status=serving).SerializeToString()

    async def check(body: bytes, call: Call) -> Reply:
        service = parse(introspection.HealthCheckRequest, body).service
        if service not in known:
            raise NotFound(f"There is no service {service!r}.")
        return Reply(healthy)

    return {"/grpc.health.v1.Health/Check": check}
