"""Draws a figure of the report; needs matplotlib."""

from itertools import cycle
from pathlib import Path

from bench.errors import NotInstalled
from bench.series import Figure

_INCHES = (12, 5)
_MARKERS = "osD^vP*X"


def draw(figure: Figure, path: Path) -> None:
    """Writes a figure as SVG, the same bytes for the same points; raises NotInstalled."""
    try:
        import matplotlib as mpl

        mpl.use("svg")
        from matplotlib import pyplot as plt
    except ModuleNotFoundError:
        raise NotInstalled("Figures need matplotlib; `make report` installs it.") from None
    # Ids in the file are made from this instead of at random.
    mpl.rcParams["svg.hashsalt"] = "torpor"
    drawn, axes = plt.subplots(figsize=_INCHES, layout="constrained")
    for line, marker in zip(figure.lines, cycle(_MARKERS), strict=False):
        # A line of many points is a curve; a few points are shown as such.
        many = len(line.x) > 20
        axes.plot(
            line.x,
            line.y,
            label=line.name,
            marker="" if many else marker,
            linestyle="-" if figure.connected else "",
        )
        for x, y, label in zip(line.x, line.y, line.labels, strict=False):
            axes.annotate(label, (x, y), (4, 4), textcoords="offset points", fontsize=7)
    if "x" in figure.log:
        axes.set_xscale("log")
    if "y" in figure.log:
        axes.set_yscale("log")
    axes.set(title=figure.title, xlabel=figure.x, ylabel=figure.y)
    axes.grid(visible=True, alpha=0.3)
    # Beside the lines, not on them.
    drawn.legend(fontsize=8, loc="outside right upper")
    drawn.savefig(path, format="svg", metadata={"Date": None})
    plt.close(drawn)
