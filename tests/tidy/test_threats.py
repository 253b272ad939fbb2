"""The table of threats names limits and tests that there are."""

import re
from pathlib import Path

from router import limits

ROOT = Path(__file__).parent.parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "threats.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| **", "| threat"))
]


def test_every_threat_has_a_test_that_exists() -> None:
    sources = (path.read_text() for path in (ROOT / "tests" / "fronts").glob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)", "".join(sources)))
    named = {row[0]: set(re.findall(r"`(test_\w+)`", row[3])) for row in ROWS}
    assert [threat for threat, tests in named.items() if not tests] == []
    assert {threat: tests - there for threat, tests in named.items() if tests - there} == {}


def test_every_limit_exists() -> None:
    named = {name for row in ROWS for name in re.findall(r"`([A-Z0-9_]+)`", row[2])}
    assert named and {name for name in named if not hasattr(limits, name)} == set()
