"""Drawings of a page as SVG text: curves, and what was taken for what. Colours are the page's, for light and dark."""

from __future__ import annotations

import math
from html import escape
from itertools import pairwise

import numpy as np

WIDTH, HEIGHT = 440, 240  # of a drawing, in its own units; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 10, 36  # room for the axes
COLOURS = 8  # classes s0 ... s7 of page.css
MOST = 1e100  # beyond, and NaN, is no value of a curve
HIDDEN = 1 / 1000  # pairs rarer than this share are not drawn, as in the R torch book, chapter 22

Points = list[tuple[float, float]]


def curves(series: dict[str, Points], x: str, y: str, colours: list[int] | None = None) -> str:
    """Lines with their points; y is logarithmic where all values are positive and spread over more than a decade.

    Args:
        series: points by name; those that are not finite are left out.
        x, y: what the axes are; y stands over the drawing, and is told to who cannot see it.
        colours: of the series, where something else tells of their names; null: one each, with the names below.
    """
    shown = {name: [p for p in points if abs(p[1]) < MOST] for name, points in series.items()}
    places = [p for points in shown.values() for p in points]
    if not places:
        return ""
    values = [v for _, v in places]
    log = min(values) > 0 and max(values) > 10 * min(values)
    across = _scale([p[0] for p in places], LEFT, WIDTH - RIGHT, False)
    up = _scale(values, HEIGHT - BOTTOM, TOP, log)
    parts = [_axes(across, up, x)]
    for number, (name, points) in enumerate(shown.items()):
        line = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in points)
        style = f"s{(colours[number] if colours else number) % COLOURS}"
        dots = "".join(_dot(name, x, point, across, up) for point in points) if len(points) <= 200 else ""
        parts.append(f'<g class="{style}"><polyline points="{line}"><title>{escape(name)}</title></polyline>{dots}</g>')
    drawing = (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y)}">{"".join(parts)}</svg>'
    )
    names = "".join(f'<li class="s{i % COLOURS}">{escape(name)}</li>' for i, name in enumerate(shown))
    return drawing + (f'<ul class="legend">{names}</ul>' if colours is None and len(shown) > 1 else "")


def _dot(name: str, x: str, point: tuple[float, float], across: _Scale, up: _Scale) -> str:
    told = escape(f"{name}: {point[1]:.4g} ({x} {point[0]:g})")
    return f'<circle cx="{across(point[0]):.1f}" cy="{up(point[1]):.1f}" r="2.5"><title>{told}</title></circle>'


class _Scale:
    """From values to places in a drawing."""

    def __init__(self, low: float, high: float, begin: float, end: float, log: bool) -> None:
        self.low, self.high, self.begin, self.end, self.log = low, high, begin, end, log

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.begin + (self.end - self.begin) * (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values, about five."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [10.0**d for d in decades if self.low <= 10.0**d <= self.high]
            if len(found) < 3:
                found = [m * 10.0**d for d in decades for m in (1, 2, 5) if self.low <= m * 10.0**d <= self.high]
            return found[:: max(1, len(found) // 5)]
        rough = (self.high - self.low) / 5
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def told(self, value: float) -> str:
        """A tick in as many digits as tell it from the next."""
        spread = 1.0 if self.log else abs(value) / ((self.high - self.low) / 5)
        return f"{value:.{max(4, 2 + math.ceil(math.log10(max(spread, 1))))}g}"


def _scale(values: list[float], begin: float, end: float, log: bool) -> _Scale:
    low, high = min(values), max(values)
    if log:
        return _Scale(low / 1.1, high * 1.1, begin, end, True)
    room = 0.04 * (high - low) or max(abs(high) * 0.05, 1e-9)
    return _Scale(low - room, high + room, begin, end, False)


def _axes(across: _Scale, up: _Scale, x: str) -> str:
    parts = []
    for value in up.ticks():
        at = up(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{up.told(value)}</text>')
    for value in (tick for tick in across.ticks() if tick == round(tick)):  # epochs
        at = across(value)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:.4g}</text>')
    under = f"{escape(x)}{' (logarithmic scale upwards)' if up.log else ''}"
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{under}</text>')
    return "".join(parts)


def waveform(samples: np.ndarray, width: int, height: int, peak: float) -> str:
    """The path of a waveform's envelope, least to greatest value in each of `width` stretches; `peak` is half the height.

    Shape: samples (time,).
    """
    edges = np.linspace(0, len(samples), min(width, len(samples)) + 1).astype(int)
    places = np.linspace(0, width, len(edges))
    middle = height / 2
    scale = middle / (peak or 1.0)
    top = [(x, middle - scale * float(samples[a:b].max())) for x, (a, b) in zip(places, pairwise(edges), strict=False)]
    low = [(x, middle - scale * float(samples[a:b].min())) for x, (a, b) in zip(places, pairwise(edges), strict=False)]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in [*top, *reversed(low)]) + "Z"


def alluvial(counts: np.ndarray, classes: list[str]) -> str:
    """A band for each pair: what it was on the left, what it was taken for on the right. Shape: counts (classes, classes)."""
    total, gap = max(1, counts.sum()), 13.0  # of a name's height, so that the names of rare classes do not meet
    unit = max(240.0, 9.0 * len(classes)) / total
    size = unit * total + gap * len(classes)
    begins = [np.concatenate([[0.0], np.cumsum(side * unit + gap)[:-1]]) for side in (counts.sum(1), counts.sum(0))]
    used = [b.copy() for b in begins]
    bands, labels = [], []
    for was, named in np.ndindex(*counts.shape):
        wide = counts[was, named] * unit
        a, b = used[0][was], used[1][named]
        used[0][was] += wide
        used[1][named] += wide
        if counts[was, named] < max(1, HIDDEN * total):
            continue
        style = "right" if was == named else f"s{was % COLOURS}"
        told = f"{classes[was]} taken for {classes[named]}: {counts[was, named]}"
        bands.append(
            f'<path class="{style}" data-cell="{was},{named}" d="M120 {a:.1f}C320 {a:.1f} 320 {b:.1f} 520 {b:.1f}'
            f'L520 {b + wide:.1f}C320 {b + wide:.1f} 320 {a + wide:.1f} 120 {a + wide:.1f}Z"><title>{escape(told)}</title></path>'
        )
    for side, x, anchor in ((0, 114, "end"), (1, 526, "start")):
        for number, name in enumerate(classes):
            count = counts.sum(1 - side)[number]
            if count:
                middle = begins[side][number] + count * unit / 2 + 4
                labels.append(f'<text x="{x}" y="{middle:.1f}" text-anchor="{anchor}">{escape(name)} {count}</text>')
    bands.sort(key=lambda band: 'class="right"' not in band)  # mistakes lie over what is right
    return (
        f'<svg class="alluvial" viewBox="0 -6 640 {size + 12:.0f}" role="img" aria-label="what was taken for what">'
        f"{''.join(bands)}{''.join(labels)}</svg>"
    )
