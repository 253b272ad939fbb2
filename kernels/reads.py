"""Which codes a batch reads: what its queries want to see, cut into blocks that several share.

Reading codes costs as much as four queries do with them. Queries that look near their own centroids
therefore share blocks: a block is multiplied with every query that wants to see some of it, and what one
did not want to see is dropped from what it found, so that its answer does not depend on the others.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# The first block is small: nothing is known yet, and all of its rows are candidates. Each block is at
# most so many times the one before.
_FIRST_PRODUCTS = 1 << 15
_FIRST_ROWS_MIN, _FIRST_ROWS_MAX = 256, 1_024
_GROWTH = 64
# Rows of a block whose queries want to see different parts of it: more of them are in vain, the larger
# it is.
_SHARED_ROWS_MAX = 4_096

Span = tuple[int, int]
Numbers = NDArray[np.int64]


class Block(NamedTuple):
    """Spans of places, and the queries that some of them are for; None for all."""

    spans: list[Span]
    queries: Numbers | None


class Reads:
    """The places that each query of a batch wants to see."""

    def __init__(self, wanted: Sequence[Sequence[Span]]) -> None:
        """wanted: for each query, spans in ascending order, no place in two of them

        differ: whether queries want to see different things
        """
        self.differ = any(spans != wanted[0] for spans in wanted)
        distinct = wanted if self.differ else wanted[:1]
        edges = sorted({edge for spans in distinct for span in spans for edge in span})
        self._edges = np.array(edges, np.int64)
        seen = np.zeros((max(1, len(edges)), len(distinct)), np.int8)
        for query, spans in enumerate(distinct):
            ends = np.array([span for span in spans if span[0] < span[1]], np.int64).reshape(-1, 2)
            # One span may begin where another ends.
            np.add.at(seen[:, query], np.searchsorted(self._edges, ends[:, 0]), 1)
            np.add.at(seen[:, query], np.searchsorted(self._edges, ends[:, 1]), -1)
        # Between one edge and the next each query sees everything or nothing.
        own = np.cumsum(seen, axis=0, dtype=np.int8)[:-1] > 0
        self._seen = own if self.differ else np.repeat(own, len(wanted), axis=1)
        # What lies between two edges, where anyone wants to see it, and who does, a bit for each query.
        anyone = self._seen.any(axis=1)
        pieces = np.stack((self._edges[:-1], self._edges[1:]), axis=1)[anyone]
        self._pieces: list[Span] = [(start, stop) for start, stop in pieces.tolist()]
        packed = np.packbits(self._seen[anyone], axis=1)
        self._who = [int.from_bytes(row.tobytes()) for row in packed]

    def sees(self, places: Numbers, queries: Numbers) -> NDArray[np.bool_]:
        """Which of these pairs (m,) of a place and a query are wanted."""
        between = np.searchsorted(self._edges, places, side="right") - 1
        return np.asarray(self._seen[between, queries])

    def spans(self) -> list[Span]:
        """What anyone wants to see, what touches joined."""
        return _joined(self._pieces)

    def blocks(self, rows_max: int, products_max: int) -> Iterator[Block]:
        """Everything, so many rows and products at a time at most."""
        if self.differ:
            rows_max = min(rows_max, _SHARED_ROWS_MAX)
        spans: list[Span] = []
        first = max(_FIRST_ROWS_MIN, _FIRST_PRODUCTS // self._seen.shape[1])
        size, wanted = 0, min(rows_max, _FIRST_ROWS_MAX, first)
        queries = 0
        for (start, stop), own in zip(self._pieces, self._who, strict=True):
            while start < stop:
                room = min(wanted, products_max // (queries | own).bit_count()) - size
                if room <= 0:
                    yield self._block(spans)
                    spans, size, queries = [], 0, 0
                    wanted = min(rows_max, _GROWTH * wanted)
                    continue
                end = min(stop, start + room)
                spans.append((start, end))
                size += end - start
                queries |= own
                start = end
        if spans:
            yield self._block(spans)

    def _block(self, spans: list[Span]) -> Block:
        joined = _joined(spans)
        if not self.differ:
            return Block(joined, None)
        first = int(np.searchsorted(self._edges, spans[0][0], side="right")) - 1
        last = int(np.searchsorted(self._edges, spans[-1][1]))
        return Block(joined, np.flatnonzero(self._seen[first:last].any(axis=0)))


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
