"""grpc.reflection: which services there are, and the descriptors of what they speak."""

from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, ServiceDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from router.errors import Code
from torpor.internal.v1 import introspection_pb2 as introspection
from torpor.v1 import control_pb2, data_pb2

REFLECTION_PATHS = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    for version in ("v1", "v1alpha")
)
# DataService under the name by which Pinecone's clients call it.
_ALIAS = "VectorService"
_ALIAS_FILE = "torpor/v1/vector_service.proto"


class Reflection:
    """Answers the questions of a reflection stream, each for itself."""

    def __init__(self, services: Iterable[str]) -> None:
        """`services` are those served; what is not described by the public protos is left out."""
        self._pool = DescriptorPool()
        self._files: dict[str, FileDescriptorProto] = {}
        for file in (control_pb2.DESCRIPTOR, data_pb2.DESCRIPTOR):
            self._add(file)
        self._add_alias()
        self._services = sorted(name for name in services if self._file_of(name))

    def answer(self, body: bytes) -> bytes:
        """The encoded response to an encoded request."""
        try:
            request = introspection.ReflectionRequest.FromString(body)
        except DecodeError:
            request = introspection.ReflectionRequest()
        response = introspection.ReflectionResponse(valid_host=request.host, original_request=body)
        match request.WhichOneof("question"):
            case "list_services":
                names = [introspection.ServiceName(name=name) for name in self._services]
                response.services.service.extend(names)
            case "file_by_filename":
                self._describe(response, request.file_by_filename, request.file_by_filename)
            case "file_containing_symbol":
                symbol = request.file_containing_symbol
                self._describe(response, self._file_of(symbol), symbol)
            case _:
                response.error.error_code = Code.UNIMPLEMENTED
                response.error.error_message = "There are no extensions here."
        return response.SerializeToString()

    def _describe(self, response: introspection.ReflectionResponse, name: str, asked: str) -> None:
        """Puts a file into a response, and after it those that it needs."""
        if name not in self._files:
            response.error.error_code = Code.NOT_FOUND
            response.error.error_message = f"There is no {asked!r}."
            return
        names = [name]
        for one in names:
            names += [other for other in self._files[one].dependency if other not in names]
        encoded = [self._files[one].SerializeToString() for one in names]
        response.file_descriptors.file_descriptor_proto.extend(encoded)

    def _file_of(self, symbol: str) -> str:
        """The name of the file that a symbol is in, empty if there is none."""
        # The pool knows services and messages, but not what is in them.
        for name in (symbol, symbol.rpartition(".")[0]):
            try:
                return self._pool.FindFileContainingSymbol(name).name
            except KeyError:
                pass
        return ""

    def _add(self, file: FileDescriptor) -> None:
        """A file, after those that it needs."""
        if file.name in self._files:
            return
        for dependency in file.dependencies:
            self._add(dependency)
        copy = FileDescriptorProto()
        file.CopyToProto(copy)
        self._add_file(copy)

    def _add_alias(self) -> None:
        service = ServiceDescriptorProto()
        data_pb2.DESCRIPTOR.services_by_name["DataService"].CopyToProto(service)
        service.name = _ALIAS
        self._add_file(
            FileDescriptorProto(
                name=_ALIAS_FILE,
                dependency=[data_pb2.DESCRIPTOR.name],
                service=[service],
                syntax="proto3",
            )
        )

    def _add_file(self, file: FileDescriptorProto) -> None:
        self._pool.Add(file)
        self._files[file.name] = file
