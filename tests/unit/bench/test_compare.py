"""Two commits are checked out beside each other, and nothing of them is left."""

import subprocess
from pathlib import Path

import pytest

from bench import compare
from bench.errors import BenchError


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits, whose file `code` says which it is, and a bench that is newer than both."""
    root = tmp_path / "checkout"
    (root / "bench").mkdir(parents=True)
    (root / "bench" / "quick.py").write_text("old")
    git(root, "init", "--quiet", "--initial-branch", "main")
    for number in ("one", "two"):
        (root / "code").write_text(number)
        git(root, "add", ".")
        git(root, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", number)
    (root / "bench" / "quick.py").write_text("new")
    monkeypatch.setattr(compare, "_ROOT", root)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return root


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


def test_both_commits_have_the_newer_bench_and_are_gone_afterwards(repository: Path) -> None:
    commits = {"base": compare._resolve("HEAD~1"), "new": compare._resolve("HEAD")}
    with pytest.raises(KeyboardInterrupt):
        interrupted(commits)
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert [path.name for path in repository.parent.iterdir()] == [repository.name]


def interrupted(commits: dict[str, str]) -> None:
    with compare._checked_out(commits) as folders:
        assert (folders["base"] / "code").read_text() == "one"
        assert (folders["new"] / "code").read_text() == "two"
        assert {(f / "bench" / "quick.py").read_text() for f in folders.values()} == {"new"}
        raise KeyboardInterrupt


def test_a_commit_of_main_is_compared_with_the_one_before_and_a_branch_with_main(
    repository: Path,
) -> None:
    assert compare._resolve(compare._left_main()) == compare._resolve("HEAD~1")
    git(repository, "checkout", "--quiet", "-b", "branch")
    git(repository, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "three")
    assert compare._left_main() == compare._resolve("main")


def test_a_commit_is_not_compared_with_itself(repository: Path) -> None:
    with pytest.raises(BenchError, match="nothing to compare"):
        compare.main(["--base", "HEAD"])
