"""LSNs, how fresh an answer must be, and writes that depend on what is stored."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.client import Client, code_of, fold, message_of, struct, wait_until, workers
from tests.integration.conftest import Start
from torpor.v1 import data_pb2 as data


def record(one: str, *values: float, **more: Any) -> data.Vector:
    return data.Vector(id=one, values=values or (1.0, 2.0), **more)


def upsert(client: Client, name: str, *records: data.Vector) -> int:
    """The write's LSN."""
    return client.data.Upsert(data.UpsertRequest(index=name, vectors=records)).lsn


def lsn_of(client: Client, name: str, one: str) -> int:
    """A record's LSN; 0 for one that does not exist."""
    found = client.data.Fetch(data.FetchRequest(index=name, ids=[one])).vectors
    return found[one].lsn if one in found else 0


def ask(client: Client, name: str, **how: Any) -> tuple[list[str], int]:
    """The ids found, and the LSN that was seen."""
    request = data.QueryRequest(index=name, vector=[1, 2], top_k=100, **how)
    response, call = client.data.Query.with_call(request)
    return [match.id for match in response.matches], int(
        dict(call.initial_metadata())["torpor-lsn"]
    )


def test_every_write_has_the_next_lsn(shared: Client) -> None:
    shared.create("lsns", dimension=2)
    writes: list[tuple[str, Any]] = [
        ("Upsert", data.UpsertRequest(vectors=[record("x")])),
        ("Upsert", data.UpsertRequest(vectors=[record("y", if_lsn=0)])),
        ("Update", data.UpdateRequest(id="x", values=[3, 4])),
        ("Update", data.UpdateRequest(filter=struct(a=1), set_metadata=struct(a=2))),
        ("Delete", data.DeleteRequest(ids=["nobody"])),
        ("Delete", data.DeleteRequest(filter=struct(a=1))),
        ("Delete", data.DeleteRequest(delete_all=True, namespace="m")),
        ("CreateNamespace", data.CreateNamespaceRequest(name="n")),
        ("DeleteNamespace", data.DeleteNamespaceRequest(namespace="n")),
    ]
    for expected, (method, request) in enumerate(writes, 1):
        request.index = "lsns"
        response, call = getattr(shared.data, method).with_call(request)
        assert dict(call.initial_metadata())["torpor-lsn"] == str(expected)
        assert getattr(response, "lsn", expected) == expected
    assert (lsn_of(shared, "lsns", "x"), lsn_of(shared, "lsns", "y")) == (3, 2)
    fold(shared, "lsns")
    assert (lsn_of(shared, "lsns", "x"), lsn_of(shared, "lsns", "y")) == (3, 2)


def test_the_current_view_of_a_worker_may_be_old(shared: Client) -> None:
    shared.create("fresh", dimension=2)
    first = upsert(shared, "fresh", record("a"))
    assert ask(shared, "fresh") == (["a"], first)
    second = upsert(shared, "fresh", record("b"))
    # The worker has not been told of it.
    assert ask(shared, "fresh", current_view=True) == (["a"], first)
    assert ask(shared, "fresh", at_least_lsn=first) == (["a"], first)
    batch = data.QueryBatchRequest(index="fresh", current_view=True)
    batch.queries.add(vector=[1, 2], top_k=9)
    assert [match.id for match in shared.data.QueryBatch(batch).results[0].matches] == ["a"]
    assert ask(shared, "fresh", at_least_lsn=second) == (["a", "b"], second)
    assert ask(shared, "fresh", current_view=True) == (["a", "b"], second)
    third = upsert(shared, "fresh", record("c"))
    assert ask(shared, "fresh") == (["a", "b", "c"], third)
    # False is not to ask for anything.
    upsert(shared, "fresh", record("d"))
    assert ask(shared, "fresh", current_view=False)[0] == ["a", "b", "c", "d"]
    assert ask(shared, "fresh", at_least_lsn=0)[0] == ["a", "b", "c", "d"]


