"""Writes bench/results/REPORT.md, and its figures, from the records there; `--check` compares.

Every table is made of one record, and says what was asked, how it was measured, on what and at
which commit. `--check` exits with 1 where REPORT.md is not what the records say; figures are not
compared. Partial records are left out. Figures need matplotlib: `make report` installs it.
"""

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from bench.options import command
from bench.record import RESULTS
from bench.series import Record, figures_of

_REPORT = RESULTS / "REPORT.md"
_COLUMNS = ("p50", "p90", "p99", "p99.9", "max")

_HEAD = """# What was measured

Made by `make report` from the records beside this file, which hold every raw sample; nothing in it
is typed. What is called a ratio, or times something, is of two figures of one run.
"""

# Below so many samples nothing is said of one in a thousand.
_RARE = 1_000

# Records that are not named after the module that makes them.
_MODULES = {"cold_sizes": "cold_start", "storm": "storm"}


def main(arguments: Sequence[str]) -> int:
    """Writes the report, or compares it; 1 if it is not what the records say."""
    parser = command("report", __doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args(arguments)
    records = dict(_records())
    text = _report(records)
    if options.check:
        if _REPORT.exists() and _REPORT.read_text() == text:
            return 0
        print("REPORT.md is not what the records say; run `make report`.", file=sys.stderr)
        return 1
    from bench.figures import draw

    for figure in figures_of(records.values()):
        draw(figure, RESULTS / f"{figure.name}.svg")
    _REPORT.write_text(text)
    print(f"{_REPORT}: {len(records)} records")
    return 0


def _records() -> Iterator[tuple[str, Record]]:
    """The whole records, by their files' names."""
    for path in sorted(RESULTS.glob("*.json")):
        record: Record = json.loads(path.read_text())
        if not record.get("partial"):
            yield path.name, record


def _report(records: dict[str, Record]) -> str:
    parts = [_HEAD]
    parts += [
        f"![{figure.title}]({figure.name}.svg)\n\n{figure.caption}\n"
        for figure in figures_of(records.values())
    ]
    parts += [_section(file, record) for file, record in records.items()]
    return "\n".join(parts)


def _section(file: str, record: Record) -> str:
    machine = record["machine"]
    settings = ", ".join(
        f"{key} {_value(value)}" for key, value in record["settings"].items() if key != "data"
    )
    lines = [f"## {record['benchmark']}: {record['settings']['data']}", ""]
    lines += [_how(record["benchmark"]), ""]
    made = (
        f"Commit {record['commit']}, {record['time']}, {machine['cores']} cores ({machine['cpu']}), "
        f"Python {machine['python']}{'; ' + settings if settings else ''}. [{file}]({file})"
    )
    lines += [made, ""]
    if record["percentiles"]:
        lines += [
            f"| | {' | '.join(_COLUMNS)} | samples |",
            "|---|" + "---:|" * (len(_COLUMNS) + 1),
        ]
        for key, found in record["percentiles"].items():
            count = len(record["samples"][key])
            shown = {**found, "p99.9": found.get("p99.9") if count >= _RARE else None}
            cells = [_number(shown[column]) for column in _COLUMNS]
            lines.append(f"| {key} | {' | '.join(cells)} | {count:,} |")
        lines.append("")
    if record["figures"]:
        lines += ["| | |", "|---|---:|"]
        lines += [f"| {key} | {_number(value)} |" for key, value in record["figures"].items()]
        lines.append("")
    return "\n".join(lines)


def _how(benchmark: str) -> str:
    """What the module that asks says of itself."""
    try:
        module = importlib.import_module(f"bench.{_MODULES.get(benchmark, benchmark)}")
    except ModuleNotFoundError:
        return ""
    paragraphs = (module.__doc__ or "").strip().split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.2f}"


def _value(value: Any) -> str:
    return " ".join(map(_value, value)) if isinstance(value, list) else str(value)
