"""The page of one run: scores, curves, what to listen to, the confusion matrix, figures, and how it was made."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechml.metrics.classification import softmax
from speechml.report.drawing import Curve, draw_curves, draw_level_curve, pixels, png
from speechml.report.finished_run import LOSSES, Result, require_done
from speechml.report.media import HEIGHT, WIDTH, data_address, embed_media
from speechml.report.summary import TITLES, describe_machine, run_facts, run_tables
from speechml.runs.card import RunCard, explain_damage
from speechml.storage.plain_files import plain_files, read_plain

ITEMS_OF_CELL = 60  # items that are listed of a cell, at most
ELSEWHERE = ("loss", "accuracy", "confusion", "waveforms")  # figures that the page shows in another place or way
FIGURES = 3_000_000  # characters of pictures
PIXELS = 50_000_000  # of a picture


class Picture(NamedTuple):
    """A figure in a page."""

    title: str
    source: str


class Confusions(NamedTuple):
    """A confusion matrix, true classes by predicted ones, with the items of each cell."""

    classes: list[str]
    counts: list[list[int]]
    # By "row,column", the most confident items first: name, confidence, and whether there is a sound.
    cells: dict[str, list[tuple[str, float | None, bool]]]
    sounds: dict[str, str]  # addresses by item
    item_name: str


def run_context(folder: Path) -> dict[str, object]:
    """What the template of a run's page is filled with.

    Raises:
        UserError: no run, one without scores, or one whose card is damaged.
    """
    card, media = require_done(folder), embed_media(folder)
    predictions = folder / "predictions.npz"
    with explain_damage(folder):
        tables = run_tables(folder, card)
        facts = run_facts(card)
    return {
        "title": f"{card.experiment} {card.id}", "card": card, "tables": tables, "facts": facts, "media": media,
        "confusions": list_confusions(Result(folder), media.clips) if predictions.exists() else None,
        "curves": training_curves(folder), "figures": level_picture(card) + embed_figures(folder, bool(media.recordings)),
        "folder": folder, "machine": describe_machine(card), "wave_size": f"0 0 {WIDTH} {HEIGHT}",
        "config": _config_text(folder),
    }  # fmt: skip


def _config_text(folder: Path) -> str:
    """The text of config.yaml, or nothing."""
    try:
        return read_plain(folder, "config.yaml").decode(errors="replace")
    except OSError:
        return ""


def load_metrics(folder: Path) -> dict[str, Curve]:
    """The columns of metrics.csv against the epoch, from 1; nothing where there is no such table."""
    curves: dict[str, list[tuple[float, float]]] = {}
    with suppress(OSError, csv.Error, ValueError):
        lines = io.StringIO(read_plain(folder, "metrics.csv").decode(), newline="")
        for epoch, row in enumerate(csv.DictReader(lines), 1):
            for name in row.keys() - {None, "epoch", "step"}:
                with suppress(ValueError, TypeError):  # an epoch without this score
                    curves.setdefault(name, []).append((epoch, float(row[name])))
    return dict(sorted(curves.items()))


def training_curves(folder: Path) -> list[Picture]:
    """The losses, then each score of the validation set: as the run has drawn them, or from its table."""
    metrics = load_metrics(folder)
    groups = {"loss": {name: metrics[name] for name in LOSSES if name in metrics}}
    for name in metrics:
        split, _, score = name.partition("/")
        if split == "val" and score in TITLES and score != "loss":
            groups[TITLES[score]] = {each: metrics[each] for each in (name, f"train/{score}") if each in metrics}
    pictures = []
    for title, curves in groups.items():
        own = read_png(folder, f"figures/{title}.png")
        pictures += [embed_png(title, own)] if own else draw_picture(title, curves)
    return pictures


def level_picture(card: RunCard) -> list[Picture]:
    """How the run's score depends on the level of its input, where that was measured."""
    if card.level_curve is None:
        return []
    figure = draw_level_curve(card.level_curve, TITLES.get(card.level_curve.score, card.level_curve.score))
    return [embed_png("level", png(pixels(figure)))]


def draw_picture(title: str, curves: Mapping[str, Curve], colours: list[int] | None = None) -> list[Picture]:
    """The picture of curves, or none where no curve has a value."""
    figure = draw_curves(curves, title, colours)
    return [embed_png(title, png(pixels(figure)))] if figure else []


def read_png(folder: Path, name: str) -> bytes:
    """A picture of a run; nothing where there is none, or one so large that a reader of the page would wait for it."""
    try:
        content = read_plain(folder, name, FIGURES)
    except OSError:
        return b""
    is_png = content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR"  # RFC 2083
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    return content if is_png and 0 < width * height <= PIXELS else b""


def embed_png(title: str, content: bytes) -> Picture:
    """A PNG file in a page."""
    return Picture(title, data_address("image/png", content))


def list_confusions(run: Result, clips: Mapping[str, str]) -> Confusions | None:
    """The confusion matrix, and the items of each cell with their confidence; None of a denoiser.

    Some items can be heard: `clips` are their addresses.
    """
    if run.classes is None:
        return None
    confidence = softmax(run.columns["logits"])
    label, predicted = run.columns["label"], confidence.argmax(1)
    counts = np.zeros((len(run.classes),) * 2, np.int64)
    np.add.at(counts, (label, predicted), 1)
    cells: dict[str, list[tuple[str, float | None, bool]]] = {}
    for item in np.argsort(-confidence.max(1), kind="stable"):
        cell = cells.setdefault(f"{label[item]},{predicted[item]}", [])
        name, share = str(run.names[item]), float(confidence[item].max())
        entry = (name, round(share, 3) if math.isfinite(share) else None, name in clips)
        if len(cell) < ITEMS_OF_CELL:
            cell.append(entry)
        elif name in clips:  # what can be heard is listed in any case
            cell[-1] = entry
    return Confusions(run.classes, counts.tolist(), cells, dict(clips), run.data.called)


def embed_figures(folder: Path, has_players: bool) -> list[Picture]:
    """The figures of the run that are not elsewhere in the page; the largest are left out where room ends."""
    pictures, room = [], FIGURES
    paths = [folder / name for name in plain_files(folder, "figures/*.png")]
    for path in sorted(paths, key=lambda path: path.stat().st_size):
        elsewhere = path.stem in ELSEWHERE or (has_players and path.stem.startswith("spectrogram_"))
        if not elsewhere and path.stat().st_size * 4 // 3 <= room and (own := read_png(folder, f"figures/{path.name}")):
            pictures.append(embed_png(path.stem, own))
            room -= len(pictures[-1].source)
    return sorted(pictures)
