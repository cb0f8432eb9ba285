"""The page of one run: scores, curves, what to listen to, the confusion matrix, figures, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechml.metrics.classification import softmax
from speechml.report.certainty import Columns, chance_of, score_intervals
from speechml.report.charts import level_chart, training_charts
from speechml.report.finished_run import Result, require_done
from speechml.report.media import HEIGHT, WIDTH, data_address, embed_media
from speechml.report.recordings import list_recordings
from speechml.report.statistics import UNKNOWN
from speechml.report.summary import SPLITS, describe_machine, run_facts, run_tables
from speechml.runs.card import RunCard, explain_damage
from speechml.runs.tables import format_score
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


class Headline(NamedTuple):
    """The one number that stands for a run or a sweep, what it is of, and whether it is worse than doing nothing."""

    number: str
    text: str
    is_bad: bool = False


def run_context(folder: Path) -> dict[str, object]:
    """What the template of a run's page is filled with.

    Raises:
        UserError: no run, one without scores, or one whose card is damaged.
    """
    card, media = require_done(folder), embed_media(folder)
    run = Result(folder) if (folder / "predictions.npz").exists() else None
    columns = run.columns if run else None
    with explain_damage(folder):
        tables = run_tables(folder, card)
        facts = [fact for fact in run_facts(card) if not fact.startswith("Warning: ")]  # which stand on top
        recordings, charts = list_recordings(columns), training_charts(folder, card, columns)
        headline = run_headline(card, columns)
    labels = recordings.labels if recordings else {}
    worst = [
        name for name in (recordings.worst if recordings else ()) if name in {one.name for one in media.recordings}
    ]
    players = sorted(media.recordings, key=lambda one: worst.index(one.name) if one.name in worst else -1)
    is_all = bool(labels) and not media.omitted and labels.keys() == {one.name for one in players}
    return {
        "title": f"{card.experiment} {card.id}", "card": card, "tables": tables, "facts": facts, "media": media,
        "headline": headline, "when": written_date(card.ended or card.started), "players": players, "worst": worst,
        "is_all": is_all, "recordings": recordings, "labels": labels, "warnings": card.warnings or [], "level": level_chart(card),
        "confusions": list_confusions(run, media.clips) if run else None, "charts": charts,
        "figures": embed_figures(folder, bool(media.recordings)),
        "folder": folder, "machine": describe_machine(card), "wave_size": f"0 0 {WIDTH} {HEIGHT}",
        "config": _config_text(folder),
    }  # fmt: skip


def written_date(text: str) -> str:
    """A time of a card as people write it, `30 November 2026, 20:35`; as it stands where it is none."""
    try:
        return f"{datetime.fromisoformat(text):%d %B %Y, %H:%M}".lstrip("0")
    except ValueError:
        return text


def written_span(first: str, last: str) -> str:
    """From when to when, the day only once where it is the same."""
    begin, end = written_date(first), written_date(last)
    if begin == end:
        return begin
    return f"{begin} to {end.rpartition(', ')[2] if begin.partition(',')[0] == end.partition(',')[0] else end}"


def run_headline(card: RunCard, columns: Columns | None) -> Headline | None:
    """A denoiser's gain over its noisy input, a classifier's accuracy, or the first score by which runs are compared."""
    for split in ("test", "heldout", "train"):
        given, own = (card.scores.get(f"{split}/{name}") for name in ("snr_input_db", "snr_db"))
        if given is not None and own is not None:
            text = f"SNR over the noisy input ({given:.1f} to {own:.1f} dB), {SPLITS[split]}"
            return Headline(f"{own - given:+.1f} dB", text, own <= given)
    accuracy = card.scores.get("test/acc")
    is_ours = card.scored is not None or columns is not None  # another module's may be 0 to 100, or anything
    if is_ours and accuracy is not None and 0 <= accuracy <= 1:
        interval = score_intervals(columns, "test")["test/acc"] if columns and "logits" in columns else UNKNOWN
        chance = chance_of(columns) if columns else 0.0
        text = f" (95 % interval {interval.low:.1%} to {interval.high:.1%})" if math.isfinite(interval.low) else ""
        return Headline(f"{accuracy:.1%}", f"accuracy{text}, test set", accuracy <= chance)
    names = (name for name in (card.headline, *(card.headlines or ())) if name and card.scores.get(name) is not None)
    name = next(names, None)
    return Headline(format_score(card.scores[name], name.endswith("_db")), name) if name else None


def _config_text(folder: Path) -> str:
    """The text of config.yaml, or nothing."""
    try:
        return read_plain(folder, "config.yaml").decode(errors="replace")
    except OSError:
        return ""


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
