"""What the report's figures show, found in records; drawing is `figures.py`.

A record of other engines, whose name says `peers` or `engine`, calls samples `ENGINE: ... cold ... ms`
and figures `ENGINE, HOW: queries/s` beside `ENGINE, HOW: recall@10`. What a record does not have is
not shown.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

_OWN_COLD = {
    "warm: client ms": "Torpor, a sleeping index",
    "dropped: client ms": "Torpor, page cache dropped",
    "warm: awake, the query after it ms": "Torpor, awake",
}
_COLD = re.compile(r"^(?P<engine>[^:,]+)[:,] (?P<rest>.*\bcold\b.*) ms$")
_RATE = re.compile(r"^(?P<what>.+): queries/s$")
_IDLE = re.compile(r"^(?P<pattern>.+), idle (?P<idle>[\d.]+) s: mean ms$")


@dataclass(frozen=True)
class Line:
    """Points of one name; `labels` stand beside them, if there are any."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """One picture: `connected` points are joined, `log` axes are logarithmic."""

    name: str
    title: str
    caption: str
    x: str
    y: str
    lines: Sequence[Line]
    connected: bool
    log: str


def figures_of(records: Iterable[Record]) -> list[Figure]:
    """The figures for which there is something to show."""
    known = list(records)
    made = [_cold(known), _recall(known), _cost(known)]
    return [figure for figure in made if figure.lines]


def _cold(records: list[Record]) -> Figure:
    lines = []
    for record in records:
        for key, samples in record["samples"].items():
            found = _COLD.match(key)
            name = _OWN_COLD.get(key) if record["benchmark"] == "cold_start" else None
            if name is None and found is not None and _is_of_peers(record):
                name = f"{found['engine']}, {found['rest']}"
            if name is not None and samples:
                ordered = sorted(samples)
                shares = [100 * (place + 1) / len(ordered) for place in range(len(ordered))]
                lines.append(Line(f"{name} ({_rows(record)})", ordered, shares))
    return Figure(
        name="cold",
        title="The first query after a silence",
        caption="The first query after a silence: the share of first queries that are answered within a "
        "time. Of a library, a fresh process that opens the index and asks.",
        x="milliseconds until the answer",
        y="% of first queries",
        lines=lines,
        connected=True,
        log="x",
    )


def _recall(records: list[Record]) -> Figure:
    lines = []
    for record in records:
        figures = record["figures"]
        points: dict[str, tuple[list[float], list[float], list[str]]] = {}
        for key, rate in figures.items():
            found = _RATE.match(key)
            recall = found and figures.get(f"{found['what']}: recall@10")
            if found is None or recall is None:
                continue
            own = record["benchmark"] == "throughput"
            engine = "Torpor" if own else found["what"].partition(",")[0]
            x, y, labels = points.setdefault(f"{engine} ({_rows(record)})", ([], [], []))
            x.append(recall)
            y.append(rate)
            labels.append(found["what"] if own else found["what"].partition(", ")[2])
        lines += [Line(name, *point) for name, point in points.items()]
    return Figure(
        name="recall",
        title="Recall and queries a second",
        caption="Recall@10 against queries a second; beside each point, how it was asked.",
        x="recall@10",
        y="queries/s",
        lines=lines,
        connected=False,
        log="y",
    )


def _cost(records: list[Record]) -> Figure:
    lines = []
    for record in (one for one in records if one["benchmark"] == "duty_cycle"):
        points: dict[str, tuple[list[float], list[float], list[str]]] = {}
        for key, latency in record["figures"].items():
            found = _IDLE.match(key)
            if found is not None:
                name = key.removesuffix(": mean ms")
                x, y, labels = points.setdefault(found["pattern"], ([], [], []))
                x.append(record["figures"][f"{name}: awake, of always on %"])
                y.append(latency)
                cold = record["figures"][f"{name}: queries that were cold %"]
                labels.append(f"{found['idle']} s, {cold:.0f} % cold")
        lines += [Line(f"{name} ({_rows(record)})", *point) for name, point in points.items()]
    return Figure(
        name="cost",
        title="What a day costs, and what its queries wait",
        caption="A day of sporadic traffic over many indexes: seconds that workers exist, of those of "
        "workers that are always on, against the mean latency of the day's queries; beside each point "
        "the idle time after which an index sleeps, and how many of the queries wake one.",
        x="% of the seconds of workers that are always on",
        y="mean latency, milliseconds",
        lines=lines,
        connected=True,
        log="x",
    )


def _is_of_peers(record: Record) -> bool:
    return "peers" in record["benchmark"] or "engine" in record["benchmark"]


def _rows(record: Record) -> str:
    return str(record["settings"]["data"]).partition(", ")[2]
