"""The whole of storage against a dict: log, folds, merges, masks, namespaces, crashes and reopening."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.errors import StorageError
from storage.records import Kind
from tests.faults.disk import PowerCut, cut_at, fail_at
from tests.queries import answer, packed, struct
from tests.reference import Fields
from tests.simulation.model import (
    DIMENSION,
    SCHEMA_FIELD,
    Model,
    Record,
    Row,
    Sparse,
    Walk,
    add,
    contents,
    distance,
    fields,
    filters,
    ids,
    matching,
    names,
    prefixes,
    product,
    rows,
    sparse,
    vectors,
    wire,
)
from tests.simulation.small_index import SmallIndex
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data
from worker.pages import count_matching, page
from worker.view import Unfilterable, View

# A change of the model is told the LSN of the write it stands for.
Change = Callable[[Model, int], object]

QUERY = (1.0, -2.0, 0.5)
SPARSE_QUERY: Sparse = ((1, 2.0), (3, -1.0))


class StorageMachine(RuleBasedStateMachine):
    """Writes and builds as the router and its builders do, on a disk that fails and forgets."""

    dimension = DIMENSION

    @initialize(some=st.lists(rows, min_size=1, max_size=8), folded=st.booleans())
    def begin(self, some: list[Row], folded: bool) -> None:
        self.index = SmallIndex(self.dimension, "euclidean")
        self.model: Model = {}
        self.schemas: set[str] = set()
        self.walks: list[Walk] = []
        self.upsert("a", some)
        if folded:
            self.fold()

    def fit(self, row: Row) -> Row:
        """The row as this index takes it: a sparse one has no values, but sparse values always."""
        if self.dimension:
            return row
        return row._replace(vector=(), sparse=row.sparse or ((0, 1.0),))

    # Writes

    @rule(name=names, some=st.lists(rows, min_size=1, max_size=6))
    def upsert(self, name: str, some: list[Row]) -> None:
        some = [self.fit(row) for row in some]
        request = twin.UpsertTwin(namespace=name.encode())
        for row in some:
            add(request, row)

        def change(model: Model, lsn: int) -> None:
            for one, *stored in some:
                model.setdefault(name, {})[one] = Record(*stored, lsn)

        self.write(Kind.UPSERT, request, change)

    @rule(
        name=names,
        some=st.lists(
            st.tuples(rows, st.sampled_from([None, "absent", "its", "wrong"])), min_size=1
        ),
    )
    def upsert_if(self, name: str, some: list[tuple[Row, str | None]]) -> None:
        some = [(self.fit(row), condition) for row, condition in some]
        request = twin.UpsertTwin(namespace=name.encode())
        conflicts = []
        for row, condition in some:
            added = add(request, row)
            stored = self.model.get(name, {}).get(row.id)
            lsn = stored.lsn if stored else 0
            if condition is not None:
                added.if_lsn = {"absent": 0, "its": lsn, "wrong": lsn + 1}[condition]
                if added.if_lsn != lsn:
                    conflicts.append(row.id.encode())

        def change(model: Model, lsn: int) -> None:
            for one, *stored in [] if conflicts else [row for row, _ in some]:
                model.setdefault(name, {})[one] = Record(*stored, lsn)

        if self.write(Kind.UPSERT_IF, request, change):
            assert list(self.outcome().conflicts) == conflicts

    @rule(
        name=names,
        one=ids,
        vector=st.none() | vectors,
        own=st.none() | fields,
        sparse_values=sparse,
    )
    def update(self, name: str, one: str, vector: Any, own: Any, sparse_values: Sparse) -> None:
        if not self.dimension:
            vector = None
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

        self.write(Kind.UPDATE, request, change)

    @rule(name=names, one=filters, own=fields.map(lambda own: own or {"k": "x"}))
    def update_by_filter(self, name: str, one: Fields, own: Fields) -> None:
        request = twin.UpdateTwin(
            namespace=name.encode(), filter=struct(one), set_metadata=struct(own)
        )
        found = self.allowed(name, one) or set()

        def change(model: Model, lsn: int) -> None:
            for matched in found:
                record = model[name][matched]
                merged = {**(record.fields or {}), **own}
                model[name][matched] = replace(record, fields=merged, lsn=lsn)

        if self.write(Kind.UPDATE_BY_FILTER, request, change):
            outcome = self.outcome()
            assert outcome.matched == len(found)
            assert bool(outcome.refusal) == (self.allowed(name, one) is None)

    @rule(name=names, some=st.lists(ids, min_size=1, max_size=4))
    def delete_ids(self, name: str, some: list[str]) -> None:
        def change(model: Model, lsn: int) -> None:
            for one in some:
                model.get(name, {}).pop(one, None)

        self.write(Kind.DELETE_IDS, data.DeleteRequest(ids=some, namespace=name), change)

    @rule(name=names, one=filters)
    def delete_by_filter(self, name: str, one: Fields) -> None:
        found = self.allowed(name, one) or set()

        def change(model: Model, lsn: int) -> None:
            for matched in found:
                del model[name][matched]

        request = data.DeleteRequest(namespace=name)
        request.filter.ParseFromString(struct(one))
        self.write(Kind.DELETE_BY_FILTER, request, change)

    @rule(name=names, whole=st.booleans())
    def drop(self, name: str, whole: bool) -> None:
        """All records of a namespace are deleted, or the namespace, which is the same."""
        requests: dict[Kind, Message] = {
            Kind.DELETE_ALL: data.DeleteRequest(delete_all=True, namespace=name),
            Kind.DELETE_NAMESPACE: data.DeleteNamespaceRequest(namespace=name or "__default__"),
        }
        kind = Kind.DELETE_NAMESPACE if whole else Kind.DELETE_ALL
        if self.write(kind, requests[kind], lambda model, _: model.pop(name, None)):
            self.schemas.discard(name)

    @rule(name=names.filter(bool), with_schema=st.booleans())
    def create_namespace(self, name: str, with_schema: bool) -> None:
        request = data.CreateNamespaceRequest(name=name)
        if with_schema:
            request.schema.fields[SCHEMA_FIELD].filterable = True
        new = name not in self.model
        created = self.write(
            Kind.CREATE_NAMESPACE, request, lambda model, _: model.setdefault(name, {})
        )
        if created and new and with_schema:
            self.schemas.add(name)

    def write(self, kind: Kind, request: Message, change: Change) -> bool:
        """Whether it was written; then the model has changed as well."""
        after = {key: dict(records) for key, records in self.model.items()}
        try:
            lsn = self.index.write(kind, request)
        except StorageError:
            return False
        change(after, lsn)
        self.holds(after)
        return True

    def holds(self, model: Model) -> None:
        """What is stored from now on."""
        self.model = model
        for walk in self.walks:
            walk.others_wrote(model.get(walk.name, {}))

    def allowed(self, name: str, one: Fields | None) -> set[str] | None:
        """What the model says of a filter; None where the schema forbids it."""
        if name in self.schemas and "l" in str(one):
            return None
        return matching(self.model.get(name, {}), one)

    def outcome(self) -> frames.WriteOutcome:
        """How the last write ended."""
        return self.index.view().outcomes[self.index.writer.position.lsn]

    # Builds

    @rule()
    def fold(self) -> None:
        known = self.index.view().outcomes
        outcomes = self.index.fold()
        # Who waits for a write that is folded now hears of it from the builder, and the same.
        assert {one.lsn: one for one in outcomes} == known

    @precondition(lambda self: len(self.index.manifest.segments) > 0)
    @rule(which=st.sets(st.integers(0, 5), min_size=1))
    def merge(self, which: set[int]) -> None:
        segments = enumerate(self.index.manifest.segments)
        numbers = [entry.number for place, entry in segments if place in which]
        if numbers:
            self.index.merge(*numbers)

    # Failing disks, the end of a process, and of the power

    @rule(
        how=st.sampled_from(["refuse", "stop", "close", "crash", "cut a write", "cut a fold"]),
        seed=st.integers(0, 2**32),
        step=st.integers(1, 12),
        one=ids,
    )
    def stumble(self, how: str, seed: int, step: int, one: str) -> None:
        disk = self.index.disk
        number = disk.operations + step
        disk.fault = cut_at(number) if how.startswith("cut") else lambda _: None
        match how:
            case "refuse":
                disk.fault = fail_at(number)
                self.upsert("a", [Row("refused", (1.0, 1.0, 1.0), None, ())])
            case "stop":
                disk.fault = fail_at(number)
                try:
                    self.fold()
                except OSError:
                    pass
            case "close":
                self.index.writer.close()
                self.index.open()
            case "crash":
                self.crash(seed)
            case "cut a write":
                self.crash_in_the_middle_of_a_write(seed, one)
            case "cut a fold":
                try:
                    self.fold()
                except PowerCut:
                    self.crash(seed)
        self.index.disk.fault = lambda _: None

    def crash(self, seed: int) -> None:
        self.index.disk = self.index.disk.after_crash(random.Random(seed))
        self.index.open()

    def crash_in_the_middle_of_a_write(self, seed: int, one: str) -> None:
        before = self.model
        expected_lsn = self.index.writer.position.lsn + 1
        row = self.fit(Row(one, (9.0, 9.0, 9.0), None, ()))
        try:
            self.upsert("a", [row])
        except PowerCut:
            self.crash(seed)
            # It was never acknowledged: it is there as a whole, or not at all.
            found = contents(self.index.view())
            lsn = found["a"][one].lsn if one in found.get("a", {}) else 0
            after = {key: dict(records) for key, records in before.items()}
            after.setdefault("a", {})[one] = Record(*row[1:], lsn)
            assert found == before or (found == after and lsn >= expected_lsn)
            self.holds(found)

    # What must be true

    @invariant()
    def holds_exactly_what_was_acknowledged(self) -> None:
        view = self.index.view()
        assert contents(view) == self.model
        assert view.total_namespaces == view.count_namespaces(b"") == len(self.model)
        for name in ("a", *self.model):
            starting = sum(one.startswith(name) for one in self.model)
            assert view.count_namespaces(name.encode()) == starting
        assert view.total_records == sum(map(len, self.model.values()))
        assert {name.decode() for name in view.schemas()} == self.schemas

    @rule(one=st.none() | filters, by_id=ids, with_sparse=st.booleans())
    def answers_queries(self, one: Fields | None, by_id: str, with_sparse: bool) -> None:
        view = self.index.view()
        vector = QUERY[: self.dimension]
        asked = SPARSE_QUERY if with_sparse or not vector else ()
        kept = {name: self.allowed(name, one) for name in self.model}
        base = twin.QueryTwin(top_k=4, filter=struct(one or {}))
        for name, records in self.model.items():
            base.namespace = name.encode()
            request = twin.QueryTwin(vector=packed(vector), sparse_vector=wire(asked))
            request.MergeFrom(base)
            self.expect(view, request, {name: kept[name]}, vector, asked)
            if vector:
                self.expect_nearest(view, request, kept[name])
            if asked:
                request.vector, request.sparse_only = b"", True
                self.expect(view, request, {name: kept[name]}, (), asked)
            own = records.get(by_id)
            if own is not None:
                request = twin.QueryTwin(id=by_id.encode())
                request.MergeFrom(base)
                self.expect(view, request, {name: kept[name]}, own.vector, own.sparse)
        request = twin.QueryTwin(vector=packed(vector), sparse_vector=wire(asked))
        request.MergeFrom(base)
        request.namespace = b""
        request.namespaces.extend(name.encode() for name in self.model)
        if self.model:
            self.expect(view, request, kept, vector, asked)

    def expect_nearest(self, view: View, request: twin.QueryTwin, kept: set[str] | None) -> None:
        try:
            matches = answer(view, "euclidean", request).matches
        except Unfilterable:
            assert kept is None
            return
        assert kept is not None
        records = self.model[request.namespace.decode()]
        distances = {one: distance(records[one].vector, QUERY) for one in kept}
        expected = sorted(distances, key=lambda one: (distances[one], one.encode()))
        assert [match.id.decode() for match in matches] == expected[: request.top_k]

    def expect(
        self,
        view: View,
        request: twin.QueryTwin,
        kept: dict[str, set[str] | None],
        vector: tuple[float, ...],
        asked: Sparse,
    ) -> None:
        """Asserts that a query finds the best of what is kept; None is kept where it is refused."""
        try:
            matches = answer(view, "dotproduct", request).matches
        except Unfilterable:
            assert None in kept.values()
            return
        several = bool(request.namespaces)
        found = [(match.score, match.id.decode(), match.namespace.decode()) for match in matches]
        scored = []
        for name, allowed in kept.items():
            assert allowed is not None
            for key in allowed:
                score = product(self.model[name][key], vector, asked)
                if score is not None:
                    scored.append((score, key, name if several else ""))
        scored.sort(key=lambda own: (-own[0], own[1], own[2].encode()))
        assert found == scored[: request.top_k]

    @rule(one=filters, after=st.none() | names, prefix=names)
    def counts_and_lists_namespaces(self, one: Fields, after: str | None, prefix: str) -> None:
        view = self.index.view()
        last = None if after is None else after.encode()
        listed = [count.name for count in view.namespaces(last, prefix.encode())]
        every = sorted(name.encode() for name in self.model if name.startswith(prefix))
        assert listed == [name for name in every if last is None or name > last]
        expected = {name.encode(): self.allowed(name, one) for name in self.model}
        try:
            counts = count_matching(view, frames.MatchRequest(filter=struct(one)))
        except Unfilterable:
            assert None in expected.values()
            return
        found = {count.name: count.records for count in counts.namespaces}
        assert found == {name: len(kept) for name, kept in expected.items() if kept}
        assert counts.total_records == sum(found.values())

    # Pages, while others write, fold and crash

    @rule(
        name=names,
        prefix=prefixes,
        limit=st.integers(1, 4),
        one=st.none() | filters,
        at_once=st.booleans(),
    )
    def asks_for_pages(
        self, name: str, prefix: str, limit: int, one: Fields | None, at_once: bool
    ) -> None:
        walk = Walk.start(name, self.model.get(name, {}), prefix, limit, one)
        view = self.index.view()
        while self.next_page(view, walk):
            if not at_once:
                self.walks.append(walk)
                break

    @precondition(lambda self: self.walks)
    @rule(which=st.integers(0, 5))
    def reads_a_page(self, which: int) -> None:
        walk = self.walks.pop(which % len(self.walks))
        if self.next_page(self.index.view(), walk):
            self.walks.append(walk)

    def next_page(self, view: View, walk: Walk) -> bool:
        """Whether more pages follow."""
        try:
            entries, more = page(view, walk.request)
        except Unfilterable:
            assert self.allowed(walk.name, walk.one) is None
            return False
        to_come = walk.expected(self.model.get(walk.name, {}))
        assert [entry.id.decode() for entry in entries] == to_come[: walk.request.limit]
        assert more == (len(to_come) > walk.request.limit)
        walk.found += to_come[: walk.request.limit]
        assert len(set(walk.found)) == len(walk.found)
        if more:
            walk.request.after = entries[-1].id
        else:
            assert walk.throughout <= set(walk.found)
        return more

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.writer.close()


class SparseStorageMachine(StorageMachine):
    """The same of an index whose records have sparse values only."""

    dimension = 0


TestStorageMachine = StorageMachine.TestCase
TestStorageMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestSparseStorageMachine = SparseStorageMachine.TestCase
TestSparseStorageMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
