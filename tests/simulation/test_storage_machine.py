"""The whole of storage against a dict: log, folds, merges, masks, namespaces, crashes and reopening."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage import manifest as manifests
from storage import metadata
from storage.errors import StorageError
from storage.log_reader import recover
from storage.log_writer import LogWriter
from storage.manifest import Manifest, load, remove_leftovers, store
from storage.records import Kind, NewRecord
from tests.faults.disk import FakeFiles, PowerCut, cut_at, fail_at
from tests.queries import answer, struct
from tests.reference import Fields, matches, sparse_product
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data
from worker.builder import Order, run
from worker.pages import count_matching, page
from worker.view import Unfilterable, View, lsn_of, metadata_of, sparse_of, vector_of

FOLDER = Path("/index")
DIMENSION = 3
SCHEMA_FIELD = "k"


@dataclass(frozen=True)
class Record:
    """What the model knows of a record; `fields` is None for one without metadata."""

    vector: tuple[float, ...]
    fields: Fields | None
    sparse: tuple[tuple[int, float], ...]
    lsn: int


# By namespace, by id. A change is told the LSN of the write it stands for.
Model = dict[str, dict[str, Record]]
Change = Callable[[Model, int], None]

IDS = [f"id{number}" for number in range(8)]
names = st.sampled_from(["", "a", "b", "ä"])
ids = st.sampled_from(IDS)
values = st.tuples(*[st.integers(-3, 3).map(float)] * DIMENSION)
scalars = st.sampled_from(["x", "y", 1.0, 2.0, True, ["x"], ["x", "y"], []])
fields = st.fixed_dictionaries({}, optional={"k": scalars, "l": scalars})
sparse = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-1.0, 0.5, 2.0])), max_size=3).map(
    lambda found: tuple(sorted(dict(found).items()))
)
rows = st.tuples(ids, values, st.one_of(st.none(), fields), sparse)
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


def packed(vector: tuple[float, ...]) -> bytes:
    return np.array(vector, np.float32).tobytes()


def wire(found: tuple[tuple[int, float], ...]) -> bytes:
    message = data.SparseValues(
        indices=[index for index, _ in found], values=[value for _, value in found]
    )
    return message.SerializeToString()


def add(request: twin.UpsertTwin, row: tuple[str, Any, Any, Any]) -> twin.VectorTwin:
    one, vector, own, sparse_values = row
    added = request.vectors.add(id=one.encode(), values=packed(vector))
    if own is not None:
        added.metadata = struct(own)
    if sparse_values:
        added.sparse_values = wire(sparse_values)
    return added


class StorageMachine(RuleBasedStateMachine):
    """Writes and builds as the router and its builders do, on a disk that fails and forgets."""

    @initialize()
    def begin(self) -> None:
        self.disk = FakeFiles()
        self.model: Model = {}
        self.schemas: set[str] = set()
        store(self.disk, FOLDER, Manifest())
        self.open()

    def open(self) -> None:
        self.manifest = load(self.disk, FOLDER)
        remove_leftovers(self.disk, FOLDER, self.manifest)
        self.writer = LogWriter(self.disk, FOLDER, recover(self.disk, FOLDER, self.manifest.log))

    # Writes

    @rule(name=names, some=st.lists(rows, min_size=1, max_size=6))
    def upsert(self, name: str, some: list[tuple[str, Any, Any, Any]]) -> None:
        request = twin.UpsertTwin(namespace=name.encode())
        for row in some:
            add(request, row)

        def change(model: Model, lsn: int) -> None:
            for one, vector, own, sparse_values in some:
                model.setdefault(name, {})[one] = Record(vector, own, sparse_values, lsn)

        self.write(Kind.UPSERT, request.SerializeToString(), change)

    @rule(
        name=names,
        some=st.lists(
            st.tuples(rows, st.sampled_from([None, "absent", "its", "wrong"])), min_size=1
        ),
    )
    def upsert_if(self, name: str, some: list[tuple[Any, str | None]]) -> None:
        request = twin.UpsertTwin(namespace=name.encode())
        conflicts = []
        for row, condition in some:
            added = add(request, row)
            stored = self.model.get(name, {}).get(row[0])
            lsn = stored.lsn if stored else 0
            if condition is not None:
                added.if_lsn = {"absent": 0, "its": lsn, "wrong": lsn + 1}[condition]
                if added.if_lsn != lsn:
                    conflicts.append(row[0].encode())

        def change(model: Model, lsn: int) -> None:
            for one, vector, own, sparse_values in [] if conflicts else [row for row, _ in some]:
                model.setdefault(name, {})[one] = Record(vector, own, sparse_values, lsn)

        if self.write(Kind.UPSERT_IF, request.SerializeToString(), change):
            assert list(self.outcome().conflicts) == conflicts

    @rule(
        name=names,
        one=ids,
        vector=st.one_of(st.none(), values),
        own=st.one_of(st.none(), fields),
        sparse_values=sparse,
    )
    def update(self, name: str, one: str, vector: Any, own: Any, sparse_values: Any) -> None:
        request = twin.UpdateTwin(id=one.encode(), namespace=name.encode())
        if vector is not None:
            request.values = packed(vector)
        if own:
            request.set_metadata = struct(own)
        if sparse_values:
            request.sparse_values = wire(sparse_values)

        def change(model: Model, lsn: int) -> None:
            record = model.get(name, {}).get(one)
            if record is not None:
                model[name][one] = Record(
                    record.vector if vector is None else vector,
                    {**(record.fields or {}), **own} if own else record.fields,
                    sparse_values or record.sparse,
                    lsn,
                )

        self.write(Kind.UPDATE, request.SerializeToString(), change)

    @rule(name=names, one=filters, own=fields.map(lambda own: own or {"k": "x"}))
    def update_by_filter(self, name: str, one: Fields, own: Fields) -> None:
        request = twin.UpdateTwin(
            namespace=name.encode(), filter=struct(one), set_metadata=struct(own)
        )
        found = self.matching(name, one) or set()

        def change(model: Model, lsn: int) -> None:
            for matched in found:
                record = model[name][matched]
                merged = {**(record.fields or {}), **own}
                model[name][matched] = replace(record, fields=merged, lsn=lsn)

        if self.write(Kind.UPDATE_BY_FILTER, request.SerializeToString(), change):
            outcome = self.outcome()
            assert outcome.matched == len(found)
            assert bool(outcome.refusal) == (self.matching(name, one) is None)

    @rule(name=names, some=st.lists(ids, min_size=1, max_size=4))
    def delete_ids(self, name: str, some: list[str]) -> None:
        def change(model: Model, lsn: int) -> None:
            for one in some:
                model.get(name, {}).pop(one, None)

        body = data.DeleteRequest(ids=some, namespace=name).SerializeToString()
        self.write(Kind.DELETE_IDS, body, change)

    @rule(name=names, one=filters)
    def delete_by_filter(self, name: str, one: Fields) -> None:
        found = self.matching(name, one) or set()

        def change(model: Model, lsn: int) -> None:
            for matched in found:
                del model[name][matched]

        request = data.DeleteRequest(namespace=name)
        request.filter.ParseFromString(struct(one))
        self.write(Kind.DELETE_BY_FILTER, request.SerializeToString(), change)

    @rule(name=names)
    def delete_all(self, name: str) -> None:
        body = data.DeleteRequest(delete_all=True, namespace=name).SerializeToString()
        self.drop(Kind.DELETE_ALL, body, name)

    @rule(name=names)
    def delete_namespace(self, name: str) -> None:
        body = data.DeleteNamespaceRequest(namespace=name or "__default__").SerializeToString()
        self.drop(Kind.DELETE_NAMESPACE, body, name)

    def drop(self, kind: Kind, body: bytes, name: str) -> None:
        if self.write(kind, body, lambda model, _: model.pop(name, None)):
            self.schemas.discard(name)

    @rule(name=names.filter(bool), with_schema=st.booleans())
    def create_namespace(self, name: str, with_schema: bool) -> None:
        request = data.CreateNamespaceRequest(name=name)
        if with_schema:
            request.schema.fields[SCHEMA_FIELD].filterable = True
        new = name not in self.model
        created = self.write(
            Kind.CREATE_NAMESPACE,
            request.SerializeToString(),
            lambda model, _: model.setdefault(name, {}),
        )
        if created and new and with_schema:
            self.schemas.add(name)

    @rule(step=st.integers(1, 6))
    def a_failing_disk_refuses_a_write(self, step: int) -> None:
        self.disk.fault = fail_at(self.disk.operations + step)
        self.upsert("a", [("refused", (1.0, 1.0, 1.0), None, ())])
        self.disk.fault = lambda _: None

    def write(self, kind: Kind, body: bytes, change: Callable[[Model, int], object]) -> bool:
        """Whether it was written; then the model has changed as well."""
        after = {key: dict(records) for key, records in self.model.items()}
        try:
            self.writer.append([NewRecord(kind, body, 1)])
        except StorageError:
            return False
        change(after, self.writer.position.lsn)
        self.model = after
        return True

    def matching(self, name: str, one: Fields) -> set[str] | None:
        """What the model says of a filter; None where the schema forbids it."""
        if name in self.schemas and "l" in str(one):
            return None
        records = self.model.get(name, {})
        return {key for key, record in records.items() if matches(one, record.fields or {})}

    def outcome(self) -> frames.WriteOutcome:
        """How the last write ended."""
        return self.view().outcomes[self.writer.position.lsn]

    # Builds

    @rule()
    def fold(self) -> None:
        self.build({"kind": "fold", "end": self.writer.position})

    @precondition(lambda self: len(self.manifest.segments) > 0)
    @rule(which=st.sets(st.integers(0, 5), min_size=1))
    def merge(self, which: set[int]) -> None:
        numbers = [
            entry.number for place, entry in enumerate(self.manifest.segments) if place in which
        ]
        if numbers:
            self.build({"kind": "merge", "segments": numbers})

    @rule(step=st.integers(1, 8))
    def a_failing_disk_stops_a_build(self, step: int) -> None:
        self.disk.fault = fail_at(self.disk.operations + step)
        try:
            self.fold()
        except OSError:
            pass
        self.disk.fault = lambda _: None

    def build(self, order: Order) -> None:
        order = {**order, "number": self.manifest.next_number}
        known = self.view().outcomes
        built, outcomes = run(self.disk, FOLDER, DIMENSION, order)
        if order["kind"] == "fold":
            # Who waits for a write that is folded now hears of it from the builder, and the same.
            assert {one.lsn: one for one in outcomes} == known
        # What the router commits is what crossed the socket.
        built = manifests.decode(manifests.encode(built), "")
        try:
            store(self.disk, FOLDER, built)
        except StorageError:
            self.manifest = load(self.disk, FOLDER)
            return
        self.manifest = built

    # The end of a process, and of the power

    @rule()
    def close_and_reopen(self) -> None:
        self.writer.close()
        self.open()

    @rule(seed=st.integers(0, 2**32))
    def crash_and_reopen(self, seed: int) -> None:
        self.disk = self.disk.after_crash(random.Random(seed))
        self.open()

    @rule(seed=st.integers(0, 2**32), step=st.integers(1, 6), one=ids)
    def crash_in_the_middle_of_a_write(self, seed: int, step: int, one: str) -> None:
        before = self.model
        expected_lsn = self.writer.position.lsn + 1
        self.disk.fault = cut_at(self.disk.operations + step)
        try:
            self.upsert("a", [(one, (9.0, 9.0, 9.0), None, ())])
        except PowerCut:
            self.disk = self.disk.after_crash(random.Random(seed))
            self.open()
            # It was never acknowledged: it is there as a whole, or not at all.
            found = self.contents(self.view())
            lsn = found.get("a", {}).get(one, Record((), None, (), 0)).lsn
            after = {key: dict(records) for key, records in before.items()}
            after.setdefault("a", {})[one] = Record((9.0, 9.0, 9.0), None, (), lsn)
            assert found == before or (found == after and lsn >= expected_lsn)
            self.model = found
        self.disk.fault = lambda _: None

    @rule(seed=st.integers(0, 2**32), step=st.integers(1, 12))
    def crash_in_the_middle_of_a_fold(self, seed: int, step: int) -> None:
        self.disk.fault = cut_at(self.disk.operations + step)
        try:
            self.fold()
        except PowerCut:
            self.disk = self.disk.after_crash(random.Random(seed))
            self.open()
        self.disk.fault = lambda _: None

    # What must be true

    def view(self) -> View:
        view = View(self.disk, FOLDER, self.manifest, DIMENSION)
        view.catch_up(self.writer.position)
        return view

    def contents(self, view: View) -> Model:
        found: Model = {}
        every = [*IDS, "refused"]
        for count in view.namespaces():
            records: dict[str, Record] = {}
            for one, place in zip(
                every, view.locate(count.name, [one.encode() for one in every]), strict=True
            ):
                if place is None:
                    continue
                stored = metadata_of(*place)
                message = data.SparseValues.FromString(sparse_of(*place) or b"")
                records[one] = Record(
                    tuple(float(value) for value in vector_of(*place)),
                    None if stored is None else lists(metadata.decode(stored)),
                    tuple(zip(message.indices, message.values, strict=True)),
                    lsn_of(*place),
                )
            assert count.first == len(records)
            found[count.name.decode()] = records
        return found

    @invariant()
    def holds_exactly_what_was_acknowledged(self) -> None:
        view = self.view()
        assert self.contents(view) == self.model
        assert view.total_namespaces == len(self.model)
        assert view.total_records == sum(map(len, self.model.values()))
        assert {name.decode() for name in view.schemas()} == self.schemas

    @rule()
    def finds_the_nearest(self) -> None:
        view = self.view()
        query = (1.0, -2.0, 0.5)
        for name, records in self.model.items():
            request = twin.QueryTwin(top_k=4, vector=packed(query), namespace=name.encode())
            distances = {
                one: sum((a - b) ** 2 for a, b in zip(record.vector, query, strict=True))
                for one, record in records.items()
            }
            expected = sorted(distances, key=lambda one: (distances[one], one.encode()))[:4]
            found = answer(view, "euclidean", request).matches
            assert [match.id.decode() for match in found] == expected

    @rule()
    def adds_sparse_products(self) -> None:
        view = self.view()
        query, sparse_query = (1.0, -2.0, 0.5), {1: 2.0, 3: -1.0}
        for name, records in self.model.items():
            request = twin.QueryTwin(
                top_k=3,
                vector=packed(query),
                sparse_vector=wire(tuple(sparse_query.items())),
                namespace=name.encode(),
            )
            scores = {
                one: sum(a * b for a, b in zip(record.vector, query, strict=True))
                + (sparse_product(sparse_query, dict(record.sparse)) or 0.0)
                for one, record in records.items()
            }
            expected = sorted(scores, key=lambda one: (-scores[one], one.encode()))[:3]
            found = answer(view, "dotproduct", request).matches
            assert [match.id.decode() for match in found] == expected

    @rule(one=filters, top_k=st.integers(1, 9))
    def filters_as_the_reference_does(self, one: Fields, top_k: int) -> None:
        view = self.view()
        total = 0
        for name in self.model:
            request = twin.QueryTwin(
                top_k=top_k,
                vector=packed((1.0, 1.0, 1.0)),
                filter=struct(one),
                namespace=name.encode(),
            )
            expected = self.matching(name, one)
            try:
                found = {match.id.decode() for match in answer(view, "cosine", request).matches}
            except Unfilterable:
                assert expected is None
                continue
            assert expected is not None and len(found) == min(top_k, len(expected))
            assert found <= expected
            total += len(expected)
        if not any(self.matching(name, one) is None for name in self.model):
            counts = count_matching(view, frames.MatchRequest(filter=struct(one)))
            assert counts.total_records == total

    @rule(
        prefix=st.sampled_from(["", "id", "id3", "no"]),
        limit=st.integers(1, 4),
        one=st.one_of(st.none(), filters),
    )
    def lists_in_pages(self, prefix: str, limit: int, one: Fields | None) -> None:
        view = self.view()
        for name, records in self.model.items():
            kept = set(records) if one is None else self.matching(name, one)
            if kept is None:
                continue
            request = frames.PageRequest(
                namespace=name.encode(), prefix=prefix.encode(), limit=limit
            )
            if one is not None:
                request.filter = struct(one)
            found: list[str] = []
            more = True
            while more:
                entries, more = page(view, request)
                assert len(entries) <= limit
                found += [entry.id.decode() for entry in entries]
                if more:
                    request.after = entries[-1].id
            assert found == sorted(one_id for one_id in kept if one_id.startswith(prefix))

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.close()


def lists(fields_of_record: dict[str, Any]) -> Fields:
    """Lists of strings as a model has them."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in fields_of_record.items()
    }


TestStorageMachine = StorageMachine.TestCase
TestStorageMachine.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
