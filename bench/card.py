"""What does a graphics card bring, and how near does it come to what its memory and tensor cores can?

No server: arrays in, row numbers out, in this process, as `kernels` has it. Rows are uploaded once, as
float16 and as float32 (multiplied as TF32), and searched exactly, with the proof. `without exact scores`
is the card's part with its host's: which rows may be in the answers. The rest is the processor's, which
scores those in float64. Beside them are codes on the processor, in a thread for each of its cores, for
the batches of --beside; all by turns.

`the memory takes` is the time in which the card reads the rows once, at the rate of a copy within its
memory (bytes read and written) in the same run; `the tensor cores take` is that of the multiplications,
at the rate of one product of two large random matrices. No search is faster than the longer of the two.

What a start takes is asked of processes of their own, since it happens once in each. Rows and dimensions
that the set does not have are mixed and joined from those it has (see `grown.py`).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from bench import dataset as datasets
from bench.errors import NotInstalled
from bench.grown import grow, kept_neighbors, widen
from bench.kernel_ways import answers, recall, rows_of
from bench.options import question
from bench.record import Recording, recording
from kernels.backend import Backend
from kernels.code_backend import CodeBackend
from kernels.errors import DeviceError
from kernels.gpu.backend import GpuBackend
from kernels.gpu.bounds import Format
from kernels.gpu.cupy_device import CupyDevice
from kernels.gpu.start import start_gpu
from kernels.numpy_backend import NumpyBackend
from kernels.products import fastest
from kernels.queries import Ask, Queries
from kernels.rows import Rows

_ROWS = 1_000_000
_K = 10
_RECALL_QUERIES = 100
_STARTS = 3
# Far more than the caches of a card, and matrices that keep all its tensor cores busy.
_COPIED_VALUES = 1 << 29
_MATRIX = 8_192
_REPEATS = 10
_NAMES = {Format.F16: "float16", Format.TF32: "float32 as TF32"}

Floats = NDArray[np.float32]


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("card", __doc__)
    parser.add_argument("--dimension", type=int, default=768, help="of all vectors: %(default)s")
    parser.add_argument(
        "--batches", type=datasets.numbers, default=[1, 32, 1_024], help="queries at once, as 1,32"
    )
    parser.add_argument(
        "--beside",
        type=datasets.numbers,
        default=[1, 32],
        help="batches that the processor answers too",
    )
    parser.add_argument("--rounds", type=int, default=20, help="of all ways by turns")
    options = parser.parse_args(arguments)
    count, options.rows = options.rows or _ROWS, None
    dataset = datasets.load(options)
    starts = [_start() for _ in range(_STARTS)]
    device = CupyDevice()
    threads = len(os.sched_getaffinity(0))
    settings = {
        "data": f"{dataset.name}, more rows by mixing pairs, more dimensions by joining rows",
        "rows": count,
        "dimension": options.dimension,
        "card": _name_of(device),
        "beside": f"codes by {fastest().name}, {threads} threads",
    }
    with recording("card", settings, options.output) as record:
        for start in starts:
            for phase, ms in start.items():
                record.samples[f"start: {phase.removesuffix('_ms').replace('_', ' ')} ms"].append(
                    ms
                )
        rates = Rates(device)
        record.figures["copy within the card's memory GB/s"] = rates.bytes_a_ms / 1e6
        for form, rate in rates.operations_a_ms.items():
            record.figures[f"product of matrices, {_NAMES[form]} TFLOP/s"] = rate / 1e9
        vectors = np.asarray(grow(widen(dataset.vectors, options.dimension), count, options.cache))
        vectors.flags.writeable = False
        queries = widen(dataset.queries, options.dimension)
        beside = CodeBackend(fastest(), NumpyBackend(threads), threads)
        _Race(record, rows_of(vectors), queries, device, rates, options).run(beside)


class Rates:
    """What a card's memory and tensor cores do in a millisecond, at their best."""

    def __init__(self, device: CupyDevice) -> None:
        with device.compute:
            self.bytes_a_ms = _copies(device)
            self.operations_a_ms = {form: _multiplies(device, form) for form in Format}


def _copies(device: CupyDevice) -> float:
    cupy = device.cupy
    source = cupy.ones(_COPIED_VALUES, cupy.float32)
    target = cupy.empty_like(source)
    return float(2 * source.nbytes / _on_card(device, lambda: cupy.copyto(target, source)))


def _multiplies(device: CupyDevice, form: Format) -> float:
    cupy, shape = device.cupy, (_MATRIX, _MATRIX)
    matrix = cupy.random.standard_normal(shape, cupy.float32).astype(device.kind_of(form))
    product = cupy.empty(shape, cupy.float32)
    ms = _on_card(device, lambda: device.multiply(matrix, matrix, product, form))
    return 2 * _MATRIX**3 / ms


