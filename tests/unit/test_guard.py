"""Which key may call what: every method of the protos has its place in the table, and is kept to it."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from router.call import Call, Reply
from router.errors import PermissionDenied, Unauthenticated
from router.guard import check_index, guarded
from router.keyring import Keyring
from router.keys import Key, Scope, new_key
from router.keys_file import change_keys
from torpor.v1 import control_pb2, data_pb2

READ = {
    *("Query", "QueryBatch", "MeasureRecall", "Fetch", "FetchByMetadata", "List"),
    *("DescribeIndexStats", "ListNamespaces", "DescribeNamespace"),
}
WRITE = {"Upsert", "Update", "Delete", "CreateNamespace", "DeleteNamespace"}
ANY = {"ListIndexes", "DescribeIndex", "ListCollections", "DescribeCollection"}
SERVICES = (
    control_pb2.DESCRIPTOR.services_by_name["ControlService"],
    data_pb2.DESCRIPTOR.services_by_name["DataService"],
)
METHODS = [f"/{one.full_name}/{method.name}" for one in SERVICES for method in one.methods]


async def served(body: bytes, call: Call) -> Reply:
    """What every method does here: it says which key it was called with."""
    assert call.key is not None
    return Reply(body + call.key.id.encode())


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, str]:
    """Keys by their scope, in the file of `ring`."""
    made: dict[str, str] = {}

    def change(keys: Iterable[Key]) -> list[Key]:
        changed = list(keys)
        for scope in Scope:
            key, made[scope.value] = new_key([scope], None, "", changed)
            changed.append(key)
        return changed

    change_keys(tmp_path / "keys", change)
    return made


@pytest.fixture
def ring(tmp_path: Path, texts: dict[str, str]) -> Keyring:
    return Keyring(tmp_path / "keys")


@pytest.mark.parametrize("path", METHODS)
async def test_a_method_wants_its_scope(path: str, ring: Keyring, texts: dict[str, str]) -> None:
    handler = guarded({path: served}, ring)[path]
    name = path.rpartition("/")[2]
    allowed = {
        *(["read"] if name in READ | ANY else []),
        *(["write"] if name in WRITE | ANY else []),
        *(["admin"] if name not in READ | WRITE else []),
    }
    for scope, text in texts.items():
        call = Call(metadata={"api-key": text}, deadline_ns=5, authority="a", local=("b", 1))
        if scope in allowed:
            assert (await handler(b"x", call)).body == b"x" + text[7:15].encode()
        else:
            with pytest.raises(PermissionDenied, match=f"has not the scope .*{name}"):
                await handler(b"x", call)


async def test_a_method_wants_a_key(ring: Keyring) -> None:
    for path in METHODS:
        handler = guarded({path: served}, ring)[path]
        for metadata in ({}, {"api-key": ""}, {"api-key": "x"}, {"authorization": "Bearer x"}):
            with pytest.raises(Unauthenticated):
                await handler(b"", Call(metadata=metadata))


async def test_the_rest_of_a_call_stays_as_it_is(ring: Keyring, texts: dict[str, str]) -> None:
    seen: list[Call] = []

    async def look(body: bytes, call: Call) -> Reply:
        seen.append(call)
        return Reply(body)

    call = Call({"api-key": texts["read"], "a": "b"}, 5, "host", ("127.1.0.1", 7))
    await guarded({"/s/Query": look}, ring)["/s/Query"](b"", call)
    (got,) = seen
    assert got.key is not None and got._replace(key=None) == call


async def test_collections_are_for_keys_that_are_for_all_indexes(tmp_path: Path) -> None:
    key, text = new_key(Scope, ["a"], "", ())
    change_keys(tmp_path / "some", lambda _: [key])
    some = Keyring(tmp_path / "some")
    for path in METHODS:
        call = guarded({path: served}, some)[path](b"", Call(metadata={"api-key": text}))
        if "Collection" in path:
            with pytest.raises(PermissionDenied, match="for some indexes only"):
                await call
        else:
            await call


def test_a_method_that_is_not_in_the_table_cannot_be_served(ring: Keyring) -> None:
    with pytest.raises(KeyError):
        guarded({"/torpor.v1.DataService/Unheard": served}, ring)


def test_a_key_for_some_indexes_is_for_no_others() -> None:
    key, _ = new_key(Scope, ["a", "b"], "", ())
    check_index(Call(key=key), "a")
    for name in ("c", "", "A"):
        with pytest.raises(PermissionDenied, match="is not for the index"):
            check_index(Call(key=key), name)
    check_index(Call(key=new_key(Scope, None, "", ())[0]), "c")
    check_index(Call(), "c")
