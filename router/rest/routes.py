"""Finding the endpoint of a request by its path and method.

A path is split before its segments are decoded, so that a slash can be part of a name (%2F), and a
segment can be a dot or two (%2E), which clients would otherwise resolve.
"""

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from router.rest.errors import Form, Malformed, NoMethod, NoRoute
from router.rest.request import Endpoint, Endpoints

# The control plane answers here as well, and names hosts without a scheme: gRPC clients of Pinecone's
# 7 and 8 take a host only so on plaintext, and REST ones only with one.
BARE_HOSTS_PREFIX = "/grpc"


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint, and how its errors are written."""

    endpoint: Endpoint
    form: Form


@dataclass(frozen=True, slots=True)
class Place:
    """A path without variable segments, or with some: what answers there, by method."""

    methods: dict[str, Route]
    segments: tuple[str, ...]

    def fits(self, segments: list[str]) -> bool:
        """Whether a path of as many segments leads here."""
        return all(
            own == other or own.startswith("{")
            for own, other in zip(self.segments, segments, strict=True)
        )


class Routes:
    """All endpoints by their paths."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._by_length: dict[int, list[Place]] = {}

    def add(self, endpoints: Endpoints, form: Form, prefix: str = "") -> None:
        """Adds endpoints; of two paths that both fit a request, the first one is taken."""
        for (method, path), endpoint in endpoints.items():
            path = prefix + path
            if path not in self._places:
                place = Place({}, tuple(path.split("/")))
                self._places[path] = place
                self._by_length.setdefault(len(place.segments), []).append(place)
            self._places[path].methods[method] = Route(endpoint, form)

    def table(self) -> list[tuple[str, str]]:
        """The method and path of every endpoint."""
        return [(method, path) for path, place in self._places.items() for method in place.methods]

    def find(self, method: str, raw_path: bytes) -> tuple[Route, list[str]]:
        """The route of a request, and the variable segments of its path as they came.

        Raises NoRoute or NoMethod.
        """
        path = raw_path.decode("latin-1")
        place = self._places.get(path)
        if place is not None and "{" not in path and (route := place.methods.get(method)):
            return route, []
        segments = _split(path)
        for place in self._places_of(segments):
            if (route := place.methods.get(method)) is not None:
                variable = zip(place.segments, segments, strict=True)
                return route, [segment for own, segment in variable if own.startswith("{")]
        allowed = self.allowed(raw_path)
        raise NoMethod(f"{path!r} does not answer to {method}; it does to {allowed}.", allowed)

    def allowed(self, raw_path: bytes) -> str:
        """The methods that are answered at a path; raises NoRoute."""
        path = raw_path.decode("latin-1")
        names = {name for one in self._places_of(_split(path)) for name in one.methods}
        if not names:
            raise NoRoute(f"There is nothing at {path!r}.")
        names |= {"OPTIONS"} | ({"HEAD"} if "GET" in names else set())
        return ", ".join(sorted(names))

    def _places_of(self, segments: list[str]) -> list[Place]:
        return [one for one in self._by_length.get(len(segments), ()) if one.fits(segments)]


def _split(path: str) -> list[str]:
    return path.rstrip("/").split("/")


def decode(segment: str) -> str:
    """A segment of a path as it is meant; raises Malformed."""
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise Malformed(f"The path's segment {segment!r} is not percent-encoded UTF-8.") from None
