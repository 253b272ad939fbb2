"""Every documented route, once, against one server: its status, and the keys that clients read."""

from collections.abc import Iterator
from typing import Any

import pytest

from router.rest import absent
from router.rest.app import App
from tests.integration.rest import Rest, RestAnswer
from torpor.local import LocalServer

SPEC = {"serverless": {"cloud": "aws", "region": "us-east-1"}}
INDEX = {
    "name",
    "dimension",
    "metric",
    "host",
    "vector_type",
    "deletion_protection",
    "status",
    "spec",
}
INDEX |= {"schema", "deployment", "read_capacity"}
NAMESPACE = {"name", "record_count", "size_bytes"}
DOCUMENTS = "/namespaces/{namespace}/documents"
SEARCH = {
    "score_by": [{"type": "dense_vector", "fields": ["_values"], "values": [1, 0]}],
    "top_k": 1,
}
ABSENT = [*absent.control_endpoints(), *absent.data_endpoints()]

# Method, path, body, status, keys of the answer. What is deleted is called "b", what stays "a".
CONTROL: list[tuple[str, str, Any, int, set[str]]] = [
    ("GET", "/indexes", None, 200, {"indexes"}),
    ("POST", "/indexes", {"name": "b", "dimension": 2, "spec": SPEC}, 201, INDEX),
    ("GET", "/indexes/{name}", None, 200, INDEX),
    ("PATCH", "/indexes/{name}", {"deletion_protection": "disabled"}, 202, INDEX),
    ("DELETE", "/indexes/{name}", None, 202, set()),
]
DATA: list[tuple[str, str, Any, int, set[str]]] = [
    (
        "POST",
        "/vectors/upsert",
        {"vectors": [{"id": "x", "values": [1, 0]}], "namespace": "a"},
        200,
        {"upsertedCount"},
    ),
    (
        "POST",
        "/query",
        {"topK": 1, "vector": [1, 0], "namespace": "a"},
        200,
        {"results", "matches", "namespace", "usage"},
    ),
    ("GET", "/vectors/fetch?ids=a&namespace=a", None, 200, {"vectors", "namespace", "usage"}),
    (
        "POST",
        "/vectors/fetch_by_metadata",
        {"filter": {"k": "v"}, "limit": 1, "namespace": "a"},
        200,
        {"vectors", "namespace", "usage"},
    ),
    (
        "GET",
        "/vectors/list?namespace=a&limit=1",
        None,
        200,
        {"vectors", "pagination", "namespace", "usage"},
    ),
    (
        "POST",
        "/vectors/update",
        {"filter": {"k": "v"}, "dryRun": True, "namespace": "a"},
        200,
        {"matchedRecords"},
    ),
    (
        "POST",
        "/vectors/update",
        {"id": "x", "setMetadata": {"k": "w"}, "namespace": "a"},
        200,
        set(),
    ),
    ("POST", "/vectors/delete", {"ids": ["none"], "namespace": "a"}, 200, set()),
    ("DELETE", "/vectors/delete?ids=none&namespace=a", None, 200, set()),
    *(
        (
            method,
            "/describe_index_stats",
            None,
            200,
            {
                "namespaces",
                "dimension",
                "indexFullness",
                "totalVectorCount",
                "metric",
                "vectorType",
            },
        )
        for method in ("GET", "POST")
    ),
    ("GET", "/namespaces", None, 200, {"namespaces", "total_count"}),
    ("POST", "/namespaces", {"name": "b"}, 200, NAMESPACE),
    ("GET", "/namespaces/{namespace}", None, 200, NAMESPACE),
    ("DELETE", "/namespaces/{namespace}", None, 200, set()),
    (
        "POST",
        f"{DOCUMENTS}/upsert",
        {"documents": [{"_id": "y", "_values": [0, 1]}]},
        200,
        {"upserted_count"},
    ),
    ("POST", f"{DOCUMENTS}/search", SEARCH, 200, {"matches", "namespace", "usage"}),
    ("POST", f"{DOCUMENTS}/fetch", {"ids": ["a"]}, 200, {"documents", "namespace", "usage"}),
    ("POST", f"{DOCUMENTS}/list", {}, 200, {"documents", "namespace", "usage"}),
    ("POST", f"{DOCUMENTS}/update", {"documents": [{"_id": "y", "k": 1}]}, 200, set()),
    ("POST", f"{DOCUMENTS}/delete", {"ids": ["none"]}, 200, set()),
]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The server's own address, and that of index "a"."""
    folder = tmp_path_factory.mktemp("routes")
    server = LocalServer(folder / "data", (), folder / "log")
    with Rest(server.address) as control:
        made = control.post("/indexes", {"name": "a", "dimension": 2, "spec": SPEC}).json
        with Rest(made["host"]) as index:
            vectors = [{"id": "a", "values": [1, 0], "metadata": {"k": "v"}}]
            vectors += [{"id": "z", "values": [0, 1], "metadata": {"k": "u"}}]
            index.post("/vectors/upsert", {"vectors": vectors, "namespace": "a"})
    yield server.address, made["host"]
    server.stop()
    assert "Traceback" not in (folder / "log").read_text()


def asked(address: str, method: str, path: str, body: Any = None) -> RestAnswer:
    name = "b" if method == "DELETE" else "a"
    with Rest(address) as rest:
        return rest.ask(method, path.format(name=name, namespace=name, id=name), body)


@pytest.mark.parametrize(("method", "path", "body", "status", "keys"), CONTROL)
def test_a_route_of_the_control_plane(
    addresses: tuple[str, str], method: str, path: str, body: Any, status: int, keys: set[str]
) -> None:
    if method == "POST":
        asked(addresses[0], "DELETE", "/indexes/b")
    if method == "DELETE":
        asked(addresses[0], "POST", "/indexes", {"name": "b", "dimension": 2, "spec": SPEC})
    answer = asked(addresses[0], method, path, body)
    assert answer.status == status, answer.body
    assert (set(answer.json) if answer.body else set()) == keys


@pytest.mark.parametrize(("method", "path", "body", "status", "keys"), DATA)
def test_a_route_of_the_data_plane(
    addresses: tuple[str, str], method: str, path: str, body: Any, status: int, keys: set[str]
) -> None:
    if path == "/namespaces":
        asked(addresses[1], "DELETE", "/namespaces/b")
    if method == "DELETE":
        asked(addresses[1], "POST", "/namespaces", {"name": "b"})
    answer = asked(addresses[1], method, path, body)
    assert answer.status == status, answer.body
    assert set(answer.json) == keys


@pytest.mark.parametrize(("method", "path"), ABSENT)
def test_a_route_with_nothing_behind_it_says_so(
    addresses: tuple[str, str], method: str, path: str
) -> None:
    answer = asked(addresses[0], method, path)
    assert answer.status == 400
    said = answer.json
    assert said.get("code") == 12 or said["error"]["code"] == "UNIMPLEMENTED"


def test_every_route_is_asked_for_here() -> None:
    """But for collections, which are tested where they are made of indexes."""
    here = {(method, path.partition("?")[0]) for method, path, *_ in (*CONTROL, *DATA)}
    own = [
        (method, path)
        for method, path in App({}).routes.table()
        if not path.startswith(("/grpc/", "/collections"))
    ]
    assert sorted(here | set(ABSENT)) == sorted(own)
