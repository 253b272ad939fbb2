"""Compares two commits, question by question: which got slower by more than its own noise?

    make bench-check                   the commit that is checked out, against where it left main
    make bench-check BASE=v0.1.0       against another
    python -m bench compare --base HEAD~3 --rounds 20

Both commits are checked out into folders of their own (git worktree), with this checkout's
environment. Then they take turns, A B, B A, A B, ..., so that whatever else the machine does meets
both, and every round gives one ratio for every figure. What is said of a figure is the median of
its ratios and how far they scatter; it is slower where the median is beyond a tenth, beyond three
times its own uncertainty, and the rounds agree that it is. A few minutes cannot see less. Exit code
1: something got slower.

The questions are this checkout's (`bench.quick`), and run on the code of each commit: both must
speak the same protos, as far as those questions use them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.errors import BenchError, Stopped
from bench.options import command
from bench.verdict import ROUNDS_MIN, Verdict, verdict

_ROOT = Path(__file__).parent.parent
_QUESTION_SECONDS_MAX = 300.0


def main(arguments: Sequence[str]) -> int:
    """Compares, and prints; 1 if something got slower."""
    parser = command("compare", __doc__)
    parser.add_argument("--base", default="", help="default: where HEAD left main, or HEAD~1")
    parser.add_argument("--commit", default="HEAD", help="what is compared with it")
    parser.add_argument("--rounds", type=int, default=10, help=f"at least {ROUNDS_MIN}")
    parser.add_argument("--data", type=Path, help=".npy of shape (n, d); default: the sample")
    options = parser.parse_args(arguments)
    if options.rounds < ROUNDS_MIN:
        parser.error(f"--rounds: fewer than {ROUNDS_MIN} say nothing about noise")
    commits = {"base": _resolve(options.base or _left_main()), "new": _resolve(options.commit)}
    if len(set(commits.values())) == 1:
        raise BenchError(
            f"Both are the commit {commits['base'][:12]}: there is nothing to compare."
        )
    data = ["--data", str(options.data.resolve())] if options.data else []
    ratios: dict[str, list[float]] = defaultdict(list)
    with _checked_out(commits) as folders:
        for number in track(range(options.rounds), "Comparing", transient=True):
            order = ("base", "new") if number % 2 == 0 else ("new", "base")
            found = {name: _measure(folders[name], data) for name in order}
            for figure in found["base"].keys() & found["new"].keys():
                ratios[figure].append(found["new"][figure] / found["base"][figure])
    verdicts = {figure: verdict(values) for figure, values in sorted(ratios.items())}
    _print(verdicts, commits)
    return 1 if any(one.slower for one in verdicts.values()) else 0


def _left_main() -> str:
    """The commit that HEAD and main have in common; the one before where HEAD is main's."""
    common = _git("merge-base", "HEAD", "main", check=False)
    return common if common and common != _git("rev-parse", "HEAD") else "HEAD~1"


def _resolve(commit: str) -> str:
    return _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")


def _git(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        reason = done.stderr.strip() or "there is no such commit"
        raise BenchError(f"git {' '.join(arguments)} failed: {reason}.")
    return done.stdout.strip()


@contextmanager
def _checked_out(commits: dict[str, str]) -> Iterator[dict[str, Path]]:
    """A folder of each commit, with this checkout's bench in it; both are gone afterwards."""
    with tempfile.TemporaryDirectory(
        prefix="torpor-compare-", dir=os.environ.get("TMPDIR")
    ) as made:
        folders = {name: Path(made) / name for name in commits}
        try:
            for name, commit in commits.items():
                _git("worktree", "add", "--quiet", "--detach", str(folders[name]), commit)
                shutil.rmtree(folders[name] / "bench")
                shutil.copytree(
                    _ROOT / "bench",
                    folders[name] / "bench",
                    ignore=shutil.ignore_patterns("results"),
                )
            yield folders
        finally:
            for folder in folders.values():
                _git("worktree", "remove", "--force", str(folder), check=False)
            _git("worktree", "prune", check=False)


def _measure(folder: Path, data: list[str]) -> dict[str, float]:
    """One turn of one commit: what each figure takes, less being better."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.quick", *data],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_QUESTION_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        raise Stopped(f"The commit in {folder.name} did not answer in time.") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BenchError(f"The {folder.name} commit cannot be measured: {said}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _print(verdicts: dict[str, Verdict], commits: dict[str, str]) -> None:
    console = Console()
    title = f"{commits['new'][:12]}, times {commits['base'][:12]}; above 1 is slower"
    table = Table(title=title, title_justify="left")
    for column in ("", "ratio", "rounds", "scatter", ""):
        table.add_column(column, justify="left" if not column else "right")
    for figure, one in verdicts.items():
        scatter = f"{one.lowest:.2f} to {one.highest:.2f}"
        table.add_row(figure, f"{one.ratio:.2f}", str(one.rounds), scatter, one.word)
    console.print(table)
    slower = [figure for figure, one in verdicts.items() if one.slower]
    console.print(f"Slower: {', '.join(slower)}" if slower else "Nothing got slower beyond noise.")
