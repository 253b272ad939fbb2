"""The threads of the kernels never meet: a sanitizer watches them, compiled as C++."""

import subprocess
from pathlib import Path

import pytest

from kernels.gpu.kernel_source import source
from tests.conformance.compiled_kernel import COMPILER

# Three tiles of two queries: rows join, thresholds rise, lists are cleared.
_MAIN = """
#include <cstdio>
#include <random>
int main() {
    int queries = 2, rows = 300, kept = 1000, capacity = kept + rows;
    std::vector<float> products(queries * rows), norms(rows, 1), doubled(queries, 2);
    std::vector<float> margins(queries, .05f), thresholds(queries, -INFINITY);
    std::vector<float> estimates(queries * capacity);
    std::vector<int> wanted(queries, 10), counts(queries), settled(queries), sets(queries, -1);
    std::vector<int> list(queries * capacity);
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (int tile = 0; tile < 3; tile++) {
        for (float &one : products) one = normal(random);
        launch({2, queries}, 8, [&] {
            join_rows(products.data(), rows, norms.data(), rows, tile * rows, nullptr, sets.data(), 0,
                doubled.data(), capacity, thresholds.data(), counts.data(), list.data(),
                estimates.data());
        });
        launch({queries, 1}, 8, [&] {
            raise_thresholds(margins.data(), wanted.data(), kept, capacity, thresholds.data(),
                counts.data(), settled.data(), list.data(), estimates.data());
        });
    }
    std::puts(counts[0] >= 10 && counts[1] >= 10 ? "done" : "wrong");
}
"""


def watched(kernel: str, folder: Path) -> str:
    """What a run of the kernel prints, the sanitizer's reports among it."""
    made = folder / "watched"
    built = subprocess.run(
        [
            *(str(COMPILER), "-x", "c++", "-std=c++20", "-O1", "-fsanitize=thread", "-pthread"),
            *("-o", str(made), "-"),
        ],
        input=(Path(__file__).parent / "cuda.h").read_text() + kernel + _MAIN,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        pytest.skip(f"the compiler has no thread sanitizer: {built.stderr[-200:]}")
    done = subprocess.run([made], capture_output=True, text=True, check=False)
    if "FATAL: ThreadSanitizer" in done.stderr:
        pytest.skip("the thread sanitizer does not run on this kernel of Linux")
    return done.stdout + done.stderr


@pytest.mark.skipif(COMPILER is None, reason="there is no g++ to compile the kernel with")
def test_no_thread_reads_what_another_writes(tmp_path: Path) -> None:
    assert watched(source(), tmp_path) == "done\n"


@pytest.mark.skipif(COMPILER is None, reason="there is no g++ to compile the kernel with")
def test_a_barrier_that_is_missing_is_found(tmp_path: Path) -> None:
    """The one that has everybody read a stretch of a list before anybody writes into it."""
    marked = "before anybody writes into it.\n        __syncthreads();"
    assert marked in source()
    assert "data race" in watched(source().replace(marked, "\n"), tmp_path)
