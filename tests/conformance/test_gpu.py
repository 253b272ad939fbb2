"""The backend on a card, but for the card: rows that stay and rows that pass by, bounds, the kernel."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.bounds import UNIT
from kernels.errors import DeviceFull, Interrupted
from kernels.gpu import backend as gpu_backend
from kernels.gpu.backend import GpuBackend
from kernels.gpu.bounds import Format, estimate_error, format_of
from kernels.gpu.device import Block, Wanted
from kernels.gpu.resident import Resident
from kernels.numpy_backend import NumpyBackend
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows
from kernels.topk import Hits, search
from tests.conformance.brute_force import CARD_IS_HERE, METRICS, Vectors, brute_force, rows_of
from tests.conformance.compiled_kernel import COMPILER, CompiledKernel
from tests.conformance.emulated_device import (
    EmulatedDevice,
    EmulatedSelection,
    rounded,
    select_rows,
)

every_metric = pytest.mark.parametrize("metric", METRICS)
compiled = pytest.mark.skipif(COMPILER is None, reason="there is no g++ to compile the kernel with")


def read_only(vectors: Vectors, **slice_: object) -> Rows:
    """Rows as a segment's map has them."""
    rows = rows_of(vectors, **slice_)
    rows.vectors.flags.writeable = False
    return rows


def normal(count: int, dimension: int, seed: int = 1) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def made(device: EmulatedDevice, block_rows_max: int = 500, held_blocks: int = 1) -> GpuBackend:
    return GpuBackend(device, NumpyBackend(), block_rows_max, held_blocks)


def agree(found: list[Hits], rows: Rows, queries: Vectors, asks: list[Ask], metric: Metric) -> None:
    for query, ask, hits in zip(queries, asks, found, strict=True):
        np.testing.assert_array_equal(hits.rows, brute_force(rows, query, ask, metric).rows)


@pytest.mark.skipif(not CARD_IS_HERE, reason="there is no card here, or no CuPy")
def test_the_suite_has_run_on_a_card() -> None:
    """The other files of this folder run every test on the card, where there is one."""
    from tests.conformance.brute_force import BACKENDS

    assert BACKENDS["a GPU"]().name == "cupy"


# Bounds


@every_metric
@pytest.mark.parametrize("form", Format)
@given(seed=st.integers(0, 2**32), dimension=st.sampled_from([1, 2, 7, 40]))
def test_an_estimate_is_no_further_from_the_exact_score_than_its_bound(
    metric: Metric, form: Format, seed: int, dimension: int
) -> None:
    """Against rational arithmetic, with values that rounding hurts most."""
    random = np.random.default_rng(seed)
    # Just below the next value that the format has.
    steps = 1 + random.integers(0, 64, (6, dimension)) * float(form.value[0]) * 1.999
    signs = random.choice([-1.0, 1.0], (6, dimension))
    vectors = (steps * signs * 2.0 ** random.integers(-16, 3, (6, 1))).astype(np.float32)
    rows, queries = rows_of(vectors), Queries.of(vectors[:1] * np.float32(1.37), metric)
    norm = float(queries.norms[0])
    unit = rounded((queries.vectors[0] / norm).astype(np.float32), form)
    used = rounded(vectors, form)
    bound = Fraction(estimate_error(rows, queries, 0, form))
    q = [Fraction(float(one)) for one in queries.vectors[0]]
    for row, cut, stored in zip(vectors, used, rows.norms, strict=True):
        x = [Fraction(float(one)) for one in row]
        product = sum(
            (Fraction(float(a)) * Fraction(float(b)) for a, b in zip(cut, unit, strict=True)),
            Fraction(0),
        )
        dot = sum((a * b for a, b in zip(q, x, strict=True)), Fraction(0)) / Fraction(norm)
        # What sums may lose is left out here: the emulated device makes its sums wrong by that much.
        if metric == "dotproduct":
            assert abs(product - dot) <= bound
        elif metric == "cosine":
            exact = dot / Fraction(float(np.sqrt(float(sum(a * a for a in x)))))
            assert abs(product / Fraction(float(stored)) - exact) <= bound
        else:
            closeness = 2 * Fraction(norm) * product - Fraction(float(stored)) ** 2
            exact = 2 * Fraction(norm) * dot - sum((a * a for a in x), Fraction(0))
            assert abs(closeness - exact) <= bound