def test_asking_for_the_current_view_wakes_a_sleeping_index(shared: Client) -> None:
    shared.create("sleepy", dimension=2)
    upsert(shared, "sleepy", record("a"))
    fold(shared, "sleepy")
    assert ask(shared, "sleepy", current_view=True)[0] == ["a"]
    assert shared.state("sleepy") == "awake"


def test_who_asks_for_the_newest_and_who_does_not_may_share_a_worker(shared: Client) -> None:
    shared.create("mixed", dimension=2)
    upsert(shared, "mixed", record("000"))
    ask(shared, "mixed")
    with ThreadPoolExecutor(8) as pool:
        for number in range(1, 40):
            lsn = upsert(shared, "mixed", record(f"{number:03d}"))
            old = [pool.submit(ask, shared, "mixed", current_view=True) for _ in range(4)]
            new = [pool.submit(ask, shared, "mixed") for _ in range(4)]
            for found, seen in (one.result() for one in new):
                assert (len(found), seen) == (number + 1, lsn)
            for found, seen in (one.result() for one in old):
                assert len(found) == seen <= lsn


# Conditional upserts


def test_a_record_is_stored_only_if_there_is_none(shared: Client) -> None:
    shared.create("absent", dimension=2)
    first = upsert(shared, "absent", record("a", if_lsn=0))
    again = partial(upsert, shared, "absent", record("a", 9, 9, if_lsn=0), record("b"))
    assert code_of(again) == "FAILED_PRECONDITION"
    assert message_of(again) == "Nothing was stored: if_lsn is not the LSN of 'a'."
    # All or nothing: the other one, which has no condition, is not there either.
    assert ask(shared, "absent")[0] == ["a"]
    for _ in range(2):
        assert lsn_of(shared, "absent", "a") == first
        fold(shared, "absent")
    shared.data.Delete(data.DeleteRequest(index="absent", ids=["a"]))
    assert upsert(shared, "absent", record("a", if_lsn=0)) > first


def test_a_record_is_stored_only_if_nobody_has_changed_it(shared: Client) -> None:
    shared.create("same", dimension=2)
    seen = upsert(shared, "same", record("a"), record("b"))
    fold(shared, "same")
    mine = upsert(shared, "same", record("a", if_lsn=seen), record("b", if_lsn=seen))
    assert lsn_of(shared, "same", "a") == lsn_of(shared, "same", "b") == mine
    late = partial(upsert, shared, "same", record("a", if_lsn=seen), record("b", if_lsn=mine))
    assert message_of(late) == "Nothing was stored: if_lsn is not the LSN of 'a'."
    # An update changes a record as well.
    shared.data.Update(data.UpdateRequest(index="same", id="b", set_metadata=struct(x=1)))
    late = partial(upsert, shared, "same", record("a", if_lsn=mine), record("b", if_lsn=mine))
    assert "'b'." in message_of(late)
    assert lsn_of(shared, "same", "a") == mine


def test_the_ids_that_failed_are_listed_up_to_a_bound(shared: Client) -> None:
    shared.create("listed", dimension=2)
    records = [record(f"ü{number:03d}", if_lsn=7) for number in range(100)]
    said = message_of(partial(upsert, shared, "listed", *records))
    assert "'ü000', 'ü001'" in said and "'ü019' and 80 more." in said and "'ü020'" not in said
    assert shared.count("listed") == 0


def test_a_conditional_write_wakes_a_sleeping_index_and_others_do_not(client: Client) -> None:
    client.create("a", dimension=2)
    upsert(client, "a", record("a"))
    assert not workers(client.server)
    request = data.UpsertRequest(index="a", vectors=[record("b", if_lsn=0)])
    _, call = client.data.Upsert.with_call(request)
    said = dict(call.initial_metadata())
    assert float(said["torpor-wake-ms"]) > 0 and said["torpor-lsn"] == "2"
    assert client.state("a") == "awake"


def test_how_a_conditional_write_ended_is_the_same_after_a_crash(start: Start) -> None:
    client = start()
    client.create("a", dimension=2)
    seen = upsert(client, "a", record("a"), record("b"))
    upsert(client, "a", record("a", 3, 3, if_lsn=seen))
    late = partial(upsert, client, "a", record("a", 5, 5, if_lsn=seen), record("c"))
    assert code_of(late) == "FAILED_PRECONDITION"
    client.server.kill()
    client = start()
    for _ in range(2):
        found = client.data.Fetch(data.FetchRequest(index="a", ids=["a", "b", "c"])).vectors
        assert sorted(found) == ["a", "b"] and list(found["a"].values) == [3, 3]
        fold(client, "a")


