"""Writes the measured table of README.md from the records in bench/results; `--check` compares."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
_RESULTS = _ROOT / "bench" / "results"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main(arguments: Sequence[str]) -> int:
    """Rewrites the table, or compares it; 1 if it is not what the records say."""
    path = _ROOT / "README.md"
    text = path.read_text()
    before, rest = text.split(_BEGIN)
    after = rest.split(_END)[1]
    made = f"{before}{_BEGIN}\n{_table()}\n{_END}{after}"
    if "--check" not in arguments:
        path.write_text(made)
    elif made != text:
        print("README.md is not what the records say; run `make report`.", file=sys.stderr)
        return 1
    return 0


def _table() -> str:
    paths = {name: _RESULTS / f"{name}-{data}.json" for name, data in _DATA.items()}
    # What has not been measured is not shown.
    records = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    machine = records["cold_start"]["machine"]
    commits = sorted({record["commit"] for record in records.values()})
    lines = ["| | p50 | p99 | samples |", "|---|---:|---:|---:|"]
    for name, record in records.items():
        rows = [row for row in _ROWS.get(name, []) if row[0] in record["percentiles"]]
        if rows and name in _HEADINGS:
            lines.append(f"| **{_HEADINGS[name]}** | | | |")
        lines += [_latency(record, *row) for row in rows]
    lines += ["", "| | |", "|---|---:|"]
    lines += [
        _figure(records[name], *row)
        for name, rows in _FIGURES.items()
        for row in rows
        if name in records and _is_in(records[name], row[0])
    ]
    lines += [
        "",
        (
            f"Measured through gRPC from another process, {machine['cores']} cores ({machine['cpu']}), "
            f"Linux {machine['kernel'].partition('-')[0]}, Python {machine['python']}, on "
            f"{records['cold_start']['settings']['data']} float32 (cosine); "
            f"the sleeping indexes on {records['sleeping']['settings']['data']}. "
            f"{_elsewhere(records)}Commit {', '.join(commits)}. Page cache dropped means that the "
            "index's files were read from the disk."
        ),
    ]
    figure = f"bench/results/{_FIGURE}.svg"
    lines += ["", f"![The first query after a silence]({figure})", ""]
    lines += [f"All of it, and how each figure is measured: [{_REPORT}]({_REPORT})."]
    return "\n".join(lines)


def _elsewhere(records: dict[str, Any]) -> str:
    """Which records are of other machines, but for cards, whose headings say so."""
    here = records["cold_start"]["machine"]["cpu"]
    others = {name: record["machine"]["cpu"] for name, record in records.items()}
    return "".join(
        f"What `{name}` measures was measured on another machine ({cpu}). "
        for name, cpu in others.items()
        if cpu != here and not name.startswith("card")
    )


_FIGURE = "cold"
_REPORT = "bench/results/REPORT.md"

# The data set of each record that is shown, in this order.
_DATA = {
    "cold_start": "debian-packages",
    "storm": "debian-packages",
    "warm_latency": "debian-packages",
    "throughput": "debian-packages",
    "servers": "debian-packages",
    "mixed": "debian-packages",
    "ingest": "debian-packages",
    "recovery": "debian-packages",
    "duty_cycle": "debian-packages",
    "sleeping": "sample",
    "cold_sizes": "debian-packages",
    "filtered": "debian-packages",
    "million": "debian-packages",
    "tenants": "debian-packages",
    "peers": "debian-packages",
    "kernels": "debian-packages",
    "fold": "debian-packages",
    "card": "debian-packages",
    "card_10m": "debian-packages",
    "front": "echo",
}

# What stands above the rows of a record that is about something else than those before.
_HEADINGS = {
    "cold_sizes": "a cold query, by the number of records, grown from the same set",
    "filtered": "with a filter on metadata",
    "million": "1,000,000 records, grown from the same set",
    "tenants": "50,000 namespaces of 20 records in one index",
    "peers": "other engines on the same records, at recall@10 of 0.95 or more, each as it comes",
    "kernels": "arrays in this process, one thread, 1,000,000 x 384 grown from the same set",
    "card": "a graphics card (H100, on another machine), exact, 1,000,000 x 768 grown from the same set",
    "card_10m": "the same card, 10,000,000 x 384",
}

_ON_CARDS = [
    (f"batch {batch}, {way} ms", f"{asked}, {way}")
    for batch, asked in ((1, "one query"), (32, "32 queries at once"), (1_024, "1,024 queries"))
    for way in (
        "float16",
        "float16, without exact scores",
        "float32 as TF32",
        "float32 as TF32, without exact scores",
        "codes on the processor",
    )
]

# What is shown of each record: the name of a list of samples, and what a reader calls it.
_ROWS: dict[str, list[tuple[str, str]]] = {
    "cold_start": [
        ("warm: client ms", "cold query: wakes a sleeping index, files in the page cache"),
        ("warm: fork ms", "– of which fork"),
        ("warm: open ms", "– of which open"),
        ("warm: replay ms", "– of which log replay"),
        ("warm: first_scan ms", "– of which first scan"),
        ("dropped: client ms", "cold query, page cache dropped"),
    ],
    "storm": [("client ms", "cold query, when 100 sleeping indexes are asked at once")],
    "warm_latency": [
        ("client ms", "warm query, one at a time"),
        ("added by gRPC, router and sockets ms", "– of which gRPC, router and sockets"),
        ("X @ q in numpy, one thread, beside it ms", "– the bare `X @ q` in numpy beside it"),
        ("50 a second: client ms", "warm query, 50 a second at random moments"),
    ],
    "recovery": [
        (
            "log of 20,000 vectors: from the start to the first answer ms",
            "restart after kill -9 with 20,000 vectors in the log, until the first answer",
        )
    ],
    "cold_sizes": [
        ("10,000 rows, warm: client ms", "10,000 records, files in the page cache"),
        ("100,000 rows, warm: client ms", "100,000 records"),
        ("1,000,000 rows, warm: client ms", "1,000,000 records"),
        ("1,000,000 rows, exact, warm: client ms", "– answered exactly"),
        ("1,000,000 rows, dropped: client ms", "1,000,000 records, page cache dropped"),
    ],
    "ingest": [
        ("upsert of 1, asleep ms", "durable upsert of one vector into a sleeping index"),
        ("fdatasync of 2 KB, this disk ms", "– fdatasync on this disk beside it"),
    ],
    "peers": [
        (f"{engine}: {measured} ms", f"{engine}: {said}")
        for engine in (
            *("Torpor", "faiss Flat", "faiss HNSW", "usearch", "sqlite-vec"),
            *("pgvector", "pgvector exact"),
        )
        for measured, said in (
            ("cold, a sleeping index", "the first query to a sleeping index"),
            ("cold, with the process", "a fresh process that opens and queries"),
            ("cold, open and query", "– opening and querying alone"),
            ("warm", "– a warm query"),
        )
    ],
    "kernels": [
        (f"1,000,000 x 384, batch {batch}, k 10, {way} ms", f"{said}, {asked}")
        for batch, asked in ((1, "one query"), (64, "64 queries at once"))
        for way, said in (
            ("codes by numkong", "certified exact, int8 codes by numkong"),
            ("float32 by numpy", "exact, float32 by numpy"),
            ("X @ q and selection", "`X @ q` and `argpartition`"),
            ("faiss Flat", "faiss IndexFlatIP"),
            ("approximate", "approximate"),
            ("faiss RaBitQ", "faiss IVF RaBitQ FastScan and float32, at that recall"),
        )
    ],
    "card": [
        *_ON_CARDS,
        ("start: import ms", "starting: import of CuPy"),
        ("start: context ms", "– its context, and the kernels, which are compiled once"),
        ("start: first search ms", "– a first search in each format"),
    ],
    "card_10m": _ON_CARDS,
    "sleeping": [("page of 100 of the list ms", "a page of 100 of the list of indexes")],
    "filtered": [
        ("no filter ms", "warm query without a filter"),
        ("50.0% match ms", "– where 50 % of the records match"),
        ("10.0% match ms", "– 10 %"),
        ("1.0% match ms", "– 1 %"),
        ("0.1% match ms", "– 0.1 %"),
    ],
    "million": [
        ("query, no filter, awake ms", "warm query without a filter"),
        ("query, 50% match, awake ms", "– where 50 % of the records match"),
        ("query, 10% match, awake ms", "– 10 %"),
        ("query, 1% match, awake ms", "– 1 %"),
        ("query, 0.1% match, awake ms", "– 0.1 %"),
        ("query, 1% match, asleep ms", "waking the index, 1 % match"),
        ("two conditions evaluated, warm ms", "evaluating a filter of two conditions, warm"),
        (
            "two conditions evaluated, first after a wake ms",
            "the same, the first one of a worker",
        ),
        ("fetch of 100 ids, awake ms", "fetch of 100 ids"),
        ("page of 100 ids by prefix, awake ms", "a page of 100 ids by prefix"),
        ("update by filter, awake ms", "update by filter of 10,000 records"),
        ("filtered query after it ms", "– the query after it, filtered by what was updated"),
    ],
    "tenants": [
        ("query of one namespace, awake ms", "query of one namespace"),
        ("query of one namespace, asleep ms", "the same, waking the index"),
    ],
}

# Single figures: the name of the figure, what a reader calls it, and how it is written.
_FIGURES: dict[str, list[tuple[str, str, str]]] = {
    "cold_start": [("recall@10", "recall@10 of the cold queries", "{:.3f}")],
    "warm_latency": [("recall@10", "recall@10 of the warm queries", "{:.3f}")],
    "cold_sizes": [
        (
            "1,000,000 rows, recall@10",
            "recall@10 of the cold queries on 1,000,000 records",
            "{:.3f}",
        ),
        (
            "1,000,000 rows, memory of an awake worker, no file's, of the float32 data %",
            "memory of an awake worker on 1,000,000 records beyond the page cache, of their vectors",
            "{:.1f} %",
        ),
    ],
    "throughput": [
        ("64 in flight: queries/s", "queries, 64 in flight", "{:,.0f} queries/s"),
        ("64 in flight: recall@10", "– recall@10", "{:.3f}"),
    ],
    "servers": [
        *(
            row
            for server in ("Torpor", "pgvector", "pgvector lists")
            for row in (
                (
                    f"{server}, 64 in flight: queries/s",
                    f"queries of 1,000,000 records, 64 in flight: {server}",
                    "{:,.0f} queries/s",
                ),
                (f"{server}, 64 in flight: recall@10", "– recall@10", "{:.3f}"),
            )
        ),
        ("Torpor, times pgvector: queries/s ratio", "– Torpor, times pgvector", "{:.2f}"),
    ],
    "mixed": [
        (
            "folding or merging: p99, times the quiet one",
            "p99 of queries while what is written is folded, times that without",
            "{:.2f}",
        )
    ],
    "duty_cycle": [
        (
            "bursts, idle 60 s: awake, of always on %",
            "a day of bursts over many indexes: seconds awake, of those of workers always on",
            "{:.1f} %",
        ),
        ("bursts, idle 60 s: queries that were cold %", "– queries that wake one", "{:.1f} %"),
    ],
    "kernels": [
        (
            "1,000,000 x 384, k 10, approximate: recall@10",
            "recall@10 of the approximate kernel on 1,000,000 records",
            "{:.3f}",
        ),
        (
            "1,000,000 x 384, batch 1, k 10, approximate, times faiss RaBitQ",
            "– one query, times one of faiss IVF RaBitQ FastScan at that recall",
            "{:.1f}",
        ),
        (
            "1,000,000 x 384, batch 1, k 10, codes by numkong: of the read bandwidth %",
            "bytes of the codes that one exact query reads in a second, of the memory's bandwidth",
            "{:.0f} %",
        ),
    ],
    "fold": [
        ("fold s", "folding a log of 10,000 records of 384 floats", "{:.2f} s"),
        *(
            row
            for kind, said in (
                ("makes", "merging 1,000,000 records for the first time, centroids made"),
                ("keeps", "merging them with a folded log, centroids kept"),
            )
            for row in (
                (f"merge that {kind} centroids s", said, "{:.1f} s"),
                (
                    f"merge that {kind} centroids, peak private memory MB",
                    "– private memory at its peak",
                    "{:,.0f} MB",
                ),
                (
                    f"p99 during a merge that {kind} centroids, times that before",
                    "– p99 of queries meanwhile, times that before",
                    "{:.2f}",
                ),
            )
        ),
    ],
    **{
        card: [
            (f"batch {batch}, {form}: {bound} ms", f"{rows}, {asked}, {form}: {said}", "{:.2f} ms")
            for batch, asked in ((1, "one query"), (1_024, "1,024 queries"))
            for form in ("float16", "float32 as TF32")
            for bound, said in (
                ("the memory takes", "the card's memory alone"),
                ("the tensor cores take", "its tensor cores alone"),
            )
        ]
        for card, rows in (("card", "1,000,000 x 768"), ("card_10m", "10,000,000 x 384"))
    },
    "filtered": [("recall@10", "recall@10 of the filtered queries", "{:.3f}")],
    "million": [
        (
            f"query, {percent}% match: recall@10",
            f"recall@10 on 1,000,000 records where {percent} % match",
            "{:.3f}",
        )
        for percent in ("50", "10", "1", "0.1")
    ],
    "ingest": [
        ("vectors/s", "ingest, batches of 100, 8 clients", "{:,.0f} vectors/s"),
        ("vectors/s with metadata", "– with metadata of 5 keys", "{:,.0f} vectors/s"),
        ("bytes written per byte ingested", "– bytes written for each byte taken in", "{:.1f}"),
    ],
    "tenants": [
        ("builder CPU s", "folding and merging 50,000 namespaces, CPU of the builders", "{:.0f} s"),
        ("folded s", "– from the first write until all is folded, loading included", "{:.0f} s"),
    ],
    "front": [
        (
            "echo, 64 in flight, torpor requests/s",
            "echo of 3 KB, 64 in flight",
            "{:,.0f} requests/s",
        ),
        (
            "echo, 64 in flight, requests/s ratio",
            "– that of grpc.aio in the same run, times",
            "{:.1f}",
        ),
        ("echo, one at a time, torpor ms", "echo, one at a time (median)", "{:.2f} ms"),
        ("echo, one at a time, ms ratio", "– that of grpc.aio, times", "{:.2f}"),
        (
            "uploads of 300 KB, one at a time, MB/s ratio",
            "uploads of 300 KB in MB/s, one at a time: that of grpc.aio, times",
            "{:.2f}",
        ),
        ("uploads of 300 KB, eight at once, MB/s ratio", "– eight at once", "{:.2f}"),
        (
            "query, 64 in flight, torpor requests/s",
            "queries of a 1,000-row index, 64 in flight",
            "{:,.0f} requests/s",
        ),
        (
            "query, 64 in flight, requests/s ratio",
            "– that with grpc.aio as the front, times",
            "{:.2f}",
        ),
        (
            "query over REST, 64 in flight, torpor CPU us",
            "CPU of the router for such a query over REST",
            "{:.0f} us",
        ),
        ("attacks p99 ratio", "p99 of an echo beside attackers, times that without them", "{:.2f}"),
    ],
    "sleeping": [
        ("workers after idle teardown", "workers after an index fell asleep", "{:.0f}"),
        (
            "router + zygote after the teardown less before the wake, PSS KiB",
            "memory of router and zygote after that, less before the wake (median)",
            "{:,.0f} KiB",
        ),
        (
            "router memory a sleeping index bytes",
            "router memory for each of 10,000 sleeping indexes",
            "{:,.0f} bytes",
        ),
        ("restart until it listens s", "restart with 10,000 indexes (median)", "{:.2f} s"),
    ],
}


def _latency(record: dict[str, Any], key: str, label: str) -> str:
    found = record["percentiles"][key]
    count = len(record["samples"][key])
    return f"| {label} | {found['p50']:.2f} ms | {found['p99']:.2f} ms | {count} |"


def _is_in(record: dict[str, Any], key: str) -> bool:
    return key in record["figures"] or key in record["percentiles"]


def _figure(record: dict[str, Any], key: str, label: str, form: str) -> str:
    figures = record["figures"]
    value = figures[key] if key in figures else record["percentiles"][key]["p50"]
    return f"| {label} | {form.format(value)} |"