@pytest.mark.parametrize("form", Format)
def test_sums_are_within_the_bound_where_they_are_long(form: Format) -> None:
    """At 20,000 dimensions the sums lose more than the inputs."""
    rows = rows_of(normal(20, 20_000))
    queries = Queries.of(normal(3, 20_000, 2), "dotproduct")
    units = (queries.vectors / queries.norms[:, None]).astype(np.float32)
    k = np.ones(3, np.int32)
    wanted = Wanted(units, units[:, 0], k, units[:, 0], k - 2, "dotproduct", form, 1)
    device = EmulatedDevice()
    selection = device.begin(wanted, 20)
    products = selection.products(rounded(rows.vectors, form), rows.norms)
    exact = queries.vectors.astype(np.float64) @ rows.vectors.T.astype(np.float64)
    for number in range(3):
        missed = np.abs(products[number] - exact[number] / queries.norms[number]).max()
        assert missed <= estimate_error(rows, queries, number, form)


class Liar(EmulatedDevice):
    """Its estimates are exact, and then wrong by `errors`, up or down by chance."""

    def __init__(self, errors: Vectors) -> None:
        super().__init__()
        self.errors = errors

    def begin(self, wanted: Wanted, tile_rows: int) -> "LyingSelection":
        return LyingSelection(self, wanted, tile_rows)

    def _copy(self, block: Block) -> Block:
        return replace(block, vectors=block.vectors.copy(), norms=block.norms.copy())


class LyingSelection(EmulatedSelection):
    def products(self, vectors: Vectors, norms: Vectors) -> Vectors:
        wanted = self.wanted
        scale = {
            "dotproduct": np.ones((1, len(norms))),
            "cosine": 1 / norms[None].astype(np.float64),
            "euclidean": wanted.doubled_norms[:, None].astype(np.float64),
        }[wanted.metric]
        exact = wanted.units.astype(np.float64) @ vectors.T.astype(np.float64)
        assert isinstance(self._device, Liar)
        lies = self._random.choice([-0.98, 0.98], exact.shape) * self._device.errors[:, None]
        return np.asarray(exact + lies / scale, np.float32)


@every_metric
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_the_answer_is_right_however_wrong_the_estimates_may_be(
    metric: Metric, scale: float
) -> None:
    """Rows that differ by less than the error: the better one's estimate is often the worse one."""
    vectors = (1 + 1e-3 * normal(4_000, 6)) * np.float32(scale)
    queries = (vectors[:4] + 1e-3 * normal(4, 6, 2) * np.float32(scale)).astype(np.float32)
    rows, asks = rows_of(vectors), [Ask(1), Ask(2), Ask(10), Ask(300)]
    batch = Queries.of(queries, metric)
    errors = [estimate_error(rows, batch, number, format_of(rows)) for number in range(4)]
    found = search(made(Liar(np.array(errors))), rows, batch, asks)
    agree(found, rows, queries, asks, metric)


def test_bounds_are_of_use() -> None:
    """A part in a few hundred: the survivors of real embeddings are few."""
    rows, queries = rows_of(normal(1_000, 384)), Queries.of(normal(1, 384, 2), "cosine")
    assert UNIT < estimate_error(rows, queries, 0, Format.F16) < 1.3e-3
    assert UNIT < estimate_error(rows, queries, 0, Format.TF32) < 2.2e-3


@pytest.mark.parametrize(
    ("scale", "form"),
    [(1.0, Format.F16), (1e3, Format.F16), (1e5, Format.TF32), (1e-7, Format.TF32)],
)
def test_what_float16_cannot_hold_is_kept_as_it_is(scale: float, form: Format) -> None:
    assert format_of(rows_of(normal(100, 16) * np.float32(scale))) is form


# Rows that stay


