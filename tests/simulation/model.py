"""What an index should hold, in dicts, and the small world of records and filters that tests write."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st

from storage import metadata
from tests.queries import packed, struct
from tests.reference import Fields, matches, sparse_product
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data
from worker.pages import page
from worker.view import View, lsn_of, metadata_of, sparse_of, vector_of

SCHEMA_FIELD = "k"
IDS = [f"id{number}" for number in range(8)]

Sparse = tuple[tuple[int, float], ...]


class Row(NamedTuple):
    """A record to write; `fields` is None for one without metadata."""

    id: str
    vector: tuple[float, ...]
    fields: Fields | None
    sparse: Sparse


@dataclass(frozen=True)
class Record:
    """What the model knows of a record."""

    vector: tuple[float, ...]
    fields: Fields | None
    sparse: Sparse
    lsn: int


# By namespace, by id.
Model = dict[str, dict[str, Record]]


DIMENSION = 3

# Most of what happens is about one namespace, so that much happens to its records.
names = st.sampled_from(["a", "a", "a", "", "b", "ä"])
ids = st.sampled_from(IDS)
prefixes = st.sampled_from(["", "id", "id3", "no"])
# Values whose products and sums are exact in any order.
vectors = st.tuples(*[st.integers(-3, 3).map(float)] * DIMENSION)
scalars = st.sampled_from(["x", "y", 1.0, 2.0, True, ["x"], ["x", "y"], []])
fields = st.fixed_dictionaries({}, optional={"k": scalars, "l": scalars})
sparse = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-1.0, 0.5, 2.0])), max_size=3).map(
    lambda found: tuple(sorted(dict(found).items()))
)
filters = st.sampled_from(
    [
        {"k": "x"},
        {"k": {"$ne": "x"}},
        {"k": {"$gt": 1}},
        {"l": {"$exists": True}},
        {"$or": [{"k": 1}, {"l": "y"}]},
        {"k": {"$in": ["y", 2]}, "l": {"$nin": ["x"]}},
    ]
)


rows = st.builds(Row, ids, vectors, st.none() | fields, sparse)


# On the wire


def wire(found: Sparse) -> bytes:
    """Sparse values as they are stored."""
    message = data.SparseValues(
        indices=[index for index, _ in found], values=[value for _, value in found]
    )
    return message.SerializeToString()


def add(request: twin.UpsertTwin, row: Row) -> twin.VectorTwin:
    """Adds a record to an upsert."""
    added = request.vectors.add(id=row.id.encode(), values=packed(row.vector))
    if row.fields is not None:
        added.metadata = struct(row.fields)
    if row.sparse:
        added.sparse_values = wire(row.sparse)
    return added


# What there is


def contents(view: View) -> Model:
    """All that a view holds, and that it counts it rightly."""
    found: Model = {}
    every = [*IDS, "refused"]
    for count in view.namespaces():
        records: dict[str, Record] = {}
        size = 0
        places = view.locate(count.name, [one.encode() for one in every])
        located = {one: place for one, place in zip(every, places, strict=True) if place}
        request = frames.PageRequest(namespace=count.name, limit=len(every) + 1)
        listed = [(entry.id.decode(), (entry.place, entry.row)) for entry in page(view, request)[0]]
        assert listed == sorted(located.items(), key=lambda item: item[0])
        for one, place in listed:
            stored, sparse_values = metadata_of(*place), sparse_of(*place) or b""
            message = data.SparseValues.FromString(sparse_values)
            vector = tuple(float(value) for value in vector_of(*place))
            records[one] = Record(
                vector,
                None if stored is None else _lists(metadata.decode(stored)),
                tuple(zip(message.indices, message.values, strict=True)),
                lsn_of(*place),
            )
            size += 4 * len(vector) + len(one) + len(stored or b"") + len(sparse_values)
        assert (count.first, count.second) == (len(records), size)
        found[count.name.decode()] = records
    return found


def _lists(decoded: dict[str, Any]) -> Fields:
    """Lists of strings as a model has them."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in decoded.items()
    }


# Answers


def matching(records: dict[str, Record], one: Fields | None) -> set[str]:
    """The ids that match a filter; all of them without one."""
    return {
        key for key, record in records.items() if one is None or matches(one, record.fields or {})
    }


def distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The euclidean score."""
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def product(record: Record, vector: tuple[float, ...], asked: Sparse) -> float | None:
    """The dotproduct score; None for a record of a sparse index that shares nothing with the query."""
    both = sparse_product(dict(asked), dict(record.sparse))
    if not vector:
        return both
    dense = sum(a * b for a, b in zip(record.vector, vector, strict=True))
    return dense + (both or 0.0)


# Pages


@dataclass
class Walk:
    """Someone who asks for page after page while others write.

    `throughout` are the ids that were there, and matched, since the first page.
    """

    name: str
    one: Fields | None
    request: frames.PageRequest
    throughout: set[str]
    found: list[str]

    @classmethod
    def start(
        cls, name: str, records: dict[str, Record], prefix: str, limit: int, one: Any
    ) -> "Walk":
        """Before the first page."""
        request = frames.PageRequest(namespace=name.encode(), prefix=prefix.encode(), limit=limit)
        if one is not None:
            request.filter = struct(one)
        walk = cls(name, one, request, set(), [])
        walk.throughout = set(walk.expected(records))
        return walk

    def expected(self, records: dict[str, Record]) -> list[str]:
        """What there is to come, by what is stored now."""
        prefix, last = self.request.prefix.decode(), self.found[-1:]
        kept = matching(records, self.one)
        return sorted(one for one in kept if one.startswith(prefix) and [one] > last)

    def others_wrote(self, records: dict[str, Record]) -> None:
        """Something may have changed."""
        self.throughout &= matching(records, self.one)
