"""What a classifier confuses, drawn as a matrix and as an alluvial plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from speechml.report.drawing import literal, make_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_SHARE = 1 / 1000  # pairs rarer than this share of all items are not drawn, as in the R torch book, chapter 22


def draw_confusion(counts: np.ndarray, classes: Sequence[str], item_name: str = "clips") -> Figure:
    """Draw a confusion matrix, rows the true classes, columns the predicted ones, in % of the row.

    Shape: counts (true class, predicted class).
    """
    size = max(5.0, 0.32 * len(classes) + 2)
    figure, (axis,) = make_axes(size=(size + 1, size))
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    axis.grid(False)
    names = [literal(name) for name in classes]
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    title = f"confusion matrix, {counts.sum()} test {item_name}, % of each row"
    axis.set(xlabel="predicted class", ylabel="true class", title=title)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if share[row, column] > 50 else "black"
        axis.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axis, shrink=0.8)
    return figure


def alluvial_pairs(counts: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (true class, predicted class) that are drawn. Shape: counts (classes, classes)."""
    drawn = counts >= max(1, MIN_SHARE * counts.sum())
    return [(int(true), int(predicted)) for true, predicted in zip(*np.nonzero(drawn), strict=True)]


def draw_alluvial(counts: np.ndarray, classes: Sequence[str], item_name: str = "clips") -> Figure:
    """Draw a band from each predicted class on the left to each true one on the right, as the R torch book, chapter 22, does.

    Bands are as wide as their number of items; correct predictions are grey. Shape: counts (true class, predicted class).
    """
    from matplotlib import colormaps
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    figure, (axis,) = make_axes(size=(9, max(5.0, 0.35 * len(classes) + 1)))
    axis.set_axis_off()
    gap = 0.01 * counts.sum()
    sides = [counts.sum(0), counts.sum(1)]
    begins = [np.concatenate([[0.0], np.cumsum(sizes + gap)[:-1]]) for sizes in sides]
    for side, (sizes, tops) in enumerate(zip(sides, begins, strict=True)):
        for name, begin, size in zip(classes, tops, sizes, strict=True):
            if size:
                axis.plot([side, side], [-begin, -begin - size], color="black", linewidth=3, solid_capstyle="butt")
                x, align = (1.02, "left") if side else (-0.02, "right")
                axis.text(x, -begin - size / 2, literal(f"{name} {size}"), ha=align, va="center", fontsize=8)
    palette = [colormaps["tab20"](i) for i in range(20) if i // 2 != 7]  # without its greys
    curve = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
    used, drawn = [tops.copy() for tops in begins], set(alluvial_pairs(counts))
    for predicted, true in np.ndindex(*counts.T.shape):
        size = counts[true, predicted]
        a, b = -used[0][predicted], -used[1][true]
        used[0][predicted] += size
        used[1][true] += size
        if (true, predicted) not in drawn:
            continue
        corners = [(0, a), (0.5, a), (0.5, b), (1, b), (1, b - size), (0.5, b - size), (0.5, a - size), (0, a - size)]
        colour, alpha = ("0.8", 0.4) if true == predicted else (palette[true % len(palette)], 0.8)
        axis.add_patch(PathPatch(Path(corners, curve), facecolor=colour, alpha=alpha, linewidth=0))
    title = f"predicted class (left) and true class (right; grey: correct), {counts.sum()} test {item_name}"
    axis.set_title(f"{title}; pairs below {MIN_SHARE:.1%} are not drawn", fontsize=9)
    axis.set_xlim(-0.25, 1.25)
    return figure
