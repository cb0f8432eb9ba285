"""Published figures beside ours: a verdict for each, by a tolerance that the experiment states."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from speechml.report.class_summary import of_these_data
from speechml.report.comparison_table import escaped
from speechml.report.results import HIGHER, TITLES
from speechml.report.statistics import seed_interval
from speechml.runs.card import PublishedCard, Record, RunCard
from speechml.runs.tables import format_duration, format_score, table

# The experiments of the five labs, in the order of the courses.
LABS = (
    "lab2a_fcnn", "lab2a_fir", "lab2b_cnn", "lab2b_mimo_cnn", "hw2_cnn1d", "hw2_cnn2d",
    "words_spectrogram", "words_mel", "words_complex", "genre_mlp",
)  # fmt: skip
COLUMNS = ("experiment", "score", "published", "tolerance", "obtained", "verdict", "data", "split", "audit", "time")
PARTS = {"test": "test", "train": "training part", "heldout": "held out"}


class Figure(NamedTuple):
    """A score of an experiment: as it was published, and as finished runs obtained it."""

    experiment: str
    score: str
    published: float | None
    tolerance: float | None
    obtained: list[float]  # one a seed
    verdict: str
    cards: Sequence[RunCard]
    missing: str  # why there is no run


def published_figures(experiment: str) -> PublishedCard:
    """What the config of an experiment says of its published figures; a card has what it said when the run was launched.

    Raises:
        UserError: no such experiment.
    """
    from omegaconf import OmegaConf

    from speechml.cli.prepare import composed

    return PublishedCard.from_config(OmegaConf.to_container(composed("train", [f"experiment={experiment}"]).published))


def missing_row(experiment: str, why: str) -> list[Figure]:
    """The row of an experiment without a finished run."""
    return [Figure(experiment, "", None, None, [], "not run", (), why)]


def figures(experiment: str, cards: Sequence[RunCard]) -> list[Figure]:
    """The published scores of an experiment beside those of its finished runs, and the score that stands for a run."""
    published = published_figures(experiment)
    cards = [replace(card, published=published) for card in cards]
    given, tolerances = published.scores, published.tolerance
    same = all(of_these_data(published, card.data) for card in cards)
    stands = cards[0].headline
    found = []
    for name in [*given, *([stands] if stands and stands not in given else [])]:
        values = [value for card in cards if (value := card.scores.get(name)) is not None]
        told = verdict(given.get(name), tolerances.get(name), values, same, HIGHER[name.partition("/")[2]])
        found.append(Figure(experiment, name, given.get(name), tolerances.get(name), values, told, cards, ""))
    return found


def verdict(published: float | None, tolerance: float | None, obtained: list[float], same: bool, higher: bool) -> str:
    """What follows of the mean of what was obtained.

    Args:
        published: the figure; None: none was.
        tolerance: how far from it counts as reproduced.
        obtained: one figure a seed.
        same: whether it is of the data that the published figure is of.
        higher: whether more is better.
    """
    if published is None:
        return "none published"
    if not obtained:
        return "not scored"
    if not same:
        return "other data"
    if tolerance is None:
        return "no tolerance stated"
    distance = sum(obtained) / len(obtained) - published
    if not math.isfinite(distance):
        return "missed"
    if abs(distance) <= tolerance * (1 + 1e-9):  # or rounding decides on the bound itself
        return "reproduced"
    return "better" if (distance > 0) == higher else "missed"


def as_rows(found: Iterable[Figure]) -> list[list[str]]:
    """A row for each figure, in the order of COLUMNS."""
    rows: list[list[str]] = []
    for figure in found:
        if figure.missing:
            rows.append([figure.experiment, "-", "-", "-", "-", figure.verdict, figure.missing, "-", "-", "-"])
            continue
        part, _, score = figure.score.partition("/")
        db = score.endswith("_db")
        card = figure.cards[0]
        seconds = [one.training_s for one in figure.cards if one.training_s is not None]
        rows.append([
            figure.experiment, f"{TITLES[score]}, {PARTS.get(part, part)}", format_score(figure.published, db),
            "-" if figure.tolerance is None else format_score(figure.tolerance, db), obtained(figure.obtained, db),
            figure.verdict, data_of(card), card.data.protocol, (card.audit or {}).get("verdict", "-"),
            format_duration(sum(seconds) / len(seconds)) if seconds else "-",
        ])  # fmt: skip
    return rows


def obtained(values: list[float], db: bool) -> str:
    """The mean over seeds with its 95 % interval, or the one figure."""
    if not values:
        return "-"
    found = seed_interval(np.array(values))
    if math.isnan(found.low):
        return format_score(found.mean, db)
    mean, low, high = (format_score(value, db) for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high}, {len(values)} seeds)"


def data_of(card: RunCard) -> str:
    """The data, and how much there is of them."""
    data = card.data
    counts = data.recordings
    several = max(counts.values()) > 1
    amount = f"{sum(counts.values()):,} {data.called}" if several else f"{data.seconds['train']:.0f} s to train on"
    return f"{data.data}, {amount}"


def as_table(found: list[Figure]) -> str:
    """The table for a terminal, with what stands below it."""
    left = [i for i, name in enumerate(COLUMNS) if name not in ("published", "tolerance", "time")]
    return "\n".join([table(list(COLUMNS), as_rows(found), left), "", *notes(found)])


def as_markdown(found: list[Figure]) -> str:
    """The table for a README."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *escaped([[f"`{row[0]}`", *row[1:]] for row in as_rows(found)])]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + ["", *(f"- {note}" for note in notes(found))])


