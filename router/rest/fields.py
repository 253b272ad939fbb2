"""Reading JSON objects and query strings as what they must be.

Whatever is not there may be null, empty or absent: clients differ. What is there and does not fit
raises Misfit, whose message names the place.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import orjson

from router.rest.errors import Malformed, Misfit
from storage.limits import IDS_MAX

_UINT32_MAX = (1 << 32) - 1
# Parameters of one query string: the ids of a fetch, and a few words beside them.
_PARAMETERS_MAX = IDS_MAX + 24


class Fields:
    """The members of a JSON object; `place` is where it stands in the body, for messages."""

    __slots__ = ("_values", "place")

    def __init__(self, values: dict[str, Any], place: str = "") -> None:
        self._values = values
        self.place = place

    @classmethod
    def parse(cls, body: bytes) -> "Fields":
        """The object that a request's body is; raises Malformed and Misfit."""
        if not body:
            return cls({})
        try:
            values = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Malformed(f"The body is not JSON: {error}.") from None
        if not isinstance(values, dict):
            raise Misfit("The body must be a JSON object.")
        return cls(values)

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def members(self) -> Sequence[tuple[str, Any]]:
        """All members, those that are null as well."""
        return list(self._values.items())

    def text(self, key: str) -> str:
        """A string; empty if it is not there."""
        value = self._values.get(key)
        if value is None:
            return ""
        if type(value) is not str:
            raise self._misfit(key, "a string")
        return value

    def flag(self, key: str) -> bool:
        """A boolean; False if it is not there."""
        value = self._values.get(key)
        if value is None:
            return False
        if type(value) is not bool:
            raise self._misfit(key, "true or false")
        return value

    def whole(self, key: str) -> int | None:
        """A whole number of 32 bits, without a sign; 10.0 is one as well."""
        value = self._values.get(key)
        if value is None:
            return None
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not 0 <= value <= _UINT32_MAX:
            raise self._misfit(key, f"a whole number of 0 to {_UINT32_MAX}")
        return value

    def number(self, key: str) -> float | None:
        """A number."""
        value = self._values.get(key)
        if value is not None and type(value) not in (int, float):
            raise self._misfit(key, "a number")
        return value

    def mapping(self, key: str) -> dict[str, Any] | None:
        """An object as it came."""
        value = self._values.get(key)
        if value is not None and type(value) is not dict:
            raise self._misfit(key, "an object")
        return value

    def object(self, key: str) -> "Fields | None":
        """An object."""
        value = self.mapping(key)
        return None if value is None else Fields(value, self.place_of(key))

    def objects(self, key: str) -> "list[Fields]":
        """A list of objects; empty if it is not there."""
        values = self.list(key)
        place = self.place_of(key)
        if not {dict}.issuperset(map(type, values)):
            raise self._misfit(key, "a list of objects")
        return [Fields(value, f"{place}[{number}]") for number, value in enumerate(values)]

    def named_objects(self, key: str) -> "dict[str, Fields]":
        """An object of objects, of which some may be null; empty if it is not there."""
        found = self.object(key) or Fields({})
        return {name: found.object(name) or Fields({}) for name in self.mapping(key) or ()}

    def texts(self, key: str) -> list[str]:
        """A list of strings; empty if it is not there."""
        values = self.list(key)
        if not {str}.issuperset(map(type, values)):
            raise self._misfit(key, "a list of strings")
        return values

    def list(self, key: str) -> list[Any]:
        """A list; empty if it is not there."""
        value = self._values.get(key)
        if value is None:
            return []
        if type(value) is not list:
            raise self._misfit(key, "a list")
        return value

    def place_of(self, key: str) -> str:
        """Where a member stands in the body."""
        return f"{self.place}.{key}" if self.place else key

    def _misfit(self, key: str, what: str) -> Misfit:
        return Misfit(f"The field {self.place_of(key)!r} must be {what}.")


class Parameters:
    """The parameters of a query string, in which each may stand several times."""

    def __init__(self, query: bytes) -> None:
        try:
            self._pairs = parse_qsl(
                query.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_PARAMETERS_MAX,
            )
        except ValueError:
            raise Malformed(
                f"The query string must be UTF-8, percent-encoded, with at most {_PARAMETERS_MAX} "
                "parameters."
            ) from None

    def texts(self, key: str) -> list[str]:
        """All values of a parameter."""
        return [value for name, value in self._pairs if name == key]

    def text(self, key: str) -> str:
        """The last value of a parameter; empty if it is not there."""
        values = self.texts(key)
        return values[-1] if values else ""

    def whole(self, key: str) -> int | None:
        """A whole number of 32 bits, without a sign; None if it is not there."""
        value = self.text(key)
        if not value:
            return None
        if not (value.isascii() and value.isdecimal()) or int(value[:11]) > _UINT32_MAX:
            raise Misfit(f"The parameter {key!r} must be a whole number of 0 to {_UINT32_MAX}.")
        return int(value)

    def flag(self, key: str) -> bool:
        """A boolean; False if it is not there."""
        value = self.text(key).lower()
        if value not in ("", "true", "false"):
            raise Misfit(f"The parameter {key!r} must be true or false.")
        return value == "true"
