"""The tree itself: what a reader may rely on wherever they open a file."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("router", "worker", "storage", "kernels", "torpor", "bench", "docs")
LINES_MAX = 500


def sources() -> list[Path]:
    found = [p for name in (*PACKAGES, "tests") for p in sorted((ROOT / name).rglob("*.py"))]
    return [path for path in found if not re.search(r"_pb2(_grpc)?\.py$", path.name)]


def test_no_file_is_too_long_to_be_read() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources()}
    assert {str(p): n for p, n in lengths.items() if n > LINES_MAX} == {}


def test_no_folder_is_a_kind_of_thing() -> None:
    kinds = {"utils", "util", "core", "common", "helpers", "models", "services", "misc", "lib"}
    assert not {path.parent.name for path in sources()} & kinds


def test_nothing_is_left_for_later() -> None:
    mark = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert [str(path) for path in sources() if mark.search(path.read_text())] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_is_and_holds_no_logic(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def test_every_public_name_is_documented() -> None:
    missing = []
    for path in sources():
        if "tests" in path.parts:
            continue
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("_") and not ast.get_docstring(node):
                missing.append(f"{path.name}: {node.name}")
    assert missing == []


def test_every_rpc_and_field_of_the_public_protos_is_documented() -> None:
    undocumented = []
    for path in sorted((ROOT / "protos" / "torpor" / "v1").glob("*.proto")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            declared = re.match(
                r"\s*(rpc \w+|(?:optional |repeated |map<.*> )?[\w.]+ \w+ = \d+;)", line
            )
            if not declared or line.strip().startswith("//"):
                continue
            before = lines[number - 1].strip()
            if not before.startswith("//") and not _stands_for_itself(lines, number):
                undocumented.append(f"{path.name}:{number + 1}: {line.strip()}")
    assert undocumented == []


def _stands_for_itself(lines: list[str], number: int) -> bool:
    """Whether a field is in a message whose own comment says all there is to say."""
    start = max(n for n in range(number) if lines[n].startswith("message "))
    return lines[start - 1].startswith("//") and any(
        word in lines[start - 1] for word in ("Not supported", "Never sent")
    )


def test_the_readmes_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", ["readme", "report"])
def test_every_figure_in_the_readme_and_the_report_comes_from_a_record(page: str) -> None:
    """The readme's measured table is between two marks, and generated; the report is as a whole."""
    made = subprocess.run(
        [ROOT / ".venv" / "bin" / "python", "-m", "bench", page, "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
