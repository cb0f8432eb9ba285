"""Charts of a page, as its script draws them: what is in them, in which colours, on which scales."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechml.contracts import Config
from speechml.report.certainty import chance_of
from speechml.report.drawing import COLOURS, MAX_VALUE, is_logarithmic
from speechml.report.finished_run import LOSSES
from speechml.report.summary import COLUMNS, TITLES, WAVEFORM_TITLES, score_name
from speechml.runs.card import RunCard
from speechml.runs.labels import load_config
from speechml.storage.plain_files import read_plain

POINTS = 80  # of a curve: more would be nearer to one another than a pixel of a small chart
DIGITS = 4

Curve = list[tuple[float, float]]  # (epoch, from 1; value)


@dataclass(frozen=True)
class Series:
    """Points of one kind: a line, or dots that say what they are of when the pointer is on them."""

    name: str
    colour: str  # a class of the style: a split or reference (COLOURS), or s0 to s7
    points: Sequence[tuple[float, float]]
    form: str = "line"  # line, dots, step
    titles: Sequence[str] = ()


class Level(NamedTuple):
    """A horizontal line: what the noisy input has, say."""

    name: str
    colour: str
    value: float


@dataclass(frozen=True)
class Chart:
    """A chart of a page."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    levels: Sequence[Level] = ()
    x_log: bool = False
    y_log: bool = False
    legend: bool = True  # of the series; levels have one in any case

    def to_json(self) -> Config:
        """What the page's script draws."""
        content = {key: getattr(self, key) for key in ("title", "x", "y", "x_log", "y_log", "legend")}
        series = [asdict(one) | {"points": [list(map(_short, point)) for point in one.points]} for one in self.series]
        return content | {
            "series": series,
            "levels": [one._replace(value=_short(one.value))._asdict() for one in self.levels],
        }


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def style_of_colours() -> str:
    """The colours of splits and references as variables and classes of CSS, on light pages and on dark ones."""
    light, dark = ("".join(f"--{name}: {pair[shade]}; " for name, pair in COLOURS.items()) for shade in (0, 1))
    classes = " ".join(f".{name} {{ color: var(--{name}); }}" for name in COLOURS)
    return f":root {{ {light}}}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n{classes}\n"


def load_metrics(folder: Path) -> dict[str, Curve]:
    """The columns of metrics.csv against the epoch, from 1, without what is not finite; nothing where there is no such table."""
    curves: dict[str, Curve] = {}
    with suppress(OSError, csv.Error, ValueError):
        lines = io.StringIO(read_plain(folder, "metrics.csv").decode(), newline="")
        for epoch, row in enumerate(csv.DictReader(lines), 1):
            for name in row.keys() - {None, "epoch", "step"}:
                with suppress(ValueError, TypeError):  # an epoch without this score
                    if abs(value := float(row[name])) < MAX_VALUE:
                        curves.setdefault(name, []).append((epoch, value))
    return dict(sorted(curves.items()))


def thin_curve(curve: Curve) -> Curve:
    """At most POINTS points of a curve at equal distances, the first and the last among them."""
    places = np.linspace(0, len(curve) - 1, min(POINTS, len(curve))).round().astype(int)
    return [curve[place] for place in places]


def loss_of(config: Config) -> str:
    """What the losses of a run are, as POSITIVE of `drawing` has it; nothing where that is a module of the user's own."""
    model = config.get("model")
    loss = model.get("loss", "") if isinstance(model, dict) else ""
    return "cross entropy" if loss is None else loss if isinstance(loss, str) else ""


def curve_chart(title: str, curves: Mapping[str, Curve], what: str, levels: Sequence[Level] = ()) -> Chart | None:
    """Curves in the colours of their splits; None where none has a point. `what` is the score or loss by its own name."""
    drawn = {name: thin_curve(curve) for name, curve in curves.items() if curve}
    values = [value for curve in drawn.values() for _, value in curve] + [level.value for level in levels]
    if not drawn:
        return None
    series = [Series(name, name.partition("/")[0], curve) for name, curve in drawn.items()]
    return Chart(f"{title} per epoch", "epoch", title, series, levels, y_log=is_logarithmic(values, what))


def training_charts(folder: Path, card: RunCard, columns: Mapping[str, np.ndarray] | None) -> list[Chart]:
    """The losses, then each score of the validation set, with the levels of the input and of what it is measured by."""
    metrics, config = load_metrics(folder), {}
    with suppress(Exception):  # a config that cannot be read is said elsewhere
        config = load_config(folder)
    loss = loss_of(config)
    title = f"loss ({loss})" if loss else "loss"
    charts = [curve_chart(title, {name: metrics[name] for name in LOSSES if name in metrics}, loss)]
    for name in metrics:
        split, _, score = name.partition("/")
        if split == "val" and score in TITLES and score != "loss":
            curves = {each: metrics[each] for each in (f"train/{score}", name) if each in metrics}
            levels = score_levels(score, metrics, card, columns)
            charts.append(curve_chart(TITLES[score], curves, score, levels))
    return [chart for chart in charts if chart]


def score_levels(
    score: str, metrics: Mapping[str, Curve], card: RunCard, columns: Mapping[str, np.ndarray] | None = None
) -> list[Level]:
    """What a score is of the noisy input and of references, or by chance and of always naming the most frequent class.

    The input's is that of the validation set where gains over it are known, and else of the test set, as references' are.
    """
    levels = []
    if score == "acc" and card.data.classes:
        levels.append(Level("chance", "input", 1 / len(card.data.classes)))
        if columns is not None and (most := chance_of(columns)):
            levels.append(Level("most frequent class (test set)", "reference", most))
    if score not in WAVEFORM_TITLES:
        return levels
    split = next((split for split in ("test", "heldout") if f"{split}/{score}" in card.scores), "test")
    for what, title in COLUMNS.items():
        value = card.scores.get(f"{split}/{score_name(score, what)}") if what else None
        where = f"{split} set"
        gains, own = metrics.get(f"val/{score_name(score, '_gain')}"), metrics.get(f"val/{score}")
        if what == "_input" and gains and own:
            value, where = own[-1][1] - gains[-1][1], "validation set"
        if value is not None and math.isfinite(value):
            levels.append(Level(f"{title} ({where})", "input" if what == "_input" else "reference", value))
    return levels


def level_chart(card: RunCard) -> list[Chart]:
    """How the run's score depends on the level of its input, where that was measured."""
    if (curve := card.level_curve) is None:
        return []
    title = TITLES.get(curve.score, curve.score)
    series = [Series("brought to a level", "test", list(zip(curve.levels_db, curve.scores, strict=True))),
              Series("as they are", "input", [(curve.own_db, curve.own)], "dots", ["the test items as they are"])]  # fmt: skip
    return [Chart(f"{title} against level", "level of the input (RMS, dBFS)", title, series)]
