"""What a benchmark leaves: a JSON record with every raw sample, and a table made from it.

A run that was interrupted, lost its server or had no room on the disk, leaves what it has measured in a
file of its own, NAME.partial.json, marked `"partial": true`: it never takes the place of a whole record.
"""

import json
import os
import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.errors import known

_ROOT = Path(__file__).parent.parent
RESULTS = _ROOT / "bench" / "results"
_PERCENTILES = (50, 90, 99, 99.9)
# A table in a pipe would be folded to 80 columns.
_WIDTH_MIN = 150


@dataclass
class Recording:
    """A record while it is made.

    `samples` are lists of raw measurements, summed up by percentiles; `figures` are single values. The
    unit is the last word of each name. `settings["data"]` names the data set.
    """

    name: str
    settings: dict[str, object]
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    figures: dict[str, float] = field(default_factory=dict)

    def write(self, path: Path | None, *, partial: bool = False) -> Path:
        """Writes the record to `path`, or bench/results/<name>-<data set>.json; returns where."""
        data = str(self.settings["data"]).partition(",")[0]
        path = path or RESULTS / f"{self.name}-{data}.json"
        if partial:
            path = path.with_suffix(f".partial{path.suffix}")
        record: dict[str, Any] = {
            "benchmark": self.name,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": _commit(),
            "machine": machine(),
            "settings": self.settings,
            **({"partial": True} if partial else {}),
            "figures": self.figures,
            "percentiles": {k: percentiles(v) for k, v in self.samples.items() if v},
            "samples": {key: list(values) for key, values in self.samples.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        # As a whole or not at all: a full disk leaves the record that was there.
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            fresh.write_text(json.dumps(record, indent=1) + "\n")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        return path


@contextmanager
def recording(
    name: str, settings: Mapping[str, object], output: Path | None
) -> Iterator[Recording]:
    """A record that is written, and shown, when its question has been answered or the run has stopped.

    Everything that takes room on the disk belongs inside: it is gone when the record is written.
    """
    made = Recording(name, dict(settings))
    try:
        yield made
    except BaseException as error:
        reason = known(error)
        if reason is None:
            raise
        kept = "Nothing had been measured."
        if made.samples or made.figures:
            kept = f"What had been measured is in {made.write(output, partial=True)}."
        raise type(reason)(f"{reason} {kept}") from None
    path = made.write(output)
    show(made)
    Console().print(f"Raw samples: {path}", soft_wrap=True)


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """Minimum, p50, p90, p99, p99.9 and maximum of samples."""
    found = {f"p{p}": float(np.percentile(samples, p)) for p in _PERCENTILES}
    return {"min": float(min(samples)), **found, "max": float(max(samples))}


def save(
    name: str,
    settings: Mapping[str, object],
    samples: Mapping[str, Sequence[float]],
    figures: Mapping[str, float],
    path: Path | None,
) -> None:
    """Writes and shows a record whose measurements are all there already; see `Recording`."""
    with recording(name, settings, path) as made:
        made.samples |= {key: list(values) for key, values in samples.items()}
        made.figures |= figures


def show(made: Recording) -> None:
    """Prints a record's tables."""
    console = Console()
    console.width = max(console.width, _WIDTH_MIN)
    title = f"{made.name}: {made.settings['data']}"
    measured = {key: percentiles(values) for key, values in made.samples.items() if values}
    if measured:
        table = Table(title=title, title_justify="left")
        table.add_column("", no_wrap=True)
        for column in (*next(iter(measured.values())), "samples"):
            table.add_column(column, justify="right")
        for key, found in measured.items():
            count = f"{len(made.samples[key]):,}"
            table.add_row(key, *map(_written, found.values()), count)
        console.print(table)
    if made.figures:
        table = Table(title=None if measured else title, title_justify="left")
        table.add_column("", no_wrap=True)
        table.add_column("value", justify="right")
        for key, value in made.figures.items():
            table.add_row(key, _written(value))
        console.print(table)


def _written(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.2f}"


def _commit() -> str:
    """The commit that is measured; records that were written since do not make it another."""
    commit = _git("describe", "--always")
    changed = _git("status", "--porcelain", "--", ".", ":!bench/results", ":!README.md")
    return f"{commit}-dirty" if changed else commit or "unknown"


def _git(*arguments: str) -> str:
    """What git says; nothing where there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def machine() -> dict[str, object]:
    """What the figures were measured on."""
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