def test_a_conditional_write_that_was_folded_before_a_worker_saw_it_is_told_by_the_builder(
    client: Client, tmp_path: Path
) -> None:
    client.create("a", dimension=2)
    upsert(client, "a", *(record(f"{n:03d}", metadata=struct(odd=n % 2)) for n in range(100)))
    client.wake("a")
    (worker,) = workers(client.server)
    os.kill(worker, signal.SIGSTOP)
    good = data.UpsertRequest(index="a", vectors=[record("000", if_lsn=1)])
    bad = data.UpsertRequest(index="a", vectors=[record("001", if_lsn=7)])
    update = data.UpdateRequest(index="a", filter=struct(odd=1), set_metadata=struct(odd=3))

    def log_bytes() -> int:
        return client.describe("a").cost.log_bytes

    logged = log_bytes() + good.ByteSize() + bad.ByteSize() + update.ByteSize()
    stored = client.data.Upsert.future(good, timeout=30)
    refused = client.data.Upsert.future(bad, timeout=30)
    updated = client.data.Update.future(update, timeout=30)
    wait_until(lambda: log_bytes() == logged)
    for first in range(1_000, 4_000, 1_000):
        client.upsert("a", np.ones((1_000, 2)), first=first)
    wait_until(lambda: "fold index=a" in (tmp_path / "log-0").read_text())
    os.kill(worker, signal.SIGKILL)
    assert updated.result().matched_records == 50
    assert message_of(refused.result) == "Nothing was stored: if_lsn is not the LSN of '001'."
    assert lsn_of(client, "a", "000") == stored.result().lsn > 1


def test_no_update_is_lost_by_those_who_insist_that_nobody_was_faster(shared: Client) -> None:
    """A counter in a record, raised by many at once, while the log is folded under them."""
    shared.create("counter", dimension=2)
    upsert(shared, "counter", record("n", 1, 0))
    fetch = data.FetchRequest(index="counter", ids=["n"])

    def raise_it(_: int) -> int:
        tries = 0
        while True:
            tries += 1
            now = shared.data.Fetch(fetch).vectors["n"]
            raised = record("n", now.values[0] + 1, 0, if_lsn=now.lsn)
            # Enough is written beside it that folds happen.
            beside = [record(f"{number:04d}") for number in range(150)]
            code = code_of(partial(upsert, shared, "counter", raised, *beside))
            if code == "OK":
                return tries
            assert code == "FAILED_PRECONDITION"

    with ThreadPoolExecutor(4) as pool:
        tries = list(pool.map(raise_it, range(40)))
    assert shared.data.Fetch(fetch).vectors["n"].values[0] == 41
    assert sum(tries) > 40 and shared.describe("counter").cost.build_cpu_seconds > 0


@pytest.mark.parametrize("layout", ["log", "sealed"])
def test_an_update_by_filter_says_how_many_it_changed_when_others_write(
    shared: Client, layout: str
) -> None:
    name = f"update-{layout}"
    shared.create(name, dimension=2)
    every = np.arange(200)
    records = [record(f"{n:03d}", metadata=struct(step=0, odd=bool(n % 2))) for n in every]
    upsert(shared, name, *records)
    if layout == "sealed":
        fold(shared, name)

    def step(number: int) -> int:
        request = data.UpdateRequest(index=name, filter=struct(step=number))
        request.set_metadata.CopyFrom(struct(step=number + 1))
        return shared.data.Update(request).matched_records

    # Whoever comes first changes all of them, and the others none.
    with ThreadPoolExecutor(4) as pool:
        for number in range(5):
            assert sorted(pool.map(step, [number] * 4)) == [0, 0, 0, 200]
    assert len(ask(shared, name, filter=struct(step=5, odd=True))[0]) == 100
