"""What a benchmark leaves: a JSON record with every raw sample, and a table made from it."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

_ROOT = Path(__file__).parent.parent
_PERCENTILES = (50, 90, 99)


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """Minimum, p50, p90, p99 and maximum of samples."""
    found = {f"p{p}": float(np.percentile(samples, p)) for p in _PERCENTILES}
    return {"min": min(samples), **found, "max": max(samples)}


def save(
    name: str,
    settings: Mapping[str, object],
    samples: Mapping[str, Sequence[float]],
    figures: Mapping[str, float],
    path: Path | None,
) -> None:
    """Writes the record to `path`, or bench/results/<name>-<data set>.json, and prints its tables.

    `samples` are lists of raw measurements, summed up by percentiles; `figures` are single values. The
    unit is the last word of each name.
    """
    record: dict[str, Any] = {
        "benchmark": name,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "machine": _machine(),
        "settings": dict(settings),
        "figures": dict(figures),
        "percentiles": {key: percentiles(values) for key, values in samples.items() if values},
        "samples": {key: list(values) for key, values in samples.items()},
    }
    data = str(settings["data"]).partition(",")[0]
    path = path or _ROOT / "bench" / "results" / f"{name}-{data}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    _print(record)
    Console().print(f"Raw samples: {path}")


def _print(record: Mapping[str, Any]) -> None:
    console = Console()
    title = f"{record['benchmark']}: {record['settings']['data']}"
    if record["percentiles"]:
        table = Table(title=title, title_justify="left")
        table.add_column("")
        for column in next(iter(record["percentiles"].values())):
            table.add_column(column, justify="right")
        for key, found in record["percentiles"].items():
            table.add_row(key, *(f"{value:,.2f}" for value in found.values()))
        console.print(table)
    if record["figures"]:
        table = Table(title=None if record["percentiles"] else title, title_justify="left")
        table.add_column("")
        table.add_column("value", justify="right")
        for key, value in record["figures"].items():
            table.add_row(key, f"{value:,.2f}")
        console.print(table)


def _commit() -> str:
    """The commit that is measured; records that were written since do not make it another."""
    commit = _git("describe", "--always")
    changed = _git("status", "--porcelain", "--", ".", ":!bench/results", ":!README.md")
    return f"{commit}-dirty" if changed else commit or "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _machine() -> dict[str, object]:
    with open("/proc/cpuinfo") as cpus:
        model = next((line.partition(":")[2].strip() for line in cpus if "model name" in line), "")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "grpcio", "protobuf")},
    }
