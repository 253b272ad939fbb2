"""Which key may call which method, for which index. Every front's calls pass through here, once.

The guard stands behind the fronts and ahead of the services, so that gRPC and REST are one to it. What a
method is for is said in one table; a method that is not in it cannot be served. Which index a call is
for, the services find out: they ask `check_index` before they touch one.
"""

from collections.abc import Callable, Mapping

from router.call import Call, Handler, Handlers, Reply
from router.errors import PermissionDenied
from router.keyring import Keyring
from router.keys import Key, Scope

KEY_METADATA = "api-key"

# The scope that each method wants. None: any key may, for whoever reads or writes an index must find
# its address and its dimension first.
_SCOPES: Mapping[str, Scope | None] = {
    "CreateIndex": Scope.ADMIN,
    "ListIndexes": None,
    "DescribeIndex": None,
    "ConfigureIndex": Scope.ADMIN,
    "DeleteIndex": Scope.ADMIN,
    "WakeIndex": Scope.ADMIN,
    "SleepIndex": Scope.ADMIN,
    "CreateCollection": Scope.ADMIN,
    "ListCollections": None,
    "DescribeCollection": None,
    "DeleteCollection": Scope.ADMIN,
    "Upsert": Scope.WRITE,
    "Update": Scope.WRITE,
    "Delete": Scope.WRITE,
    "CreateNamespace": Scope.WRITE,
    "DeleteNamespace": Scope.WRITE,
    "Query": Scope.READ,
    "QueryBatch": Scope.READ,
    "MeasureRecall": Scope.READ,
    "Fetch": Scope.READ,
    "FetchByMetadata": Scope.READ,
    "List": Scope.READ,
    "DescribeIndexStats": Scope.READ,
    "ListNamespaces": Scope.READ,
    "DescribeNamespace": Scope.READ,
}


# What may hold any index's records is for keys that are for all indexes.
_OF_COLLECTIONS = {"CreateCollection", "ListCollections", "DescribeCollection", "DeleteCollection"}


def guarded(handlers: Handlers, keys: Keyring) -> Handlers:
    """The same methods for callers with a key that is for them; the key is in the call from here on."""
    return {path: _guarded(path, handler, keys) for path, handler in handlers.items()}


def admission(keys: Keyring) -> Callable[[Call], Key]:
    """A function that raises Unauthenticated for callers without a key, before there is a request."""
    return lambda call: keys.find(call.metadata.get(KEY_METADATA, ""))


def check_index(call: Call, name: str) -> None:
    """Raises PermissionDenied if the caller's key is not for an index of this name.

    Whether there is such an index is not told to those who may not use it.
    """
    if call.key is not None and not call.key.is_for(name):
        raise PermissionDenied(f"The API key {call.key.id} is not for the index {name!r}.")


def check_collections(call: Call) -> None:
    """Raises PermissionDenied if the caller's key is for some indexes only."""
    if call.key is not None and call.key.indexes is not None:
        raise PermissionDenied(
            f"The API key {call.key.id} is for some indexes only, and a collection may hold any of them."
        )


def _guarded(path: str, handler: Handler, keys: Keyring) -> Handler:
    method = path.rpartition("/")[2]
    scope = _SCOPES[method]
    admit = admission(keys)
    of_collections = method in _OF_COLLECTIONS

    async def handle(body: bytes, call: Call) -> Reply:
        key = admit(call)
        if scope is not None and scope not in key.scopes:
            raise PermissionDenied(
                f"The API key {key.id} has not the scope {scope.value!r}, which {method} wants."
            )
        call = Call(call.metadata, call.deadline_ns, call.authority, call.local, key)
        if of_collections:
            check_collections(call)
        return await handler(body, call)

    return handle
