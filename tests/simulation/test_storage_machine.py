"""The whole of storage against a dict: log, folds, merges, masks, namespaces, crashes and reopening."""

import random
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage import manifest as manifests
from storage.errors import StorageError
from storage.log_reader import recover
from storage.log_writer import LogWriter
from storage.manifest import Manifest, load, remove_leftovers, store
from storage.records import Kind, NewRecord
from tests.faults.disk import FakeFiles, PowerCut, cut_at, fail_at
from tests.queries import answer, struct
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data
from worker.builder import Order, run
from worker.view import View, metadata_of, vector_of

FOLDER = Path("/index")
DIMENSION = 3

Record = tuple[tuple[float, ...], bytes | None]
Model = dict[str, dict[str, Record]]

names = st.sampled_from(["", "a", "b", "ä"])
ids = st.sampled_from([f"id{number}" for number in range(8)])
values = st.tuples(*[st.integers(-3, 3).map(float)] * DIMENSION)
metadata = st.sampled_from([None, b"", struct({"k": "v"})])


class StorageMachine(RuleBasedStateMachine):
    """Writes and builds as the router and its builders do, on a disk that fails and forgets."""

    @initialize()
    def begin(self) -> None:
        self.disk = FakeFiles()
        self.model: Model = {}
        store(self.disk, FOLDER, Manifest())
        self.open()

    def open(self) -> None:
        self.manifest = load(self.disk, FOLDER)
        remove_leftovers(self.disk, FOLDER, self.manifest)
        self.writer = LogWriter(self.disk, FOLDER, recover(self.disk, FOLDER, self.manifest.log))

    # Writes

    @rule(name=names, rows=st.lists(st.tuples(ids, values, metadata), min_size=1, max_size=6))
    def upsert(self, name: str, rows: list[tuple[str, tuple[float, ...], bytes | None]]) -> None:
        request = twin.UpsertTwin(namespace=name.encode())
        after = {key: dict(records) for key, records in self.model.items()}
        records = after.setdefault(name, {})
        for one, vector, extra in rows:
            added = request.vectors.add(
                id=one.encode(), values=np.array(vector, np.float32).tobytes()
            )
            if extra is not None:
                added.metadata = extra
            records[one] = (vector, extra)
        self.write(Kind.UPSERT, request.SerializeToString(), after)

    @rule(name=names, some=st.lists(ids, min_size=1, max_size=4))
    def delete_ids(self, name: str, some: list[str]) -> None:
        after = {key: dict(records) for key, records in self.model.items()}
        for one in some:
            after.get(name, {}).pop(one, None)
        body = data.DeleteRequest(ids=some, namespace=name).SerializeToString()
        self.write(Kind.DELETE_IDS, body, after)

    @rule(name=names)
    def delete_all(self, name: str) -> None:
        after = {key: records for key, records in self.model.items() if key != name}
        body = data.DeleteRequest(delete_all=True, namespace=name).SerializeToString()
        self.write(Kind.DELETE_ALL, body, after)

    @rule(name=names.filter(bool))
    def create_namespace(self, name: str) -> None:
        after = {**self.model, name: self.model.get(name, {})}
        body = data.CreateNamespaceRequest(name=name).SerializeToString()
        self.write(Kind.CREATE_NAMESPACE, body, after)

    @rule(name=names)
    def delete_namespace(self, name: str) -> None:
        after = {key: records for key, records in self.model.items() if key != name}
        body = data.DeleteNamespaceRequest(namespace=name or "__default__").SerializeToString()
        self.write(Kind.DELETE_NAMESPACE, body, after)

    @rule(step=st.integers(1, 6))
    def a_failing_disk_refuses_a_write(self, step: int) -> None:
        self.disk.fault = fail_at(self.disk.operations + step)
        self.upsert("a", [("refused", (1.0, 1.0, 1.0), None)])
        self.disk.fault = lambda _: None

    def write(self, kind: Kind, body: bytes, after: Model) -> None:
        try:
            self.writer.append([NewRecord(kind, body, 1)])
        except StorageError:
            return
        self.model = after

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
        built, _ = run(self.disk, FOLDER, DIMENSION, order)
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
        self.disk.fault = cut_at(self.disk.operations + step)
        try:
            self.upsert("a", [(one, (9.0, 9.0, 9.0), None)])
        except PowerCut:
            after = {key: dict(records) for key, records in before.items()}
            after.setdefault("a", {})[one] = ((9.0, 9.0, 9.0), None)
            self.disk = self.disk.after_crash(random.Random(seed))
            self.open()
            # It was never acknowledged: it is there as a whole, or not at all.
            found = self.contents()
            assert found in (before, after)
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

    def contents(self) -> Model:
        view = self.view()
        found: Model = {}
        every = [f"id{number}" for number in range(8)] + ["refused"]
        for count in view.namespaces():
            records: dict[str, Record] = {}
            for one, place in zip(
                every, view.locate(count.name, [one.encode() for one in every]), strict=True
            ):
                if place is not None:
                    vector = tuple(float(value) for value in vector_of(*place))
                    records[one] = (vector, metadata_of(*place))
            assert count.first == len(records)
            found[count.name.decode()] = records
        return found

    @invariant()
    def holds_exactly_what_was_acknowledged(self) -> None:
        assert self.contents() == self.model
        view = self.view()
        assert view.total_namespaces == len(self.model)
        assert view.total_records == sum(map(len, self.model.values()))

    @invariant()
    def finds_the_nearest(self) -> None:
        view = self.view()
        query = (1.0, -2.0, 0.5)
        for name, records in self.model.items():
            request = twin.QueryTwin(
                top_k=4, vector=np.array(query, np.float32).tobytes(), namespace=name.encode()
            )
            distances = {
                one: sum((a - b) ** 2 for a, b in zip(vector, query, strict=True))
                for one, (vector, _) in records.items()
            }
            expected = sorted(distances, key=lambda one: (distances[one], one.encode()))[:4]
            found = answer(view, "euclidean", request).matches
            assert [match.id.decode() for match in found] == expected

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.close()


TestStorageMachine = StorageMachine.TestCase
TestStorageMachine.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
