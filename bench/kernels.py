"""What does each way to compute an answer cost, beside faiss and usearch on the same data?

No server: arrays in, row numbers out, in this process, one thread. Torpor's own ways are exact answers
by codes and in float32, with their proof, and approximate ones; `X @ q and selection` is what one would
write by hand. Libraries get the smallest effort whose recall reaches that of Torpor's approximate way,
or --recall where there is none. All ways answer the same queries by turns, sixteen in each, one batch
after the other, round after round, so that whatever else the machine does happens to all of them; a
ratio is the median of each round's ratio of medians, beside its spread from the 10th to the 90th
percentile. Recall is against neighbours that were decided in float64. `of which` is where the time of
the approximate way goes: queries of their own, after all turns, with a clock between the steps.

Beside a way that reads all rows stands how much of the memory's bandwidth it reached: the bytes of its
codes or vectors alone, by the best rate at which numpy read a large array in the same run.
`rows scored` are those whose exact scores the proof needed: on the set as it is, moved by one in every
dimension under euclidean, and with four dimensions made huge and constant.

Rows beyond those of the set are mixed from pairs of rows, dimensions beyond or below its own are joined
or cut from rows (see `grown.py`). What libraries build, by all cores, is kept in --cache: of a million
rows it takes minutes, and graphs are made of so many only if --graph-rows says so. Left out: building,
opening, filters, and threads. faiss and usearch are measured where they are installed: `make peers`,
then .venv/peers/bin/python -m bench kernels.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from bench import dataset as datasets
from bench.engines.peers import PEERS
from bench.grown import grow, kept_neighbors, widen
from bench.kernel_near import APPROXIMATE, Approximate, approximate_way
from bench.kernel_ways import (
    PeerWay,
    Way,
    certified,
    gpu_way,
    own_ways,
    peers_of,
    recall,
    rows_of,
)
from bench.options import question
from bench.record import Recording, recording
from kernels.code_backend import CodeBackend
from kernels.numpy_backend import NumpyBackend
from kernels.products import fastest
from kernels.queries import Metric

_ROWS = [10_000, 100_000, 1_000_000]
_DIMENSIONS = {"small": [0], "full": [128, 384, 768, 1_536]}
_BATCHES = {"small": [1, 64], "full": [1, 8, 64, 256]}
_KS = {"small": [10], "full": [10, 100]}
_LIBRARIES = ("faiss Flat", "faiss SQ8", "faiss RaBitQ", "faiss HNSW", "usearch")
_GRAPHS = ("faiss HNSW", "usearch")
# Those that do not look at all rows, as the approximate way does not.
_NEAR_LIBRARIES = _LIBRARIES[1:]
# Queries of a turn, in batches: whoever comes next finds caches full of what others read, once.
_TURN_QUERIES = 16
_RECALL_QUERIES = 100
_BANDWIDTH_BYTES = 512 << 20
_HUGE = 100.0
_HUGE_DIMENSIONS = 4


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("kernels", __doc__, sizes=True)
    parser.add_argument(
        "--grid",
        choices=["small", "full"],
        default="small",
        help="full: dimensions 128 to 1536, batches 1 to 256, k 10 and 100",
    )
    parser.add_argument("--rounds", type=int, default=20, help="of all ways by turns")
    parser.add_argument("--recall", type=float, default=0.97, help="that libraries reach")
    parser.add_argument("--libraries", help="only these, by commas: " + ", ".join(_LIBRARIES))
    parser.add_argument(
        "--graph-rows",
        type=int,
        default=100_000,
        help="of sets up to so many rows, graphs are made",
    )
    options = parser.parse_args(arguments)
    options.rows = options.rows or _ROWS
    sizes, options.rows = options.rows, None
    dataset = datasets.load(options)
    wanted = options.libraries.split(",") if options.libraries is not None else _LIBRARIES
    peers, said = peers_of([peer for peer in PEERS if peer.name in wanted])
    for line in said:
        Console().print(line, soft_wrap=True)
    settings = {
        "data": f"{dataset.name}, more rows by mixing pairs",
        "rows": sizes,
        "grid": options.grid,
        "products": fastest().name,
        **{peer.name: f"{peer.version()}; {peer.settings}; {peer.knob}" for peer in peers},
        "graphs": f"{' and '.join(_GRAPHS)} of up to {options.graph_rows:,} rows",
        "skipped": said,
    }
    with recording("kernels", settings, options.output) as record:
        bandwidth = read_bandwidth()
        record.figures["read bandwidth GB/s"] = bandwidth
        for dimension in _DIMENSIONS[options.grid]:
            dimension = dimension or dataset.vectors.shape[1]
            vectors = widen(dataset.vectors, dimension)
            queries = widen(dataset.queries, dimension)
            for count in sizes:
                chosen = _Set(grow(vectors, count, options.cache), queries, options)
                libraries = [
                    PeerWay(peer, chosen.vectors, options.cache)
                    for peer in peers
                    if peer.name not in _GRAPHS or count <= options.graph_rows
                ]
                _Grid(record, chosen, options, bandwidth).measure(libraries)


def read_bandwidth() -> float:
    """GB a second that one thread of this process reads, by the better of two ways to read."""
    array = np.ones(_BANDWIDTH_BYTES // 8, np.int64)
    halves = array.view(np.float32).reshape(2, -1)
    best = np.inf
    reads: list[Callable[[], object]] = [array.sum, lambda: halves[0] @ halves[1]]
    for read in reads:
        for _ in range(5):
            began = time.perf_counter()
            read()
            best = min(best, time.perf_counter() - began)
    return float(_BANDWIDTH_BYTES / best / 1e9)


def _timed(way: Way, queries: NDArray[np.float32], batch: int, k: int) -> list[float]:
    """The milliseconds of each batch of these queries, one after the other."""
    turn = []
    for first in range(0, len(queries), batch):
        began = time.perf_counter()
        way.find(queries[first : first + batch], k)
        turn.append((time.perf_counter() - began) * 1e3)
    return turn


@dataclass
class _Set:
    """Vectors, queries and who is nearest to them, for one place of the grid."""

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    options: argparse.Namespace

    def __post_init__(self) -> None:
        asked = self.queries[:_RECALL_QUERIES]
        k_max = min(max(_KS[self.options.grid]), len(self.vectors))
        self.neighbors = kept_neighbors(
            self.vectors,
            asked,
            self.options.cache,
            k_max,
            lambda: datasets.nearest(self.vectors, asked, k_max),
        )

    @property
    def name(self) -> str:
        return f"{len(self.vectors):,} x {self.vectors.shape[1]}"


class _Grid:
    """All batches and ks of one set."""

    def __init__(
        self,
        record: Recording,
        chosen: _Set,
        options: argparse.Namespace,
        bandwidth: float,
    ) -> None:
        self._record = record
        self._set = chosen
        self._options = options
        self._bandwidth = bandwidth

    def measure(self, libraries: Sequence[PeerWay]) -> None:
        """Every way, and what the proof of the first one needs."""
        rows = rows_of(self._set.vectors)
        own = list(own_ways(rows))
        card = gpu_way(rows)
        if card is not None:
            way, startup = card
            own.append(way)
            for name, value in asdict(startup).items():
                self._record.figures[f"CuPy {name.replace('_', ' ')}"] = value
        self._prove()
        near = approximate_way(rows)
        if near is not None:
            own.append(near[0])
        for k in _KS[self._options.grid]:
            ways = self._ways(own, libraries, k)
            for batch in _BATCHES[self._options.grid]:
                self._race(ways, batch, k)
            if near is not None:
                self._divide(near[1], k)

    def _ways(self, own: Sequence[Way], libraries: Sequence[PeerWay], k: int) -> list[Way]:
        """Those ways and libraries, each with its recall; libraries reach the approximate one's."""
        asked, neighbors = self._set.queries[:_RECALL_QUERIES], self._set.neighbors[:, :k]
        figures, wanted = self._record.figures, self._options.recall
        ways = []
        for way in own:
            found = recall(way.find(asked, k), neighbors)
            figures[f"{self._set.name}, k {k}, {way.name}: recall@{k}"] = found
            if way.name == APPROXIMATE:
                wanted = found
            ways.append(way)
        for library in libraries:
            way = library.tuned(asked, neighbors, wanted)
            name = f"{self._set.name}, k {k}, {way.name}"
            figures[f"{name}: recall@{k}"] = recall(way.find(asked, k), neighbors)
            if library.effort:
                figures[f"{name}: {library.peer.knob}"] = library.effort
            ways.append(way)
        return ways

    def _divide(self, near: Approximate, k: int) -> None:
        """Where the time of approximate answers goes."""
        for phases in near.phases(self._set.queries[:_RECALL_QUERIES], k):
            for phase, ms in phases.items():
                name = f"{self._set.name}, batch 1, k {k}, {APPROXIMATE}: of which {phase} ms"
                self._record.samples[name].append(ms)

    def _race(self, ways: Sequence[Way], batch: int, k: int) -> None:
        """All ways by turns, each with so many queries one after the other."""
        queries, record = self._set.queries, self._record
        # Whole batches, where there are queries for one.
        asked = max(1, min(_TURN_QUERIES, len(queries)) // batch) * batch
        taken: dict[str, list[list[float]]] = {way.name: [] for way in ways}
        title = f"{self._set.name}, batch {batch}, k {k}"
        with Progress(transient=True) as progress:
            for number in progress.track(range(-2, self._options.rounds), description=title):
                first = (number * asked) % max(1, len(queries) - asked)
                own = np.ascontiguousarray(queries[first : first + asked])
                for way in ways:
                    turn = _timed(way, own, batch, k)
                    if number >= 0:
                        taken[way.name].append(turn)
        for way in ways:
            every = [ms for turn in taken[way.name] for ms in turn]
            record.samples[f"{title}, {way.name} ms"] += every
            if way is not ways[0]:
                self._compare(title, taken, way.name, ways[0].name)
            if way.name in _NEAR_LIBRARIES and APPROXIMATE in taken:
                self._compare(title, taken, APPROXIMATE, way.name)
            if way.bytes_a_row and batch == 1:
                read = len(self._set.vectors) * way.bytes_a_row / np.median(every) / 1e6
                name = f"{title}, {way.name}: of the read bandwidth %"
                record.figures[name] = float(100 * read / self._bandwidth)

    def _compare(
        self, title: str, taken: dict[str, list[list[float]]], one: str, other: str
    ) -> None:
        """What one way takes, times another: medians of turns, round by round."""
        ratios = np.median(taken[one], axis=1) / np.median(taken[other], axis=1)
        of, figures = f"{title}, {one}, times {other}", self._record.figures
        figures[of] = float(np.median(ratios))
        for percentile in (10, 90):
            figures[f"{of}, {percentile}th percentile"] = float(np.percentile(ratios, percentile))

    def _prove(self) -> None:
        """How many rows are scored for the proof, on three kinds of data."""
        vectors, queries = self._set.vectors, self._set.queries[:_RECALL_QUERIES]
        backend = CodeBackend(fastest(), NumpyBackend(1))
        kinds: list[tuple[str, Metric, float, int]] = [
            ("as it is", "cosine", 0.0, 0),
            ("moved by one, euclidean", "euclidean", 1.0, vectors.shape[1]),
            ("four dimensions huge and constant", "cosine", _HUGE, _HUGE_DIMENSIONS),
        ]
        for kind, metric, added, dimensions in kinds:
            moved, asked = np.array(vectors), np.array(queries)
            moved[:, :dimensions] += added
            asked[:, :dimensions] += added
            hits = certified(backend, rows_of(moved), metric, asked, 10)
            name = f"{self._set.name}, {kind}: rows scored"
            self._record.samples[name] += [float(one.scored) for one in hits]
