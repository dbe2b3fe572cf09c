"""The figures of a run as PNG files whose bytes depend on the numbers alone.

Every figure is drawn twice on a transparent background, in colors for a light and for a dark page.
It holds digits and fixed words only: class names can be in any script, for which there may be no
font, and are on the page instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.collection import uncollected
from headstart._utils.files import write_bytes
from headstart.evaluation.metrics import wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 200
_INCHES = (3.2, 2.4)  # about as wide as one of three on a page, so that the text stays readable
WIDE, SQUARE = (4.4, 2.9), (4.4, 3.9)  # one of two on a page
_LARGE = (8.8, 8.2)
_LABELED = 20  # classes; with more, a number for each no longer fits
_ANNOTATED = 30
#: The rows and columns of a confusion matrix, as in scikit-learn and in the plots of dvc.yaml.
CONFUSION_AXES = ("actual class, number", "predicted class, number")
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


def write(folder: Path, name: str, draw: Draw, size: tuple[float, float] = _INCHES) -> None:
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


def curves(column: str, head: pd.DataFrame, tuned: pd.DataFrame) -> Draw:
    """Return training and validation by epoch; fine-tuning continues where the head ended.

    Parameters
    ----------
    column : "loss" | "accuracy"
    head, tuned : DataFrame
        Histories of epochs (:mod:`headstart.training.history`); either may be empty.
    """

    def draw(figure: Figure, inks: Inks) -> None:
        axes = dressed_axes(figure, inks, column, "epoch")
        parts = ((head, 0), (tuned, len(head)))
        for table, start in parts:
            epochs = table["epoch"].to_numpy() + start
            marker = "o" if len(table) == 1 else ""
            named = start == 0 or not len(head)
            for name, title, color, style in (
                (column, "training", inks.second, (0, (4, 1.5))),
                (f"val_{column}", "validation", inks.first, "-"),
            ):
                label = title if named and len(table) else None
                axes.plot(
                    epochs, table[name], color=color, linestyle=style, marker=marker, label=label
                )
        if len(head) and len(tuned):
            axes.axvline(len(head) + 0.5, color=inks.text, linewidth=0.8, linestyle=":")
            axes.annotate(
                "fine-tuning", (len(head) + 0.5, 1), (0, 3), va="bottom", ha="center", fontsize=8,
                xycoords=("data", "axes fraction"), textcoords="offset points",
            )  # fmt: skip
        _whole_numbers(axes)
        if column == "accuracy":
            in_percent(axes.yaxis)
        axes.legend(loc="best")

    return draw


def batches(table: pd.DataFrame) -> Draw:
    """Return the loss of each batch of the head's training, and its moving average."""

    def draw(figure: Figure, inks: Inks) -> None:
        axes = dressed_axes(figure, inks, "loss", "batch")
        steps, loss = table["step"].to_numpy(), table["loss"].to_numpy()
        dot = max(0.5, min(3.0, 400 / max(1, len(steps))))
        axes.plot(steps, loss, ".", color=inks.second, markersize=dot, alpha=0.55, label="batch")
        size = max(1, round(len(steps) / max(1, table["epoch"].nunique())))
        if size > 1:
            mean = np.convolve(loss, np.ones(size) / size, mode="valid")
            axes.plot(steps[size - 1 :], mean, color=inks.first, label=f"mean of {size:,}")
        _whole_numbers(axes)
        if len(loss) and loss.min() > 0 and loss.max() > 30 * np.median(loss):
            axes.set_yscale("log")
            plain_numbers(axes.yaxis)
        axes.legend(loc="best", markerscale=3)

    return draw


def calibration(table: pd.DataFrame) -> Draw:
    """Return accuracy over confidence with 95 % intervals, and the number of images per bin.

    Parameters
    ----------
    table : DataFrame
        ``confidence``, ``accuracy`` and ``count`` of the bins that hold images.
    """

    def draw(figure: Figure, inks: Inks) -> None:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        _dress(top, inks, "accuracy", "")
        _dress(below, inks, "images", "probability of the predicted class")
        top.plot((0, 1), (0, 1), color=inks.text, linewidth=0.8, linestyle=":")
        right = (table["accuracy"] * table["count"]).round().astype(int)
        bounds = [wilson_interval(r, n) for r, n in zip(right, table["count"], strict=True)]
        x, y = table["confidence"].to_numpy(), table["accuracy"].to_numpy()
        if bounds:
            low, high = np.array(bounds).T
            top.vlines(x, low, high, color=inks.first, linewidth=1, alpha=0.6)
        top.plot(x, y, "-", color=inks.first, marker="o", markersize=4)
        below.vlines(x, 0.7, table["count"], color=inks.second, linewidth=4)
        below.set_yscale("log")
        below.set_ylim(bottom=0.7)
        plain_numbers(below.yaxis)
        top.set(xlim=(0, 1.02), ylim=(0, 1.03))
        in_percent(top.yaxis)
        in_percent(below.xaxis)

    return draw