@every_metric
def test_rows_that_stay_on_the_card_answer_as_those_that_pass_by(metric: Metric) -> None:
    vectors, queries = normal(4_000, 24), normal(7, 24, 2)
    rows = read_only(vectors, start=333, stop=3_777, dead=set(range(0, 4_000, 3)))
    mask = np.random.default_rng(5).random(rows.stop - rows.start) < 0.4
    asks = [Ask(10), Ask(3, None, mask), Ask(600), Ask(1, None, ~mask), Ask(9, None, mask)] + [
        Ask(1)
    ] * 2
    device = EmulatedDevice()
    backend = made(device, held_blocks=2)
    for _ in range(2):
        agree(search(backend, rows, Queries.of(queries, metric), asks), rows, queries, asks, metric)
        backend.load(rows)
    assert device.held == 4
    device.streamed.clear()
    agree(search(backend, rows, Queries.of(queries, metric), asks), rows, queries, asks, metric)
    assert not device.streamed


@pytest.mark.parametrize(("held_blocks", "stay"), [(1, 3), (2, 1), (4, 0)])
def test_what_does_not_fit_passes_by_and_the_rest_stays(held_blocks: int, stay: int) -> None:
    rows, queries = read_only(normal(4_000, 24)), normal(3, 24, 2)
    device = EmulatedDevice(rows_bytes_max=3 * 500 * (24 * 2 + 4))
    backend = made(device, held_blocks=held_blocks)
    backend.load(rows)
    assert device.held == stay and backend.loaded(rows) is False
    asks = [Ask(10)] * 3
    found = search(backend, rows, Queries.of(queries, "cosine"), asks)
    agree(found, rows, queries, asks, "cosine")
    assert backend.loaded_bytes == stay * held_blocks * 500 * (24 * 2 + 4)


def test_blocks_go_with_their_array_and_make_room() -> None:
    device = EmulatedDevice(rows_bytes_max=1_000 * (24 * 2 + 4))
    resident = Resident(device, 500, 1)
    first, second = read_only(normal(1_000, 24)), read_only(normal(1_000, 24, 2))
    form = format_of(first)
    resident.load(first, form)
    resident.load(second, form)
    assert resident.whole(first, form) is True and resident.whole(second, form) is False
    del first, second
    assert resident.bytes == 0
    third = read_only(normal(1_000, 24, 3))
    resident.load(third, form)
    assert resident.whole(third, form) is True


def test_an_array_that_may_change_does_not_stay() -> None:
    device, rows = EmulatedDevice(), rows_of(normal(1_000, 24))
    backend = made(device)
    backend.load(rows)
    assert device.held == 0 and backend.loaded(rows) is None


def test_a_shrunken_card_holds_half_as_much() -> None:
    device = EmulatedDevice(rows_bytes_max=1_000 * (24 * 2 + 4))
    resident, rows = Resident(device, 500, 1), read_only(normal(1_000, 24))
    resident.load(rows, format_of(rows))
    resident.shrink()
    assert resident.bytes == 0 and device.trims == 1
    resident.load(rows, format_of(rows))
    assert resident.bytes == device.rows_bytes_max / 2


# Searches