def notes(found: list[Figure]) -> list[str]:
    """What the figures are of: sources, machines, what was changed, what an audit flagged."""
    cards = {figure.experiment: figure.cards for figure in found if figure.cards}
    lines = [
        "Obtained: mean over seeds with its 95 % interval (Student's t), or one run. `reproduced`: within the tolerance.",
        "`other data`: the figure was published of data that were not at hand, so it cannot be reproduced here.",
    ]
    for experiment, runs in cards.items():
        published = runs[0].published
        if published.source:
            lines.append(f"{experiment}: {published.source}; {published.note or 'no note'}.")
        audit = runs[0].audit or {}
        if flagged := [f["check"] for f in audit.get("findings", []) if f["state"] == "flagged"]:
            lines.append(f"{experiment}: its audit flags {', '.join(flagged)}.")
        if changed := [word for word in runs[0].overrides if not word.startswith(("experiment=", "seed=", "data"))]:
            lines.append(f"{experiment}, changed: {' '.join(changed)}.")
    machines = sorted({machine(card) for runs in cards.values() for card in runs})
    return [*lines, *(f"Machine: {text}." for text in machines)]


def machine(card: RunCard) -> str:
    """Processor, threads, GPUs and the package that computes."""
    hardware = card.hardware
    parts = [
        str(hardware.get("processor")),
        f"{hardware.get('threads')} threads",
        *map(str, hardware.get("gpus") or []),
    ]
    return ", ".join([*parts, f"torch {card.versions.get('torch')}"])


def without_places(card: RunCard) -> Record:
    """What of a card can be shown to anybody: no folders, no host, no name of a user."""
    kept = (
        "id",
        "experiment",
        "seed",
        "scores",
        "published",
        "data",
        "audit",
        "versions",
        "parameters",
        "training_s",
        "epochs",
    )
    hardware = {key: card.hardware.get(key) for key in ("processor", "cores", "threads", "gpus")}
    words = [word for word in card.overrides if "/" not in word.partition("=")[2]]
    whole = card.to_json()
    public = {key: whole[key] for key in kept if key in whole}
    return {**public, "hardware": hardware, "commit": card.code.commit, "overrides": words}
