"""The page of one run: scores, curves, what to listen to, confusions, figures, and what it was."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np

from speechml.errors import UserError
from speechml.metrics.classification import softmax
from speechml.report import media, svg
from speechml.report.results import TITLES, TRAINING, Result
from speechml.report.summary import blocks, facts
from speechml.runs.card import RunCard
from speechml.runs.catalogue import require_card, state_of
from speechml.runs.tables import format_duration

BEHIND = 60  # items that are named behind a cell, at most
DRAWN_ANEW = ("loss", "accuracy", "confusion", "alluvial", "waveforms")  # figures that the page has in its own form
FIGURES = 3_000_000  # characters of pictures


def run_context(folder: Path) -> dict[str, Any]:
    """What the template of a run's page is filled with.

    Raises:
        UserError: no run, one without scores, or one whose card is damaged.
    """
    card = require_card(folder)
    state = state_of(folder, card)
    if state != "done":
        raise UserError(f"{folder} is not done but {state}; a report is written of finished runs")
    recordings, clips, left = media.embedded(folder)
    confusions = confusions_of(folder, clips)
    shown = {"recordings": recordings, "left": left, "confusions": confusions, "curves": curves_of(folder),
             "figures": figures_of(folder, bool(recordings)), "config": _text(folder / "config.yaml")}  # fmt: skip
    said = {"blocks": blocks(folder, card), "facts": facts(card), "about": about(folder, card)}
    return {"title": f"{card.experiment} {card.id}", "card": card, "folder": str(folder), **said, **shown}


def about(folder: Path, card: RunCard) -> list[tuple[str, str]]:
    """Facts of the card, a name and a text each."""
    code, machine = card.code, card.hardware
    processors = [machine.get("processor"), f"{machine.get('threads')} threads", *(machine.get("gpus") or [])]
    speed = f"{'-' if card.clips_per_s is None else card.clips_per_s} items a second"
    found = [
        ("command", card.command),
        ("run", str(folder)),
        ("started", card.started),
        ("training", "" if card.training_s is None else f"{format_duration(card.training_s)}, {speed}"),
        ("code", f"{code.version}, commit {code.commit}{' with changes' * bool(code.dirty)}"),
        ("machine", ", ".join(map(str, processors))),
        ("versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
        ("weights", f"{card.test_weights}.ckpt is what was tested"),
    ]
    return [(name, text) for name, text in found if text]


def metrics_of(folder: Path) -> dict[str, svg.Points]:
    """The columns of metrics.csv against the epoch, from 1; nothing where there is no such table."""
    try:
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, ValueError):
        return {}
    found: dict[str, svg.Points] = {}
    for number, row in enumerate(rows, 1):
        for name, text in row.items():
            if name in (None, "epoch", "step") or not text:
                continue
            try:
                found.setdefault(name, []).append((float(number), float(text)))
            except ValueError:  # not a figure
                continue
    return found


def curves_of(folder: Path) -> list[tuple[str, str]]:
    """Title and drawing of each group of curves: the losses, then each score of the validation part."""
    metrics = metrics_of(folder)
    groups = {"loss": {name: points for name, points in metrics.items() if name in TRAINING}}
    for name, points in metrics.items():
        score = name.partition("/")[2]
        if name.startswith("val/") and score in TITLES and score != "loss":
            mine = {name: points}
            if f"train/{score}" in metrics:
                mine[f"train/{score}"] = metrics[f"train/{score}"]
            groups[score] = mine
    drawn = [(TITLES[score], svg.curves(series, "epoch", TITLES[score])) for score, series in groups.items()]
    return [(title, drawing) for title, drawing in drawn if drawing]


def confusions_of(folder: Path, clips: list[media.Clip]) -> dict[str, Any] | None:
    """Counts, and the items behind each cell with how sure the network was; None of a denoiser."""
    if not (folder / "predictions.npz").is_file():
        return None
    run = Result(folder)
    if run.classes is None:
        return None
    sure = softmax(run.predictions["logits"])
    label, named = run.predictions["label"], sure.argmax(1)
    counts = np.zeros((len(run.classes),) * 2, np.int64)
    np.add.at(counts, (label, named), 1)
    sound = {clip.name: clip for clip in clips}
    cells: dict[str, list[list[Any]]] = {}
    for item in np.argsort(-sure.max(1), kind="stable"):
        behind = cells.setdefault(f"{label[item]},{named[item]}", [])
        name = str(run.names[item])
        share = float(sure[item].max())  # of logits that are not finite it is not known
        heard = name if name in sound and sound[name].source else ""
        entry = [name, round(share, 3) if math.isfinite(share) else None, heard]
        if len(behind) < BEHIND:
            behind.append(entry)
        elif entry[2]:  # what can be heard is shown in any case
            behind[-1] = entry
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return {
        "classes": run.classes, "counts": counts.tolist(), "share": share.tolist(), "alluvial": svg.alluvial(counts, run.classes),
        "cells": cells, "sounds": {clip.name: clip.source for clip in clips if clip.source}, "called": run.called,
        "total": int(counts.sum()), "behind": BEHIND,
    }  # fmt: skip


def figures_of(folder: Path, has_recordings: bool) -> list[tuple[str, str]]:
    """Title and data address of each figure that the page does not draw itself; the largest are left out where room ends."""
    found, room = [], FIGURES
    for path in sorted((folder / "figures").glob("*.png"), key=lambda path: path.stat().st_size):
        mine = path.stem in DRAWN_ANEW or (has_recordings and path.stem.startswith("spectrogram_"))
        if mine or path.stat().st_size * 4 // 3 > room:
            continue
        found.append((path.stem, media.picture(path)))
        room -= len(found[-1][1])
    return sorted(found)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
