"""Handlers that remember what they were asked and answer what a test says."""

from typing import Any, TypeVar

from google.protobuf.message import Message

from router.call import Call, Handler, Handlers, Reply
from router.rest.app import App
from torpor.v1 import control_pb2, data_pb2

Request = TypeVar("Request", bound=Message)

_SERVICES = (
    control_pb2.DESCRIPTOR.services_by_name["ControlService"],
    data_pb2.DESCRIPTOR.services_by_name["DataService"],
)


def index(**more: Any) -> control_pb2.Index:
    """An index as the service describes it."""
    settings: dict[str, Any] = {
        "name": "docs",
        "dimension": 3,
        "metric": control_pb2.METRIC_COSINE,
        "vector_type": control_pb2.VECTOR_TYPE_DENSE,
        "spec": control_pb2.Spec(cloud="aws", region="us-east-1"),
        "host": "http://127.1.0.7:7700",
        "read_capacity": control_pb2.ReadCapacity(mode=control_pb2.CAPACITY_MODE_ON_DEMAND),
        "schema": control_pb2.Schema(dense_field="_values"),
    }
    return control_pb2.Index(**{**settings, **more})


class Fake:
    """Every method of both services; one that a test has set no answer for answers emptily."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes, Call]] = []
        self.answers: dict[str, list[Message | Exception]] = {}
        self.metadata: tuple[tuple[str, str], ...] = ()
        self.app = App(self.handlers())

    def handlers(self) -> Handlers:
        return {
            f"/{service.full_name}/{method.name}": self._handler(method.name)
            for service in _SERVICES
            for method in service.methods
        }

    def answer(self, method: str, *answers: Message | Exception) -> None:
        """What a method answers, one after the other; the last one again and again."""
        self.answers[method] = list(answers)

    def sent(self, method: str, request_type: type[Request]) -> list[Request]:
        """The requests that a method was sent."""
        return [request_type.FromString(body) for name, body, _ in self.asked if name == method]

    def _handler(self, name: str) -> Handler:
        async def handle(body: bytes, call: Call) -> Reply:
            self.asked.append((name, body, call))
            answers = self.answers.get(name, [])
            if not answers:
                return Reply(b"", self.metadata)
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return Reply(answer.SerializeToString(), self.metadata)

        return handle
