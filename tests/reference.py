"""What filters and sparse scores mean, said as plainly as can be: for tests to compare with."""

from typing import Any

Fields = dict[str, Any]


def matches(one: Fields, record: Fields) -> bool:
    """The reference: what data.proto says, for one record."""
    return all(
        all(matches(part, record) for part in operand)
        if key == "$and"
        else any(matches(part, record) for part in operand)
        if key == "$or"
        else all(_holds(op, want, record.get(key)) for op, want in _operators(operand))
        for key, operand in one.items()
    )


def _operators(operand: Any) -> list[tuple[str, Any]]:
    return list(operand.items()) if isinstance(operand, dict) else [("$eq", operand)]


def _equal(want: Any, have: Any) -> bool:
    if isinstance(have, list):
        return isinstance(want, str) and want in have
    same_kind = isinstance(have, bool) == isinstance(want, bool)
    return bool(same_kind and have == want)


def _holds(operator: str, want: Any, have: Any) -> bool:
    number = isinstance(have, float | int) and not isinstance(have, bool)
    match operator:
        case "$eq" | "$ne":
            return _equal(want, have) == (operator == "$eq")
        case "$in" | "$nin":
            return bool(any(_equal(one, have) for one in want) == (operator == "$in"))
        case "$exists":
            return bool((have is not None) == want)
        case "$gt":
            return bool(number and have > want)
        case "$gte":
            return bool(number and have >= want)
        case "$lt":
            return bool(number and have < want)
    return bool(number and have <= want)


def sparse_product(one: dict[int, float], other: dict[int, float]) -> float | None:
    """The inner product; None for vectors that share no index."""
    shared = sorted(one.keys() & other.keys())
    return sum((one[index] * other[index] for index in shared), 0.0) if shared else None
