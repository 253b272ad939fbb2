"""Figures show what records have, and nothing else."""

from bench.series import Record, figures_of

DATA = {"data": "set, 1,000 x 8"}


def record(
    benchmark: str,
    samples: dict[str, list[float]] | None = None,
    figures: dict[str, float] | None = None,
) -> Record:
    return {
        "benchmark": benchmark,
        "settings": DATA,
        "samples": samples or {},
        "figures": figures or {},
    }


def test_nothing_is_drawn_of_nothing() -> None:
    assert figures_of([record("ingest", {"upsert ms": [1.0]}, {"vectors/s": 5.0})]) == []


def test_cold_starts_of_all_engines_share_a_figure() -> None:
    own = record("cold_start", {"warm: client ms": [3.0, 1.0], "warm: fork ms": [1.0]})
    peers = record(
        "cold_peers", {"faiss: cold, page cache warm ms": [9.0], "faiss: warm ms": [1.0]}
    )
    (figure,) = figures_of([own, peers])
    assert [line.name for line in figure.lines] == [
        "Torpor, a sleeping index (1,000 x 8)",
        "faiss, cold, page cache warm (1,000 x 8)",
    ]
    assert (figure.lines[0].x, figure.lines[0].y) == ([1.0, 3.0], [50.0, 100.0])


def test_a_rate_without_a_recall_is_no_point() -> None:
    own = record(
        "throughput",
        figures={
            "1 in flight: queries/s": 100.0,
            "1 in flight: recall@10": 1.0,
            "4 in flight: queries/s": 300.0,
        },
    )
    (figure,) = figures_of([own])
    (line,) = figure.lines
    assert (line.x, line.y, line.labels) == ([1.0], [100.0], ["1 in flight"])


def test_idle_times_of_a_day_are_a_curve_for_each_kind_of_traffic() -> None:
    figures: dict[str, float] = {}
    for pattern in ("Poisson", "bursts"):
        for idle in (1, 60):
            name = f"{pattern}, idle {idle} s"
            figures |= {
                f"{name}: awake, of always on %": 2.0 * idle,
                f"{name}: mean ms": 30.0 / idle,
            }
            figures[f"{name}: queries that were cold %"] = 50.0 / idle
    (figure,) = figures_of([record("duty_cycle", figures=figures)])
    assert [line.name for line in figure.lines] == ["Poisson (1,000 x 8)", "bursts (1,000 x 8)"]
    assert figure.lines[0].x == [2.0, 120.0] and figure.lines[0].labels[0] == "1 s, 50 % cold"