@every_metric
def test_many_queries_share_a_tile_and_fit_into_the_memory_for_work(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of queries, and tiles smaller than blocks."""
    monkeypatch.setattr(gpu_backend, "WORK_BYTES", 60 * (8 * 16_384 + 12 * 4_096))
    vectors, queries = normal(9_000, 8), normal(200, 8, 2)
    taken: list[int] = []
    tiles: list[int] = []

    class Watched(EmulatedDevice):
        def begin(self, wanted: Wanted, tile_rows: int) -> EmulatedSelection:
            selection = super().begin(wanted, tile_rows)
            tiles.append(tile_rows)
            arrays = (selection.list_rows, selection.list_estimates)
            products = 4 * len(selection.counts) * tile_rows
            taken.append(products + sum(one.nbytes for one in arrays))
            return selection

    rows, asks = rows_of(vectors), [Ask(5)] * 200
    backend = made(Watched(), block_rows_max=8_000)
    found = search(backend, rows, Queries.of(queries, metric), asks)
    agree(found, rows, queries, asks, metric)
    assert len(taken) == 4 and max(taken) <= gpu_backend.WORK_BYTES
    # What cuBLAS is fast at.
    assert all(rows % 64 == 0 for rows in tiles)


def test_twenty_thousand_dimensions() -> None:
    """Few rows fill a block, and the error is that of long sums."""
    rows, queries = rows_of(normal(900, 20_000)), normal(2, 20_000, 2)
    device, asks = EmulatedDevice(), [Ask(1), Ask(30)]
    found = search(GpuBackend(device, NumpyBackend()), rows, Queries.of(queries, "euclidean"), asks)
    agree(found, rows, queries, asks, "euclidean")
    assert len(device.streamed) == 2


def test_an_interrupted_search_leaves_nothing_running() -> None:
    device, rows = EmulatedDevice(), rows_of(normal(3_000, 8))
    said = iter([True, True, False])
    with pytest.raises(Interrupted):
        search(made(device), rows, Queries.of(normal(1, 8), "cosine"), [Ask(1)], lambda: next(said))
    assert device.closed == 1


def test_a_card_that_fails_says_so() -> None:
    device, rows = EmulatedDevice(), rows_of(normal(3_000, 8))
    device.failure = DeviceFull("no memory")
    with pytest.raises(DeviceFull):
        search(made(device), rows, Queries.of(normal(1, 8), "cosine"), [Ask(1)])


def test_rows_in_ascending_order_of_their_scores_are_found() -> None:
    """Each tile is better than all before it: the lists are full and are cleared again and again."""
    vectors = np.arange(1, 20_001, dtype=np.float32)[:, None] / 20_000
    rows, queries = rows_of(vectors), np.ones((2, 1), np.float32)
    asks = [Ask(10), Ask(700)]
    found = search(made(EmulatedDevice()), rows, Queries.of(queries, "dotproduct"), asks)
    agree(found, rows, queries, asks, "dotproduct")


def test_too_many_survivors_are_given_up() -> None:
    rows = rows_of(np.ones((40_000, 2), np.float32))
    queries = Queries.of(rows.vectors[:1], "cosine")
    assert made(EmulatedDevice()).survivors(rows, queries, [Ask(3)], lambda: True) == [None]


# The kernel


@compiled
@every_metric
def test_the_kernel_keeps_the_same_rows_with_many_threads(metric: Metric) -> None:
    vectors, queries = normal(700, 12), normal(3, 12, 2)
    vectors[200:400] = vectors[7]
    rows = rows_of(vectors, dead=set(range(0, 700, 5)))
    asks = [Ask(4), Ask(60), Ask(800)]
    batch = Queries.of(queries, metric)
    found = [
        GpuBackend(EmulatedDevice(select=select), NumpyBackend(), 250).survivors(
            rows, batch, asks, lambda: True
        )
        for select in (None, CompiledKernel(1), CompiledKernel(3, blocks=2), CompiledKernel(8))
    ]
    for others in found[1:]:
        for mine, theirs in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@compiled
@every_metric
def test_a_row_at_the_threshold_itself_joins(metric: Metric) -> None:
    """One query for each row, whose threshold is the estimate of that row to the last bit."""
    random, count = np.random.default_rng(3), 300
    norms = random.uniform(0.1, 10, count).astype(np.float32)
    products = random.standard_normal(count).astype(np.float32)
    estimates = {
        "dotproduct": products,
        "cosine": products / norms,
        "euclidean": products - norms * norms,
    }[metric]
    ones, numbers = np.ones(count, np.float32), np.full(count, count, np.int32)
    wanted = Wanted(
        *(np.zeros((count, 1), np.float32), ones, numbers, 0 * ones, 0 * numbers - 1),
        *(metric, Format.F16, count),
    )
    found = []
    for select in (select_rows, CompiledKernel(3, blocks=2)):
        selection = EmulatedDevice().begin(wanted, count)
        selection.thresholds[:] = estimates
        select(selection, np.tile(products, (count, 1)), norms, 0)
        found.append([None if one is None else sorted(one.tolist()) for one in selection.rows()])
    assert found[0] == found[1]
    assert all(row in (rows or []) for row, rows in enumerate(found[0]))