def sizes(images: pd.DataFrame, image_size: int) -> Draw:
    """Return width and height of the images, and the square that the network sees.

    Parameters
    ----------
    images : DataFrame
        ``width`` and ``height``.
    image_size : int
    """

    def draw(figure: Figure, inks: Inks) -> None:
        from matplotlib.patches import Rectangle

        axes = dressed_axes(figure, inks, "height", "width, pixels")
        both = images[["width", "height"]].value_counts().reset_index(name="n")
        width, height = both["width"], both["height"]
        area = 6 + 90 * both["n"].to_numpy() / both["n"].max()
        axes.scatter(width, height, s=area, color=inks.first, alpha=0.45, linewidths=0)
        square = Rectangle(
            (0, 0), image_size, image_size, fill=False, edgecolor=inks.second, linestyle="--"
        )
        axes.add_patch(square)
        axes.set_xlim(0, 1.06 * max(width.max(), image_size))
        axes.set_ylim(0, 1.06 * max(height.max(), image_size))
        far = 2 * image_size > axes.get_xlim()[1]
        axes.annotate(
            f"the network sees {image_size} × {image_size}", (image_size, 0),
            (-4 if far else 4, 4), textcoords="offset points", ha="right" if far else "left",
            color=inks.second, fontsize=8,
        )  # fmt: skip

    return draw


def confusion(counts: npt.NDArray[np.int64]) -> Draw:
    """Return a confusion matrix: row = actual class, column = predicted class, both by number.

    Parameters
    ----------
    counts : ndarray of shape (n_classes, n_classes), int64
    """

    def draw(figure: Figure, inks: Inks) -> None:
        from matplotlib.colors import LinearSegmentedColormap, PowerNorm

        n = len(counts)
        axes = dressed_axes(figure, inks, *CONFUSION_AXES, grid=False)
        rows = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
        colors = LinearSegmentedColormap.from_list("scale", inks.scale)
        # The square root makes one mistake in a hundred visible beside the diagonal.
        shown = axes.imshow(
            shares, cmap=colors, norm=PowerNorm(0.5, 0, 1), interpolation="nearest", aspect="equal"
        )
        step = 1 if n <= _LABELED else 5 if n <= 60 else 10
        places = np.arange(0 if n <= _LABELED else step - 1, n, step)
        axes.set_xticks(places, [f"{place + 1}" for place in places])
        axes.set_yticks(places, [f"{place + 1}" for place in places])
        axes.xaxis.set_ticks_position("top")
        axes.xaxis.set_label_position("top")
        axes.spines[["top", "right"]].set_visible(True)
        if n <= _ANNOTATED:
            for i, j in np.argwhere(counts):
                strong = shares[i, j] > 0.25
                color = ("#ffffff" if inks is LIGHT else "#0b1420") if strong else inks.text
                axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=color,
                          fontsize=max(4.0, min(9.0, 90 / n)))  # fmt: skip
        bar = figure.colorbar(
            shown, ax=axes, fraction=0.045, pad=0.02, aspect=30, ticks=(0, 0.05, 0.25, 0.5, 1)
        )
        in_percent(bar.ax.yaxis)
        bar.outline.set_visible(False)

    return draw


def confusion_size(classes: int) -> tuple[float, float]:
    """Return the size in inches of a confusion matrix."""
    return SQUARE if classes <= _LABELED else _LARGE


def dressed_axes(figure: Figure, inks: Inks, y: str, x: str, *, grid: bool = True) -> Axes:
    """Return the only axes of a figure, with their labels."""
    axes = figure.subplots()
    _dress(axes, inks, y, x, grid=grid)
    return axes


def _dress(axes: Axes, inks: Inks, y: str, x: str, *, grid: bool = True) -> None:
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


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
