"""One table from errors to codes, and it is complete."""

import pytest

from router import errors
from storage import errors as storage_errors

LOCAL = {storage_errors.StorageError, storage_errors.DataFolderInUse, errors.RouterError}


def subclasses(kind: type[Exception]) -> set[type[Exception]]:
    return {one for sub in kind.__subclasses__() for one in (sub, *subclasses(sub))}


@pytest.mark.parametrize(
    "kind",
    sorted(
        (subclasses(errors.RouterError) | subclasses(storage_errors.StorageError)) - LOCAL,
        key=repr,
    ),
)
def test_every_error_a_call_can_end_with_has_a_code(kind: type[Exception]) -> None:
    assert errors.code_of(kind("")) not in (None, errors.Code.OK)


def test_our_own_mistakes_have_none() -> None:
    assert errors.code_of(AssertionError()) is None
    assert errors.code_of(KeyError()) is None
