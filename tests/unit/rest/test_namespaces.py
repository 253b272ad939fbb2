"""Namespaces: snake_case, and counts as strings."""

import pytest

from tests.unit.rest.asgi import ask
from tests.unit.rest.fake import Fake
from torpor.v1 import data_pb2 as data


async def test_a_namespace_with_a_schema(fake: Fake) -> None:
    made = data.NamespaceDescription(name="n", record_count=1 << 60, size_bytes=3)
    made.schema.fields["year"].filterable = True
    made.indexed_fields.fields.append("year")
    fake.answer("CreateNamespace", made)
    schema = {"fields": {"year": {"filterable": True}}}
    answer = await ask(fake.app, "POST", "/namespaces", {"name": "n", "schema": schema})
    assert (answer.status, answer.json) == (
        200,
        {
            "name": "n",
            "record_count": "1152921504606846976",
            "size_bytes": "3",
            "schema": schema,
            "indexed_fields": {"fields": ["year"]},
        },
    )
    (sent,) = fake.sent("CreateNamespace", data.CreateNamespaceRequest)
    assert sent.name == "n"
    assert {name: one.filterable for name, one in sent.schema.fields.items()} == {"year": True}


@pytest.mark.parametrize("body", [{"name": "n"}, {"name": "n", "schema": None}])
async def test_a_namespace_without_a_schema(fake: Fake, body: dict[str, object]) -> None:
    answer = await ask(fake.app, "POST", "/namespaces", body)
    assert answer.json == {"name": "", "record_count": "0", "size_bytes": "0"}
    assert not fake.sent("CreateNamespace", data.CreateNamespaceRequest)[0].HasField("schema")


async def test_a_page_of_namespaces(fake: Fake) -> None:
    fake.answer(
        "ListNamespaces",
        data.ListNamespacesResponse(
            namespaces=[data.NamespaceDescription(name="__default__", record_count=2)],
            pagination=data.Pagination(next="more"),
            total_count=5,
        ),
    )
    answer = await ask(fake.app, "GET", "/namespaces?limit=1&prefix=a%20&paginationToken=t")
    assert answer.json == {
        "namespaces": [{"name": "__default__", "record_count": "2", "size_bytes": "0"}],
        "pagination": {"next": "more"},
        "total_count": 5,
    }
    assert fake.sent("ListNamespaces", data.ListNamespacesRequest) == [
        data.ListNamespacesRequest(limit=1, prefix="a ", pagination_token="t")
    ]


async def test_a_namespace_is_deleted_by_its_decoded_name(fake: Fake) -> None:
    answer = await ask(fake.app, "DELETE", "/namespaces/a%2Fb%20%E2%82%AC")
    assert (answer.status, answer.json) == (200, {})
    assert fake.sent("DeleteNamespace", data.DeleteNamespaceRequest)[0].namespace == "a/b €"
