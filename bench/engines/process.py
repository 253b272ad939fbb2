"""What is measured of an engine happens in a process of its own: `python -m bench.engines.process`.

Arguments are WHAT ENGINE FOLDER and JSON; the answer is the last line of stdout, JSON as well. Engines
write on stdout what they like before it.

version {}                                     of its packages
build   {"vectors": path}                      seconds, bytes on disk, version; progress before it
serve   {}                                     runs a server until stdin ends
cold    {"query": path, "k", "effort"}         moments on the machine's clock, and the rows
tune    {"queries", "neighbors", "k", "wanted"}  the smallest effort with that recall, and its recall
warm    {"queries", "k", "effort", "count"}    milliseconds of each query, and the rows
load    {"queries", "k", "effort", "threads", "seconds"}  queries answered; waits for a line first
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before anything that takes time is imported.
_BEGAN = time.monotonic()

import numpy as np  # noqa: E402

from bench.engines.engine import (  # noqa: E402
    Engine,
    Missing,
    Opened,
    Peer,
    Server,
    smallest_effort,
)
from bench.engines.peers import named  # noqa: E402

_WARM_UP = 20


def main() -> int:
    """Does one of them; 3 if the engine is not installed."""
    what, engine, folder, wishes = sys.argv[1:]
    peer = named(engine)
    try:
        answer = _TASKS[what](peer, Path(folder), json.loads(wishes))
    except Missing as error:
        print(error, file=sys.stderr)
        return 3
    print(f"\n{json.dumps(answer)}", flush=True)
    return 0


def _version(peer: Peer, folder: Path, wishes: dict[str, Any]) -> dict[str, Any]:
    return {"version": peer.version()}


def _build(peer: Peer, folder: Path, wishes: dict[str, Any]) -> dict[str, Any]:
    engine = peer.make()
    vectors = np.load(wishes["vectors"], mmap_mode="r")
    began = time.monotonic()
    engine.build(vectors, folder)
    seconds = time.monotonic() - began
    written = sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and "programs" not in path.parts
    )
    return {"seconds": seconds, "bytes": written, "version": peer.version()}


def _serve(peer: Peer, folder: Path, wishes: dict[str, Any]) -> dict[str, Any]:
    engine = peer.make()
    assert isinstance(engine, Server)
    with engine.running(folder):
        print("ready", flush=True)
        sys.stdin.read()
    return {}


def _cold(peer: Peer, folder: Path, wishes: dict[str, Any]) -> dict[str, Any]:
    query = np.load(wishes["query"])
    before = time.monotonic()
    engine = peer.make()
    imported = time.monotonic()

    def ask() -> dict[str, Any]:
        opened = engine.open(folder, wishes["effort"])
        ready = time.monotonic()
        rows = opened.query(query, wishes["k"])[0].tolist()
        answered = time.monotonic()
        opened.close()
        return {
            "began": _BEGAN,
            "before": before,
            "imported": imported,
            "opened": ready,
            "answered": answered,
            "rows": rows,
        }

    if isinstance(engine, Server):
        with engine.running(folder):
            return ask()
    return ask()


def _tune(peer: Peer, folder: Path, wishes: dict[str, Any]) -> dict[str, Any]:
    engine = peer.make()
    queries, neighbors = np.load(wishes["queries"]), np.load(wishes["neighbors"])
    recalls: dict[int, float] = {}

    def reaches(effort: int) -> bool:
        opened = engine.open(folder, effort)
        rows = [opened.query(query[None], wishes["k"])[0] for query in queries]
        opened.close()
        recalls[effort] = _recall(rows, neighbors[:, : wishes["k"]])
        return recalls[effort] >= float(wishes["wanted"])

    effort = smallest_effort(peer.efforts, reaches)
    return {"effort": effort, "recall": recalls[effort]}


def _warm(peer: Peer, folder: Path, wishes: dict[str, Any]) -> dict[str, Any]:
    opened = peer.make().open(folder, wishes["effort"])
    queries = np.load(wishes["queries"])
    samples, rows = [], []
    for number in range(-_WARM_UP, wishes["count"]):
        query = queries[number % len(queries)][None]
        began = time.perf_counter()
        found = opened.query(query, wishes["k"])
        if number >= 0:
            samples.append((time.perf_counter() - began) * 1e3)
            rows.append(found[0].tolist())
    opened.close()
    return {"ms": samples, "rows": rows}


def _load(peer: Peer, folder: Path, wishes: dict[str, Any]) -> dict[str, Any]:
    """Threads that ask one query after the other; each connection of a server is one of them."""
    engine = peer.make()
    queries = np.load(wishes["queries"])
    first = engine.open(folder, wishes["effort"])
    opened = [
        first if not peer.is_server or not number else _open(engine, folder, wishes["effort"])
        for number in range(wishes["threads"])
    ]
    first.query(queries[:1], wishes["k"])
    print("ready", flush=True)
    sys.stdin.readline()
    counts = [0] * len(opened)
    deadline = time.monotonic() + wishes["seconds"]

    def ask(number: int) -> None:
        while time.monotonic() < deadline:
            place = (number * 37 + counts[number]) % len(queries)
            opened[number].query(queries[place][None], wishes["k"])
            counts[number] += 1

    began = time.monotonic()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(opened))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answered": sum(counts), "seconds": time.monotonic() - began}


def _open(engine: Engine, folder: Path, effort: int) -> Opened:
    return engine.open(folder, effort)


def _recall(rows: Any, neighbors: Any) -> float:
    shares = [
        len(set(found.tolist()) & set(wanted.tolist())) / len(wanted)
        for found, wanted in zip(rows, neighbors, strict=True)
    ]
    return float(np.mean(shares))


_TASKS: dict[str, Callable[[Peer, Path, dict[str, Any]], dict[str, Any]]] = {
    "version": _version,
    "build": _build,
    "serve": _serve,
    "cold": _cold,
    "tune": _tune,
    "warm": _warm,
    "load": _load,
}

if __name__ == "__main__":
    sys.exit(main())
