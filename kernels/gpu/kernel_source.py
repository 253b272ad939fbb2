"""The source of the selection kernel, as it is packaged."""

from pathlib import Path

from kernels.queries import Metric

KERNEL = "select_rows"
# What the kernel calls metrics.
METRICS: dict[Metric, int] = {"dotproduct": 0, "cosine": 1, "euclidean": 2}


def source() -> str:
    """CUDA C++ without includes."""
    return (Path(__file__).parent / "select_rows.cu").read_text()
