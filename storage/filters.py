"""The filter language: what a google.protobuf.Struct means as a filter.

Filters are part of logged writes, so their meaning is durable. It is said in data.proto; this file turns
a Struct into one of the few forms below, and says what is wrong with it if it is none.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from storage.limits import FILTER_CONDITIONS_MAX, FILTER_DEPTH_MAX, FILTER_VALUES_MAX


class InvalidFilter(ValueError):
    """Not a filter; the message says where and why."""


@dataclass(frozen=True, slots=True)
class In:
    """The field equals one of these values, or, being a list, holds one of these strings."""

    key: str
    strings: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    booleans: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Between:
    """The field is a number from `low` to `high`; the ends belong to it or do not."""

    key: str
    low: float = -math.inf
    high: float = math.inf
    with_low: bool = True
    with_high: bool = True


@dataclass(frozen=True, slots=True)
class Exists:
    """The record has the field."""

    key: str


@dataclass(frozen=True, slots=True)
class Not:
    """The record does not match."""

    negated: "Filter"


@dataclass(frozen=True, slots=True)
class All:
    """The record matches every one."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """The record matches at least one."""

    parts: tuple["Filter", ...]


Filter = In | Between | Exists | Not | All | Some


@lru_cache(maxsize=256)
def parse(encoded: bytes) -> Filter | None:
    """The filter in a Struct's bytes, None for an empty one; raises InvalidFilter."""
    try:
        struct = Struct.FromString(encoded)
    except DecodeError:
        raise InvalidFilter(
            "The filter is not a valid google.protobuf.Struct, or nested far too deep."
        ) from None
    if not struct.fields:
        return None
    return _Parser().object(struct, 0)


def fields_of(one: Filter) -> Iterator[str]:
    """The metadata fields that a filter looks at."""
    match one:
        case All() | Some():
            for part in one.parts:
                yield from fields_of(part)
        case Not():
            yield from fields_of(one.negated)
        case _:
            yield one.key


class _Parser:
    """Counts what it sees, so that no filter is too wide."""

    def __init__(self) -> None:
        self._conditions = 0
        self._values = 0

    def object(self, struct: Struct, depth: int) -> Filter:
        if depth > FILTER_DEPTH_MAX:
            raise InvalidFilter(
                f"The filter nests $and and $or more than {FILTER_DEPTH_MAX} levels deep."
            )
        parts: list[Filter] = []
        for key, value in sorted(struct.fields.items()):
            if key in ("$and", "$or"):
                parts.append(self._group(key, value, depth))
            elif key.startswith("$"):
                raise InvalidFilter(
                    f"The filter has the unknown operator {key!r}; at its place stand a metadata "
                    "field, $and or $or."
                )
            else:
                parts += self._field(key, value)
        if not parts:
            raise InvalidFilter("A filter inside $and or $or is empty.")
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _group(self, operator: str, value: Value, depth: int) -> Filter:
        items = value.list_value.values
        if not items or not all(item.WhichOneof("kind") == "struct_value" for item in items):
            raise InvalidFilter(f"The operator {operator!r} takes a list of filters, not empty.")
        parts = tuple(self.object(item.struct_value, depth + 1) for item in items)
        return All(parts) if operator == "$and" else Some(parts)

    def _field(self, key: str, value: Value) -> list[Filter]:
        if value.WhichOneof("kind") != "struct_value":
            return [self._condition(key, "$eq", value)]
        operators = sorted(value.struct_value.fields.items())
        if not operators:
            raise InvalidFilter(f"The filter on {key!r} has no operator.")
        return [self._condition(key, operator, operand) for operator, operand in operators]

    def _condition(self, key: str, operator: str, operand: Value) -> Filter:
        self._conditions += 1
        if self._conditions > FILTER_CONDITIONS_MAX:
            raise InvalidFilter(f"The filter has more than {FILTER_CONDITIONS_MAX} conditions.")
        where = f"The operator {operator!r} on {key!r}"
        match operator:
            case "$eq":
                return self._one(key, operand, where)
            case "$ne":
                return Not(self._one(key, operand, where))
            case "$in":
                return self._list(key, operand, where)
            case "$nin":
                return Not(self._list(key, operand, where))
            case "$exists":
                if operand.WhichOneof("kind") != "bool_value":
                    raise InvalidFilter(f"{where} takes true or false.")
                return Exists(key) if operand.bool_value else Not(Exists(key))
            case "$gt" | "$gte" | "$lt" | "$lte":
                number = operand.number_value
                if operand.WhichOneof("kind") != "number_value" or not math.isfinite(number):
                    raise InvalidFilter(f"{where} takes a finite number.")
                if operator[1] == "g":
                    return Between(key, low=number, with_low=operator == "$gte")
                return Between(key, high=number, with_high=operator == "$lte")
        raise InvalidFilter(
            f"{where} is unknown; there are $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin and $exists."
        )

    def _one(self, key: str, operand: Value, where: str) -> In:
        match operand.WhichOneof("kind"):
            case "string_value":
                return In(key, strings=(operand.string_value,))
            case "bool_value":
                return In(key, booleans=(operand.bool_value,))
            case "number_value" if math.isfinite(operand.number_value):
                return In(key, numbers=(operand.number_value + 0.0,))
        raise InvalidFilter(f"{where} takes a string, a finite number or a boolean.")

    def _list(self, key: str, operand: Value, where: str) -> In:
        strings: set[str] = set()
        numbers: set[float] = set()
        items = operand.list_value.values
        self._values += len(items)
        if self._values > FILTER_VALUES_MAX:
            raise InvalidFilter(f"The filter lists more than {FILTER_VALUES_MAX} values.")
        well_formed = operand.WhichOneof("kind") == "list_value"
        for item in items:
            kind = item.WhichOneof("kind")
            if kind == "string_value":
                strings.add(item.string_value)
            elif kind == "number_value" and math.isfinite(item.number_value):
                numbers.add(item.number_value + 0.0)
            else:
                well_formed = False
        if not well_formed:
            raise InvalidFilter(f"{where} takes a list of strings and finite numbers.")
        return In(key, tuple(sorted(strings)), tuple(sorted(numbers)))
