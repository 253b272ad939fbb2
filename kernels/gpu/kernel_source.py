"""The source of the selection kernels, as it is packaged."""

from pathlib import Path

from kernels.queries import Metric

JOIN, RAISE = KERNELS = ("join_rows", "raise_thresholds")
# What the kernels call metrics.
METRICS: dict[Metric, int] = {"dotproduct": 0, "cosine": 1, "euclidean": 2}


def source() -> str:
    """CUDA C++ without includes."""
    return (Path(__file__).parent / "selection.cu").read_text()
