"""A figure as two PNG files whose bytes depend on the numbers alone.

It is drawn twice on a transparent background, in colors for a light and for a dark page. It holds
digits and fixed words only: class names can be in any script, for which there may be no font, and
are on the page instead.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.collection import uncollected
from headstart._utils.files import write_bytes
from headstart._utils.forked import Forked
from headstart._utils.machine import cores
from headstart.stage import watchdog

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 200
INCHES = (3.2, 2.4)  # about as wide as one of three on a page, so that the text stays readable
WIDE, SQUARE = (4.4, 2.9), (4.4, 3.9)  # one of two on a page
LARGE = (8.8, 8.2)
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "text.parse_math": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "path.sketch": None,
}


@dataclass(frozen=True)
class Inks:
    """Colors of one rendering: text, faint lines, two kinds of data, and the scale of a map."""

    name: str
    text: str
    faint: str
    first: str
    second: str
    scale: tuple[str, ...]


LIGHT = Inks(
    "light", "#3d4552", "#dde1e7", "#1f63b5", "#c2560c",
    ("#ffffff00", "#d8e6f6", "#7fb0e3", "#1f63b5", "#0d2c57"),
)  # fmt: skip
DARK = Inks(
    "dark", "#b9c1cd", "#343b46", "#6cabf2", "#f29a52",
    ("#00000000", "#1b3350", "#2f669f", "#6cabf2", "#dcebff"),
)  # fmt: skip
Draw = Callable[["Figure", Inks], None]


@dataclass(frozen=True)
class Drawing:
    """A figure to be written: the name of its files, what draws it, its size in inches."""

    name: str
    draw: Draw
    size: tuple[float, float] = INCHES


def write_figures(folder: Path, drawings: Sequence[Drawing]) -> None:
    """Write figures with two cores: every second one in a copy of this process.

    Where no copy can be made, all are written here. So are those of a copy that failed: its error,
    of a full disk for example, then comes from here.
    """
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401 - imported once, for both processes

    def write_all(some: Sequence[Drawing]) -> None:
        for each in some:
            write(folder, each.name, each.draw, each.size)

    starter = os.getpid()

    def follow() -> None:
        watchdog.die_with_parent(starter, signal.SIGKILL)
        write_all(drawings[1::2])

    if sys.platform != "linux" or cores() < 2:
        write_all(drawings)
        return
    with tempfile.TemporaryFile() as output:
        try:
            copy = Forked(follow, output)
        except OSError:
            write_all(drawings)
            return
        try:
            write_all(drawings[::2])
            if copy.wait() != 0:
                write_all(drawings[1::2])
        finally:
            copy.close()


def write(folder: Path, name: str, draw: Draw, size: tuple[float, float] = INCHES) -> None:
    """Write ``NAME-light.png`` and ``NAME-dark.png``.

    Parameters
    ----------
    folder : Path
    name : str
    draw : callable
        Draws on an empty figure in the given inks.
    size : tuple of float
        Width and height in inches, at 200 pixels an inch.
    """
    import io

    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    laid_out: Figure | None = None
    for inks in (LIGHT, DARK):
        with mpl.rc_context(), uncollected():
            mpl.rcParams.update(_style(inks))
            figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure, inks)
            laid_out = _lay_out(figure, laid_out)
            content = io.BytesIO()
            figure.savefig(
                content, format="png", transparent=True, metadata={"Software": None}, dpi=_DPI
            )
        write_bytes(folder / f"{name}-{inks.name}.png", content.getvalue())


def _lay_out(figure: Figure, other: Figure | None) -> Figure:
    """Place the axes as in a figure that differs in color alone, or find their places; return it.

    Finding them measures all texts, more than once, and ``savefig`` would draw everything another
    time for it.
    """
    if other is None:
        engine = figure.get_layout_engine()
        assert engine is not None  # noqa: S101 - it is the constrained one; tells mypy
        engine.execute(figure)
    else:
        for axes, placed in zip(figure.axes, other.axes, strict=True):
            axes.set_position(placed.get_position(original=True))
            if placed.get_box_aspect() is not None:  # the bar of a confusion matrix
                axes.set(aspect="auto", anchor=placed.get_anchor())
                axes.set_box_aspect(placed.get_box_aspect())
    figure.set_layout_engine(None)  # With any engine, savefig draws twice.
    return figure


def _style(inks: Inks) -> dict[Any, Any]:
    import matplotlib as mpl

    # The defaults, too: a user's matplotlibrc must not change bytes.
    defaults = {key: value for key, value in mpl.rcParamsDefault.items() if "backend" not in key}
    return {
        **defaults,
        **_STYLE,
        "text.color": inks.text,
        "axes.labelcolor": inks.text,
        "axes.edgecolor": inks.text,
        "xtick.color": inks.text,
        "ytick.color": inks.text,
        "axes.titlecolor": inks.text,
    }


def dressed_axes(figure: Figure, inks: Inks, y: str, x: str, *, grid: bool = True) -> Axes:
    """Return the only axes of a figure, with their labels."""
    axes = figure.subplots()
    dress(axes, inks, y, x, grid=grid)
    return axes


def dress(axes: Axes, inks: Inks, y: str, x: str, *, grid: bool = True) -> None:
    """Set labels, ticks and grid of axes."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.tick_params(length=3, width=0.8)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(color=inks.faint, linewidth=0.8)


def in_percent(axis: Any) -> None:
    """Write the numbers of an axis as percentages."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=None, symbol=" %"))


def plain_numbers(axis: Any) -> None:
    """Write plain numbers: matplotlib's labels of a logarithmic scale need its math font."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())
