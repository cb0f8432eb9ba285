"""An alluvial plot: what was said on the left, what was recognised on the right, a band for each pair."""

from __future__ import annotations

from typing import Any

import numpy as np

from speechml.callbacks.drawing import canvas

HIDDEN = 1 / 1000  # pairs rarer than this share of all items are not drawn, as in the R torch book, chapter 22


def drawn_pairs(counts: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (said, recognised) that are drawn. Shape: counts (classes, classes)."""
    shown = counts >= max(1, HIDDEN * counts.sum())
    return [(int(said), int(named)) for said, named in zip(*np.nonzero(shown), strict=True)]


def alluvial(counts: np.ndarray, classes: list[str]) -> Any:
    """Bands as wide as their number of items; what was recognised rightly is grey. Shape: counts (classes, classes)."""
    from matplotlib import colormaps
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    figure, axis = canvas(size=(9, max(5.0, 0.35 * len(classes) + 1)))
    axis.set_axis_off()
    total = counts.sum()
    gap = 0.01 * total
    left, right = (_begins(counts.sum(1), gap), _begins(counts.sum(0), gap))
    for begins, sizes, x, side in ((left, counts.sum(1), 0.0, "right"), (right, counts.sum(0), 1.0, "left")):
        for name, begin, size in zip(classes, begins, sizes, strict=True):
            if size:
                axis.plot([x, x], [-begin, -begin - size], color="black", linewidth=3, solid_capstyle="butt")
                axis.text(
                    x + (0.02 if x else -0.02), -begin - size / 2, f"{name} {size}", ha=side, va="center", fontsize=8
                )
    palette = [colormaps["tab20"](i) for i in range(20) if i // 2 != 7]  # without its greys
    used_left, used_right = left.copy(), right.copy()
    shown = set(drawn_pairs(counts))
    for said in range(len(classes)):
        for named in range(len(classes)):
            size = counts[said, named]
            a, b = -used_left[said], -used_right[named]
            used_left[said] += size
            used_right[named] += size
            if (said, named) not in shown:
                continue
            corners = [
                (0, a),
                (0.5, a),
                (0.5, b),
                (1, b),
                (1, b - size),
                (0.5, b - size),
                (0.5, a - size),
                (0, a - size),
            ]
            codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
            right_one = said == named
            colour = "0.8" if right_one else palette[said % len(palette)]
            axis.add_patch(
                PathPatch(Path(corners, codes), facecolor=colour, alpha=0.4 if right_one else 0.8, linewidth=0)
            )
    axis.set_title(
        f"said (left), recognised (right; grey: rightly), {total} test clips; pairs below {HIDDEN:.1%} are not drawn",
        fontsize=9,
    )
    axis.set_xlim(-0.25, 1.25)
    return figure


def _begins(sizes: np.ndarray, gap: float) -> np.ndarray:
    """Where each class begins, with gaps between them."""
    return np.concatenate([[0.0], np.cumsum(sizes + gap)[:-1]])
