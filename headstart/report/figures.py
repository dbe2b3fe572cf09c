"""The figures of a run: what each of them shows, drawn by :mod:`headstart.report.drawing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.evaluation.metrics import wilson_interval
from headstart.report.drawing import (
    LARGE,
    LIGHT,
    SQUARE,
    Draw,
    Inks,
    dress,
    dressed_axes,
    in_percent,
    plain_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELED = 20  # classes; with more, a number for each no longer fits
_ANNOTATED = 30
#: The rows and columns of a confusion matrix, as in scikit-learn and in the plots of dvc.yaml.
CONFUSION_AXES = ("actual class, number", "predicted class, number")


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
        dress(top, inks, "accuracy", "")
        dress(below, inks, "images", "probability of the predicted class")
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
    return SQUARE if classes <= _LABELED else LARGE


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
