"""Pages while others write, fold and restart the server: nothing twice, nothing missing."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from tests.integration.client import Client, code_of, fold, message_of, pages, struct, wait_until
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data


def test_pages_hold_nothing_twice_and_miss_nothing_while_others_write(client: Client) -> None:
    client.create("a", dimension=2, metric=control.METRIC_EUCLIDEAN)
    stay = [f"k{number:04d}" for number in range(0, 400, 2)]
    vector = partial(data.Vector, values=[1, 2], metadata=struct(stay=True))

    def write(ids: list[str]) -> None:
        vectors = [vector(id=one) for one in ids]
        client.data.Upsert(data.UpsertRequest(index="a", vectors=vectors))

    write(stay)
    chance = random.Random(5)
    for method, request in (
        (client.data.List, data.ListRequest(index="a", limit=9)),
        (
            client.data.FetchByMetadata,
            data.FetchByMetadataRequest(index="a", filter=struct(stay=True), limit=9),
        ),
    ):
        found: list[str] = []
        for number, page in enumerate(pages(method, request)):
            found += sorted(getattr(one, "id", one) for one in page.vectors)
            others = [f"k{chance.randrange(1, 400, 2):04d}" for _ in range(5)]
            write([*others, *chance.sample(stay, 3)])
            client.data.Delete(data.DeleteRequest(index="a", ids=others[:3]))
            if number % 7 == 3:
                fold(client, "a")
        assert found == sorted(set(found))
        assert set(stay) <= set(found)


def test_ids_are_listed_in_the_order_of_their_bytes(shared: Client) -> None:
    shared.create("order", dimension=2)
    names = ["b", "a", "ä", "Z", "10", "9", "aa", "a\x7f", "a\x80", "\U0001f980", "\uffff"]
    expected = sorted(names, key=str.encode)
    records = [data.Vector(id=one, values=[1, 2], metadata=struct(x=1)) for one in names]
    shared.data.Upsert(data.UpsertRequest(index="order", vectors=records[:6]))
    fold(shared, "order")
    shared.data.Upsert(data.UpsertRequest(index="order", vectors=records[6:]))
    for _ in range(2):
        for prefix in ("", "a", "ä", "\U0001f980"):
            request = data.ListRequest(index="order", limit=2, prefix=prefix)
            found = [one.id for page in pages(shared.data.List, request) for one in page.vectors]
            assert found == [one for one in expected if one.startswith(prefix)]
        by_filter = data.FetchByMetadataRequest(index="order", limit=2, filter=struct(x=1))
        fetched = [set(page.vectors) for page in pages(shared.data.FetchByMetadata, by_filter)]
        assert fetched == [set(expected[first : first + 2]) for first in range(0, 11, 2)]
        fold(shared, "order")


def test_page_tokens_survive_a_restart_and_are_for_their_request_only(
    start: Callable[..., Client],
) -> None:
    client = start()
    for name in ("a", "b"):
        client.create(name, dimension=2)
        vectors = [
            data.Vector(id=f"{row:03d}", values=[1, 2], metadata=struct(x=1)) for row in range(20)
        ]
        client.data.Upsert(data.UpsertRequest(index=name, vectors=vectors))
        for space in ("n1", "n2", "n3"):
            client.data.Upsert(data.UpsertRequest(index=name, vectors=vectors[:1], namespace=space))
    listed = client.data.List(data.ListRequest(index="a", limit=5, prefix="0")).pagination.next
    by_filter = data.FetchByMetadataRequest(index="a", limit=5, filter=struct(x=1))
    fetched = client.data.FetchByMetadata(by_filter).pagination.next
    spaces = client.data.ListNamespaces(data.ListNamespacesRequest(index="a", limit=2))
    client.server.stop()
    client = start()
    ask = partial(data.ListRequest, limit=5, pagination_token=listed)
    again = client.data.List(ask(index="a", prefix="0"))
    assert [item.id for item in again.vectors] == [f"{row:03d}" for row in range(5, 10)]
    by_filter.pagination_token = fetched
    assert min(client.data.FetchByMetadata(by_filter).vectors) == "005"
    more = data.ListNamespacesRequest(index="a", pagination_token=spaces.pagination.next)
    assert [one.name for one in client.data.ListNamespaces(more).namespaces] == ["n2", "n3"]
    for request in (
        ask(index="b", prefix="0"),
        ask(index="a"),
        ask(index="a", prefix="0", namespace="n1"),
        data.ListRequest(index="a", prefix="0", pagination_token=fetched),
        data.ListRequest(index="a", prefix="0", pagination_token=listed[:-4] + "AAAA"),
        data.ListRequest(index="a", prefix="0", pagination_token=""),
        data.ListRequest(index="a", prefix="0", pagination_token="ä"),
    ):
        assert "page token" in message_of(partial(client.data.List, request))
    by_filter.filter.CopyFrom(struct(x=2))
    assert code_of(partial(client.data.FetchByMetadata, by_filter)) == "INVALID_ARGUMENT"


STAY = [f"k{number:05d}" for number in range(0, 1_800, 3)]


def vectors(ids: list[str]) -> list[data.Vector]:
    """Those that stay have a field, and the others have not."""
    chosen = [one for one in ids if int(one[1:]) % 3 == 0]
    others = [one for one in ids if int(one[1:]) % 3]
    return [
        *(data.Vector(id=one, values=[1, 2], metadata=struct(stay=True)) for one in chosen),
        *(data.Vector(id=one, values=[1, 2]) for one in others),
    ]


@contextmanager
def busy(client: Client, name: str) -> Iterator[None]:
    """Others write what stays again and what does not, delete that, and put the index to sleep."""
    stop = threading.Event()

    def write(chance: random.Random) -> None:
        ids = [f"k{chance.randrange(1_800):05d}" for _ in range(200)]
        client.data.Upsert(data.UpsertRequest(index=name, vectors=vectors(ids)))
        others = [one for one in ids if int(one[1:]) % 3]
        client.data.Delete(data.DeleteRequest(index=name, ids=others[:90]))

    def sleep(_: random.Random) -> None:
        stop.wait(0.1)
        client.sleep(name)

    def keep(work: Callable[[random.Random], None], seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            work(chance)

    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(keep, work, seed) for seed, work in enumerate((write, write, sleep))]
        try:
            yield
        finally:
            stop.set()
        for one in working:
            one.result()


def test_pages_are_whole_while_others_write_and_the_log_is_folded(client: Client) -> None:
    client.create("a", dimension=2)
    client.data.Upsert(data.UpsertRequest(index="a", vectors=vectors(STAY)))
    with busy(client, "a"):
        wait_until(lambda: client.describe("a").cost.build_cpu_seconds > 0)
        listing = data.ListRequest(index="a", limit=90)
        listed = [item.id for page in pages(client.data.List, listing) for item in page.vectors]
        by_filter = data.FetchByMetadataRequest(index="a", limit=90, filter=struct(stay=True))
        fetched = [
            one
            for page in pages(client.data.FetchByMetadata, by_filter)
            for one in sorted(page.vectors)
        ]
    assert listed == sorted(set(listed)) and set(STAY) < set(listed)
    # No other record ever matches.
    assert fetched == STAY
