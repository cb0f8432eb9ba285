"""The page of one run: scores, curves, what to listen to, the confusion matrix, figures, and how it was made."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechml.errors import UserError
from speechml.metrics.classification import softmax
from speechml.report.drawing import Curve, draw_alluvial, draw_curves, pixels, png
from speechml.report.finished_run import LOSSES, Result
from speechml.report.media import HEIGHT, WIDTH, embed_media, png_address
from speechml.report.summary import TITLES, run_facts, run_tables
from speechml.runs.card import RunCard, explain_damage
from speechml.runs.catalogue import require_card, state_of
from speechml.runs.tables import format_duration

ITEMS_OF_CELL = 60  # items that are listed of a cell, at most
SHOWN_OTHERWISE = ("loss", "accuracy", "confusion", "waveforms")  # figures that are elsewhere in the page
FIGURES = 3_000_000  # characters of pictures


class Picture(NamedTuple):
    """A figure in a page."""

    title: str
    source: str


class Confusions(NamedTuple):
    """A confusion matrix, with the items of each cell.

    Attributes:
        counts: (true class, predicted class).
        share: of the row.
        cells: by "row,column", the most confident items first: name, confidence, and whether there is a sound.
        sounds: addresses by item.
    """

    classes: list[str]
    counts: list[list[int]]
    share: list[list[float]]
    cells: dict[str, list[tuple[str, float | None, bool]]]
    sounds: dict[str, str]
    item_name: str


def run_context(folder: Path) -> dict[str, object]:
    """What the template of a run's page is filled with.

    Raises:
        UserError: no run, one without scores, or one whose card is damaged.
    """
    card = require_card(folder)
    if (state := state_of(folder, card)) != "done":
        raise UserError(f"{folder} is not done but {state}; a report is written of finished runs")
    media = embed_media(folder)
    confusions = confusions_of(folder, media.clips)
    with explain_damage(folder):
        texts = {"tables": run_tables(folder, card), "facts": run_facts(card), "about": about(folder, card)}
    return {
        "title": f"{card.experiment} {card.id}", "card": card, **texts, "media": media,
        "confusions": confusions, "curves": training_curves(folder),
        "figures": figures_of(folder, confusions, bool(media.recordings)), "config": _text(folder / "config.yaml"),
        "wave_size": f"0 0 {WIDTH} {HEIGHT}",
    }  # fmt: skip


def about(folder: Path, card: RunCard) -> list[tuple[str, str]]:
    """Facts of the card, a name and a text each."""
    code, machine = card.code, card.hardware
    processors = [machine.get("processor"), f"{machine.get('threads')} threads", *(machine.get("gpus") or [])]
    speed = f"{'-' if card.clips_per_s is None else card.clips_per_s} items per second"
    facts = [
        ("command", card.command),
        ("run", str(folder)),
        ("started", card.started),
        ("training", "" if card.training_s is None else f"{format_duration(card.training_s)}, {speed}"),
        ("code", f"{code.version}, commit {code.commit}{' with changes' * bool(code.dirty)}"),
        ("machine", ", ".join(map(str, processors))),
        ("versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
        ("weights", f"{card.test_weights}.ckpt was tested"),
    ]
    return [(name, text) for name, text in facts if text]


def load_metrics(folder: Path) -> dict[str, Curve]:
    """The columns of metrics.csv against the epoch, from 1; nothing where there is no such table."""
    try:
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, ValueError):
        return {}
    curves: dict[str, list[tuple[float, float]]] = {}
    for epoch, row in enumerate(rows, 1):
        for name, text in row.items():
            if name not in (None, "epoch", "step") and (value := _number(text)) is not None:
                curves.setdefault(name, []).append((float(epoch), value))
    return {name: tuple(points) for name, points in curves.items()}


def _number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None


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
        path = folder / "figures" / f"{title}.png"
        if path.is_file():
            pictures.append(Picture(title, png_address(path.read_bytes())))
        else:
            pictures += draw_picture(title, curves)
    return pictures


def draw_picture(title: str, curves: Mapping[str, Curve], colours: list[int] | None = None) -> list[Picture]:
    """The picture of curves, or none where no curve has a value."""
    figure = draw_curves(curves, title, colours)
    return [Picture(title, png_address(png(pixels(figure))))] if figure else []


def confusions_of(folder: Path, clips: Mapping[str, str]) -> Confusions | None:
    """The confusion matrix, and the items of each cell with their confidence; None of a denoiser.

    Args:
        clips: addresses of the clips that can be heard, by their items.
    """
    run = Result(folder) if (folder / "predictions.npz").is_file() else None
    if run is None or run.classes is None:
        return None
    confidence = softmax(run.predictions["logits"])
    label, predicted = run.predictions["label"], confidence.argmax(1)
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
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return Confusions(run.classes, counts.tolist(), shares.tolist(), cells, dict(clips), run.data.called)


def figures_of(folder: Path, confusions: Confusions | None, has_players: bool) -> list[Picture]:
    """The figures of the run that are not elsewhere in the page; the largest are left out where room ends."""
    pictures, room = [], FIGURES
    if confusions and not (folder / "figures" / "alluvial.png").is_file():
        drawn = draw_alluvial(np.array(confusions.counts), confusions.classes, confusions.item_name)
        pictures.append(Picture("alluvial", png_address(png(pixels(drawn)))))
    for path in sorted((folder / "figures").glob("*.png"), key=lambda path: path.stat().st_size):
        elsewhere = path.stem in SHOWN_OTHERWISE or (has_players and path.stem.startswith("spectrogram_"))
        if not elsewhere and path.stat().st_size * 4 // 3 <= room:
            pictures.append(Picture(path.stem, png_address(path.read_bytes())))
            room -= len(pictures[-1].source)
    return sorted(pictures)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
