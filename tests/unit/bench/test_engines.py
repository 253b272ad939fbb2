"""Other engines: each finds what is there, or says in one line that it is not installed."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.engines.engine import Missing, Peer, padded, partitions, smallest_effort
from bench.engines.kept import kept
from bench.engines.peers import PEERS, named
from bench.engines.runner import Runner
from bench.kernel_near import approximate_way
from bench.kernel_ways import own_ways, recall, rows_of

ROOT = Path(__file__).parent.parent.parent.parent
SAMPLE = ROOT / "torpor" / "sample"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    vectors = np.load(SAMPLE / "vectors.f16.npy")[:1_500].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = np.load(SAMPLE / "queries.f32.npy")[:20]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    np.save(folder / "vectors", vectors)
    np.save(folder / "queries", queries)
    np.save(folder / "one", queries[:1])
    np.save(folder / "neighbors", np.argsort(-(queries @ vectors.T), axis=1)[:, :10])
    return folder


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that a server can use that runs as somebody else."""
    with tempfile.TemporaryDirectory(prefix="torpor-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", [peer.name for peer in PEERS])
def test_an_engine_finds_what_it_was_given(name: str, sample: Path, open_folder: Path) -> None:
    runner = Runner(named(name), open_folder)
    try:
        built = runner.build(sample / "vectors.npy")
    except Missing as missing:
        pytest.skip(str(missing))
    assert built["bytes"] > 1_500 * 384 // 8
    with runner.serving():
        tuned = runner.ask(
            "tune",
            queries=str(sample / "queries.npy"),
            neighbors=str(sample / "neighbors.npy"),
            k=10,
            wanted=0.9,
        )
    assert tuned["recall"] >= 0.9 and tuned["effort"] <= named(name).efforts[-1]
    cold = runner.ask("cold", query=str(sample / "one.npy"), k=10, effort=tuned["effort"])
    assert len(set(cold["rows"]) & set(np.load(sample / "neighbors.npy")[0].tolist())) >= 7
    moments = [cold[one] for one in ("asked", "began", "imported", "opened", "answered")]
    assert moments == sorted(moments)


def test_an_engine_that_is_not_installed_is_said_to_be_in_one_line() -> None:
    peer = Peer("x", "bench.engines.x", "X", ("x-engine",), ("no_such_module",), "", "")
    with pytest.raises(Missing, match="x-engine is not installed; run `make peers`"):
        peer.make()
    with pytest.raises(Missing, match="x-engine is not installed"):
        peer.version()


def test_engines_have_names_of_their_own_and_adapters() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    for peer in PEERS:
        source = (ROOT / f"{peer.module.replace('.', '/')}.py").read_text()
        assert f"class {peer.maker}" in source
        assert list(peer.efforts) == sorted(peer.efforts)


def test_engines_are_in_the_group_of_peers_and_locked() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    group = project[project.index("\npeers = [") :].partition("]\n\n")[0]
    for peer in PEERS:
        for package in peer.packages:
            assert f'"{package}' in group
            assert f'name = "{package}"' in (ROOT / "uv.lock").read_text()


@pytest.mark.parametrize(
    ("question", "said"), [("peers", "There is no engine"), ("servers", "There is no server")]
)
def test_an_engine_that_nobody_knows_is_one_line(question: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", question, "--engines", "oracle"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and f"{said} 'oracle'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("needed", "found"), [(0, 0), (1, 8), (8, 8), (9, 9), (90, 92), (128, 128), (900, 256)]
)
def test_the_smallest_effort_is_found_between_those_that_are_named(needed: int, found: int) -> None:
    efforts = (8, 16, 32, 64, 128, 256) if needed else (0,)
    tried: list[int] = []

    def reaches(effort: int) -> bool:
        tried.append(effort)
        return effort >= needed

    assert smallest_effort(efforts, reaches) == found
    assert len(tried) == len(set(tried)) <= 10


class _Counted(Runner):
    """Counts how often it builds."""

    built = 0

    def ask(self, what: str, **wishes: object) -> dict[str, object]:
        return {"version": "1"}

    def build(self, vectors: Path) -> dict[str, object]:
        type(self).built += 1
        rows = np.load(vectors)
        assert np.allclose(np.linalg.norm(rows, axis=1), [1, 0, 1])
        if self.peer.name == "broken":
            raise Missing("x")
        (self.folder / "index").write_text("built")
        return {"seconds": 1.5}


def test_what_an_engine_has_built_is_kept_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.engines.kept.Runner", _Counted)
    vectors = np.array([[3, 4], [0, 0], [1, 0]], np.float32)
    peer = Peer("some engine", "", "", (), (), "settings", "")
    folder, said = kept(peer, vectors, tmp_path)
    assert (folder / "index").read_text() == "built" and said == {"seconds": 1.5}
    assert kept(peer, vectors, tmp_path) == (folder, said) and _Counted.built == 1
    for other in (replace(peer, settings="others"), replace(peer, name="another")):
        assert kept(other, vectors, tmp_path)[0] != folder
    assert kept(peer, vectors * np.float32(2), tmp_path)[0] != folder
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Missing):
        kept(replace(peer, name="broken"), vectors, tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_fewer_rows_than_asked_for_are_filled_up() -> None:
    assert padded([[3, 1], [2]], 3).tolist() == [[3, 1, -1], [2, -1, -1]]


@pytest.mark.parametrize(("rows", "wanted"), [(1, 8), (10_000, 256), (1_000_000, 2_048)])
def test_lists_are_about_twice_the_root_of_the_rows(rows: int, wanted: int) -> None:
    assert partitions(rows) == wanted


def test_every_exact_way_finds_the_neighbours(sample: Path) -> None:
    queries, neighbors = np.load(sample / "queries.npy"), np.load(sample / "neighbors.npy")
    rows = rows_of(np.load(sample / "vectors.npy"))
    found = {way.name: recall(way.find(queries, 10), neighbors) for way in own_ways(rows)}
    assert len(found) >= 3 and set(found.values()) == {1.0}


def test_the_approximate_way_finds_most_of_them_and_its_time_is_divided(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, neighbors = np.load(sample / "queries.npy"), np.load(sample / "neighbors.npy")
    rows = rows_of(np.load(sample / "vectors.npy"))
    assert approximate_way(rows) is None
    monkeypatch.setattr("bench.kernel_near.EXACT_CODE_BYTES_MAX", 0)
    near = approximate_way(rows)
    assert near is not None
    assert recall(near[0].find(queries, 10), neighbors) > 0.5
    divided = list(near[1].phases(queries, 10))
    assert len(divided) == len(queries)
    assert all(ms > 0 for phases in divided for ms in phases.values())