class _Race:
    """Ways to search the same rows, by turns."""

    def __init__(
        self,
        record: Recording,
        rows: Rows,
        queries: Floats,
        device: CupyDevice,
        rates: Rates,
        options: argparse.Namespace,
    ) -> None:
        self._record = record
        self._rows = rows
        self._queries = queries
        self._rates = rates
        self._options = options
        self._cards = {form: self._uploaded(device, form) for form in Format}

    def run(self, beside: Backend) -> None:
        """Every batch by every way, and the recall of each."""
        rows, asked = self._rows, self._queries[:_RECALL_QUERIES]
        neighbors = kept_neighbors(
            *(rows.vectors, asked, self._options.cache, _K),
            lambda: datasets.nearest(rows.vectors, asked, _K),
        )
        ways = {_NAMES[form]: answers(card, rows) for form, card in self._cards.items()}
        ways["codes on the processor"] = answers(beside, rows)
        for name, find in ways.items():
            self._record.figures[f"{name}: recall@{_K}"] = recall(find(asked, _K), neighbors)
        for batch in self._options.batches:
            self._bounds(batch)
            chosen: dict[str, Callable[[Floats, int], object]] = {}
            for form, card in self._cards.items():
                chosen[_NAMES[form]] = ways[_NAMES[form]]
                chosen[f"{_NAMES[form]}, without exact scores"] = _survivors(card, rows)
            if batch in self._options.beside:
                chosen["codes on the processor"] = ways["codes on the processor"]
            self._by_turns(batch, chosen)

    def _by_turns(self, batch: int, ways: dict[str, Callable[[Floats, int], object]]) -> None:
        samples = self._record.samples
        for number in track(
            range(-2, self._options.rounds), description=f"batch {batch}", transient=True
        ):
            places = np.arange(batch) + (number + 2) * batch
            asked = self._queries[places % len(self._queries)]
            for name, find in ways.items():
                began = time.perf_counter()
                find(asked, _K)
                if number >= 0:
                    taken = (time.perf_counter() - began) * 1e3
                    samples[f"batch {batch}, {name} ms"].append(taken)

    def _bounds(self, batch: int) -> None:
        """What the card cannot be faster than."""
        size, rates = self._rows.vectors.size, self._rates
        for form in Format:
            bounds = {
                "the memory takes": size * form.value_bytes / rates.bytes_a_ms,
                "the tensor cores take": 2 * size * batch / rates.operations_a_ms[form],
            }
            for bound, ms in bounds.items():
                self._record.figures[f"batch {batch}, {_NAMES[form]}: {bound} ms"] = ms

    def _uploaded(self, device: CupyDevice, form: Format) -> GpuBackend:
        card = GpuBackend(device, NumpyBackend(1), choose_format=lambda _: form)
        began = time.perf_counter()
        card.load(self._rows)
        assert card.loaded(self._rows), "the card has no room for the rows"
        seconds = time.perf_counter() - began
        self._record.figures[f"upload, {_NAMES[form]} s"] = seconds
        return card


def _survivors(card: GpuBackend, rows: Rows) -> Callable[[Floats, int], object]:
    """What may be in the answers."""
    return lambda queries, k: card.survivors(
        rows, Queries.of(queries, "cosine"), [Ask(k)] * len(queries), lambda: True
    )


def _start() -> dict[str, float]:
    """What starting the card takes in a process of its own; raises NotInstalled where there is none."""
    done = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotInstalled(done.stderr.strip().splitlines()[-1])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _on_card(device: CupyDevice, work: Callable[[], object]) -> float:
    """The median milliseconds that the card takes for some work, after once for nothing."""
    cuda = device.cupy.cuda
    taken = []
    for number in range(_REPEATS + 1):
        began, ended = cuda.Event(), cuda.Event()
        began.record(device.compute)
        work()
        ended.record(device.compute)
        ended.synchronize()
        if number:
            taken.append(cuda.get_elapsed_time(began, ended))
    return float(np.median(taken))


def _name_of(device: CupyDevice) -> str:
    properties = device.cupy.cuda.runtime.getDeviceProperties(0)
    driver = device.cupy.cuda.runtime.driverGetVersion()
    return f"{properties['name'].decode()}, CUDA {driver // 1000}.{driver % 1000 // 10}"


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(start_gpu(NumpyBackend(1))[1])))
    except DeviceError as error:
        sys.exit(f"There is no graphics card to measure: {error}")
