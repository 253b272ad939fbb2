"""Which rows a filter allows, by array operations on columns.

A filter is planned by counts: what few rows can match is worked out as lists of rows from the postings,
everything else as masks from the codes. Lists are never large and masks are never sparse, because
uniting and intersecting large lists costs ten times a mask (2 to 20 ms for a million rows).

Number columns need no pass to find the rows without the field: their code is the highest. What is not
there matches `Not`, as `$ne` promises.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from storage.columns import Column, Columns, Kind, stored_string
from storage.filters import All, Between, Exists, Filter, In, Not, Some

Mask = NDArray[np.bool_]
RowList = NDArray[np.int64]
Integer = TypeVar("Integer", np.int64, np.uint32)

# Up to this share of the rows, and this many, a list beats a mask.
_LIST_SHARE_MAX = 0.02
_LIST_ROWS_MAX = 20_000
# A slice of so few rows is masked at once: planning would cost more.
_MASK_ROWS_MAX = 4_096
# Up to so many intervals, comparing the codes with each beats looking them up in a table.
_COMPARED_MAX = 20
# Below so many rows, setting single places of a mask beats comparing all codes.
_PLACES_SHARE_MAX = 0.004


class Selection:
    """The rows start..stop of columns that a filter allows."""

    def __init__(self, columns: Columns | None, start: int, stop: int) -> None:
        """`columns` is None where no row has any field."""
        self._columns = columns
        self._start = start
        self._stop = stop

    def select(self, one: Filter) -> tuple[RowList | None, Mask | None]:
        """Either the rows, ascending, or a mask over start..stop."""
        size = self._stop - self._start
        if size > _MASK_ROWS_MAX:
            few = min(_LIST_ROWS_MAX, int(_LIST_SHARE_MAX * size))
            if self._count(one) <= few:
                return self._rows(one), None
        return None, self._mask(one)

    def mask(self, one: Filter) -> Mask:
        """The mask over start..stop."""
        rows, mask = self.select(one)
        if mask is None:
            assert rows is not None
            mask = self._nothing()
            mask[rows - self._start] = True
        return mask

    # How many rows at most

    def _count(self, one: Filter) -> int:
        size = self._stop - self._start
        match one:
            case All():
                return min(map(self._count, one.parts))
            case Some():
                return min(size, sum(map(self._count, one.parts)))
            case Not():
                return size
            case _:
                return min(size, sum(len(rows) for rows in self._postings(one)))

    # As lists of rows

    def _rows(self, one: Filter) -> RowList:
        match one:
            case All():
                first, *others = sorted(one.parts, key=self._count)
                rows = self._rows(first)
                for other in others:
                    rows = rows[self._test(other, rows)]
                return rows
            case Some():
                return _ascending(np.concatenate([self._rows(part) for part in one.parts]))
            case Not():
                return np.flatnonzero(self._mask(one)) + self._start
        groups = list(self._postings(one))
        if not groups:
            return np.empty(0, np.int64)
        rows = np.concatenate(groups)
        ordered = isinstance(one, In) and len(groups) == 1
        # A row is found twice where its list holds two of the values.
        return (rows if ordered else _ascending(rows)).astype(np.int64)

    def _test(self, one: Filter, rows: RowList) -> Mask:
        """Which of these rows match."""
        match one:
            case All():
                passed = self._test(one.parts[0], rows)
                for part in one.parts[1:]:
                    passed &= self._test(part, rows)
                return passed
            case Some():
                passed = self._test(one.parts[0], rows)
                for part in one.parts[1:]:
                    passed |= self._test(part, rows)
                return passed
            case Not():
                return ~self._test(one.negated, rows)
        passed = np.zeros(len(rows), np.bool_)
        for column, intervals in self._intervals(one):
            codes = column.codes
            if codes is not None and column.kind is not Kind.LIST:
                passed |= _within(codes[rows], intervals, column.values)
            else:
                for first, last in intervals:
                    passed |= np.isin(rows, self._slice(column.postings(first, last), first, last))
        return passed

    # As masks

    def _mask(self, one: Filter) -> Mask:
        match one:
            case All():
                mask = self._mask(one.parts[0])
                for part in one.parts[1:]:
                    mask &= self._mask(part)
                return mask
            case Some():
                mask = self._mask(one.parts[0])
                for part in one.parts[1:]:
                    mask |= self._mask(part)
                return mask
            case Not():
                mask = self._mask(one.negated)
                return np.logical_not(mask, out=mask)
        found: Mask | None = None
        for column, intervals in self._intervals(one):
            codes = self._dense_codes(one, column, intervals)
            if codes is not None:
                # The codes of lists say no more than which rows have one.
                listed = column.kind is Kind.LIST
                mask = codes != 0 if listed else _within(codes, intervals, column.values)
                found = mask if found is None else np.logical_or(found, mask, out=found)
                continue
            if found is None:
                found = self._nothing()
            for first, last in intervals:
                found[self._slice(column.postings(first, last), first, last) - self._start] = True
        return self._nothing() if found is None else found

    def _nothing(self) -> Mask:
        return np.zeros(self._stop - self._start, np.bool_)

    def _dense_codes(
        self, one: Filter, column: Column, intervals: list[tuple[int, int]]
    ) -> NDArray[Any] | None:
        """The codes of the slice, if comparing them is right and the cheapest."""
        codes = column.codes
        if codes is None:
            return None
        codes = codes[self._start : self._stop]
        if column.kind is Kind.LIST:
            return codes if isinstance(one, Exists) else None
        few = sum(len(column.postings(*interval)) for interval in intervals)
        return codes if few >= _PLACES_SHARE_MAX * len(codes) else None

    # The leaves

    def _intervals(self, one: Filter) -> Iterator[tuple[Column, list[tuple[int, int]]]]:
        """The columns a condition looks at, and in each the values (first, behind the last) it takes."""
        assert isinstance(one, In | Between | Exists)
        if self._columns is None:
            return
        kinds = list(Kind)
        if isinstance(one, Between):
            kinds = [Kind.NUMBER]
        for kind in kinds:
            column = self._columns.find(one.key, kind)
            if column is None:
                continue
            match one:
                case In():
                    intervals = _runs(sorted(_codes_of(one, column)))
                case Between():
                    found = column.interval(one.low, one.high, one.with_low, one.with_high)
                    intervals = [found] if found[0] < found[1] else []
                case Exists():
                    # Empty lists stand behind the last value.
                    intervals = [(0, column.values + (kind is Kind.LIST))]
            if intervals:
                yield column, intervals

    def _postings(self, one: Filter) -> Iterator[NDArray[np.uint32]]:
        for column, intervals in self._intervals(one):
            for first, last in intervals:
                rows = self._slice(column.postings(first, last), first, last)
                if len(rows):
                    yield rows

    def _slice(self, rows: NDArray[np.uint32], first: int, last: int) -> NDArray[np.uint32]:
        """Those rows of postings that are in start..stop."""
        assert self._columns is not None
        if self._start == 0 and self._stop == self._columns.rows:
            return rows
        if last - first == 1:
            low, high = np.searchsorted(rows, (self._start, self._stop))
            return rows[low:high]
        return rows[(rows >= self._start) & (rows < self._stop)]


def _ascending(rows: NDArray[Integer]) -> NDArray[Integer]:
    """Each row once, ascending; np.unique hashes, and takes forty times as long."""
    rows = np.sort(rows)
    keep = np.ones(len(rows), np.bool_)
    np.not_equal(rows[1:], rows[:-1], out=keep[1:])
    return rows[keep]


def _codes_of(one: In, column: Column) -> set[int]:
    found: list[int]
    match column.kind:
        case Kind.STRING | Kind.LIST:
            found = [column.code(stored_string(value)) for value in one.strings]
        case Kind.NUMBER:
            found = [column.code(value) for value in one.numbers]
        case Kind.BOOLEAN:
            found = [column.code(value) for value in one.booleans]
    return {code for code in found if code >= 0}


def _runs(codes: list[int]) -> list[tuple[int, int]]:
    """Sorted codes as intervals."""
    runs: list[tuple[int, int]] = []
    for code in codes:
        if runs and runs[-1][1] == code:
            runs[-1] = (runs[-1][0], code + 1)
        else:
            runs.append((code, code + 1))
    return runs


def _within(
    codes: NDArray[Any],
    intervals: list[tuple[int, int]],
    values: int,
) -> Mask:
    """Which codes lie in one of the intervals."""
    if len(intervals) <= _COMPARED_MAX:
        mask: Mask | None = None
        for first, last in intervals:
            one: Mask
            if last - first == 1:
                one = codes == first
            elif first == 0:
                one = codes < last
            else:
                # Unsigned: what is below `first` wraps to the top.
                one = (codes - codes.dtype.type(first)) < last - first
            mask = one if mask is None else np.logical_or(mask, one, out=mask)
        assert mask is not None
        return mask
    table = np.zeros(values + 1, np.bool_)
    for first, last in intervals:
        table[first:last] = True
    return np.asarray(table[codes])
