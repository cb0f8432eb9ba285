"""Published figures beside ours: a verdict for each, by a tolerance that the experiment gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechml.contracts import is_higher_better
from speechml.data.provenance import cluster_rows
from speechml.errors import UserError
from speechml.report.audit import FLAGGED, Audit
from speechml.report.certainty import chance_of, score_intervals, shortfall
from speechml.report.comparison_table import markdown_table
from speechml.report.difference_statistics import seed_interval
from speechml.report.summary import SPLITS, TITLES, describe_machine, is_published_data
from speechml.runs.card import PublishedCard, RunCard
from speechml.runs.identity import keys_without_effect
from speechml.runs.predictions import load_predictions
from speechml.runs.tables import format_duration, format_score, table

# The experiments of the five labs, in the order of the courses.
LABS = (
    "lab2a_fcnn", "lab2a_fir", "lab2b_cnn", "lab2b_mimo_cnn", "hw2_cnn1d", "hw2_cnn2d",
    "words_spectrogram", "words_mel", "words_complex", "genre_mlp",
)  # fmt: skip
COLUMNS = ("experiment", "score", "published", "tolerance", "obtained", "verdict", "data", "split", "audit", "time")
KEPT = (
    "id", "experiment", "seed", "scores", "published", "data", "audit", "intervals", "versions", "parameters", "training_s",
    "epochs", "chance",
)  # fmt: skip


OTHER_DATA, NO_FIGURE = "other data", "no comparable number"


@dataclass(frozen=True)
class PublishedFigure:
    """A score of an experiment, as it was published and as finished runs obtained it: cells in the order of COLUMNS."""

    row: list[str]
    source: str = ""  # where it was published, with a note
    cards: tuple[RunCard, ...] = ()
    elsewhere: str = ""  # what was obtained, on other data


def missing_row(experiment: str, why: str) -> list[PublishedFigure]:
    """The row of an experiment without a finished run."""
    return [PublishedFigure([experiment, "-", "-", "-", "-", "not run", why, "-", "-", "-"])]


def figure_rows(experiment: str, published: PublishedCard, cards: Sequence[RunCard]) -> list[PublishedFigure]:
    """The published scores of an experiment beside those of its finished runs, and the score that stands for a run.

    Of what was published counts what the config says now; a card has what it said when the run was launched.
    """
    card = cards[0]
    source = f"{published.source}; {published.note or 'no note'}." if published.source else ""
    seconds = [one.training_s for one in cards if one.training_s is not None]
    time = format_duration(sum(seconds) / len(seconds)) if seconds else "-"
    figures = []
    for name in dict.fromkeys([*published.scores, *([card.headline] if card.headline else [])]):
        split, _, score = name.partition("/")
        db = score.endswith("_db")
        values = [value for one in cards if (value := one.scores.get(name)) is not None]
        figure, tolerance = published.scores.get(name), published.tolerance.get(name)
        same = all(is_published_data(published, one.data, name) for one in cards)
        verdict = judge(figure, tolerance, values, same, is_higher_better(score))
        obtained = NO_FIGURE if verdict == OTHER_DATA else _format_obtained(name, cards, db)
        parts = (split, "test", "heldout")  # what is worthless there is worthless in training
        if reason := next(filter(None, (_shortfall(cards, part) for part in parts)), ""):
            verdict += f"; {reason}"
        row = [
            experiment, f"{TITLES.get(score, score)}, {SPLITS.get(split, split)}", format_score(figure, db),
            format_score(tolerance, db), obtained, verdict, _data_of(card), card.data.protocol,
            Audit.from_json(card.audit).verdict, time,
        ]  # fmt: skip
        figures.append(PublishedFigure(row, source, tuple(cards), _format_obtained(name, cards, db)))
    return figures


def _shortfall(cards: Sequence[RunCard], split: str) -> str:
    """Why the means over seeds are worth nothing, see `certainty.shortfall`."""
    means: dict[str, float | None] = {}
    for name in (f"{split}/snr_db", f"{split}/snr_input_db", f"{split}/acc"):
        if any(name in one.scores for one in cards):
            values = [value for one in cards if (value := one.scores.get(name)) is not None]
            means[name] = sum(values) / len(values) if len(values) == len(cards) else None
    return shortfall(means, split, len(cards[0].data.classes or ()), max(one.chance or 0.0 for one in cards))


def judge(
    published: float | None, tolerance: float | None, obtained: Sequence[float], same: bool, higher: bool | None
) -> str:
    """The verdict on the mean of what was `obtained` with one or more seeds, of the `same` data as what was published.

    Args:
        tolerance: how far from the published figure counts as reproduced.
        higher: whether more is better; None where that is not known.
    """
    if published is None:
        return "none published"
    if not obtained:
        return "not scored"
    if not same:
        return OTHER_DATA
    if tolerance is None:
        return "no tolerance stated"
    distance = sum(obtained) / len(obtained) - published
    if abs(distance) <= tolerance * (1 + 1e-9):  # or rounding decides on the bound itself
        return "reproduced"
    return "better" if math.isfinite(distance) and (distance > 0) == higher else "missed"


def _format_obtained(name: str, cards: Sequence[RunCard], db: bool) -> str:
    """The mean over seeds with its 95 % interval, or the one figure with that over speakers."""
    values = [value for card in cards if (value := card.scores.get(name)) is not None]
    if not values:
        return "-"
    interval = seed_interval(np.array(values))
    mean, low, high = (format_score(value, db) for value in interval[:3])
    said = [] if math.isnan(interval.low) else [f"{low} to {high}, {len(values)} seeds"]
    if own := (cards[0].intervals or {}).get(name):
        low, high = (format_score(value, db) for value in own["interval"])
        said.append(f"{low} to {high}, {own['over']}" + ", one run" * (len(values) > 1))
    return f"{mean} ({'; '.join(said)})" if said else mean


def add_intervals(card: RunCard, predictions: Path) -> None:
    """Keep chance, and the intervals of a finished run's scores over its test items, in its card, as its predictions tell."""
    with suppress(UserError):
        columns = load_predictions(predictions)
        split = "heldout" if "heldout" in columns["name"] else "test"
        pieces = cluster_rows(columns)
        card.chance = chance_of(columns) or None
        over = f"{len(pieces.names):,} {pieces.kind + 's' if pieces.kind else card.data.called}"
        card.intervals = {
            name: {"interval": [found.low, found.high], "over": over}
            for name, found in score_intervals(columns, split).items()
            if math.isfinite(found.low)
        }


def _data_of(card: RunCard) -> str:
    """The data, and how much there is of them."""
    data, total = card.data, sum(card.data.recordings.values())
    several = max(data.recordings.values()) > 1
    return f"{data.data}, " + (f"{total:,} {data.called}" if several else f"{data.seconds['train']:.0f} s to train on")


def text_table(figures: Sequence[PublishedFigure]) -> str:
    """The table for a terminal, with what stands below it."""
    left = [i for i, name in enumerate(COLUMNS) if name not in ("published", "tolerance", "time")]
    return "\n".join([table(COLUMNS, [figure.row for figure in figures], left), "", *_notes(figures)])


def readme_table(figures: Sequence[PublishedFigure]) -> str:
    """The table for a README."""
    rows = [[f"`{figure.row[0]}`", *figure.row[1:]] for figure in figures]
    return "\n".join([markdown_table(COLUMNS, rows), "", *(f"- {note}" for note in _notes(figures))])


def _notes(figures: Sequence[PublishedFigure]) -> list[str]:
    """What the figures are of: sources, machines, what was changed, what an audit flagged."""
    lines = [
        "Obtained: mean over seeds, with its 95 % interval over seeds (Student's t), which says what another seed would give "
        "on the same test, and over speakers (songs), where a run's predictions tell it. `reproduced`: within the tolerance.",
        f"`{OTHER_DATA}`: the figure was published of data that were not at hand; what is obtained on others says nothing of it.",
    ]
    finished = {figure.row[0]: figure for figure in figures if figure.cards}
    for experiment, figure in finished.items():
        card = figure.cards[0]
        if figure.source:
            lines.append(f"{experiment}: {figure.source}")
        if other := [row for row in figures if row.row[0] == experiment and row.row[4] == NO_FIGURE]:
            told = "; ".join(f"{row.row[1]}: {row.elsewhere}" for row in other)
            lines.append(f"{experiment}, on {_data_of(card)}, which is no reproduction: {told}.")
        if flagged := Audit.from_json(card.audit).checks(FLAGGED):
            lines.append(f"{experiment}: its audit flags {', '.join(flagged)}.")
        unsaid = ("experiment=", "seed=", "data", *(f"{key}{end}" for key in keys_without_effect({}) for end in "=."))
        if changed := [word for word in card.overrides if not word.startswith(unsaid)]:
            lines.append(f"{experiment}, changed: {' '.join(changed)}.")
    cards = [card for figure in finished.values() for card in figure.cards]
    machines = {f"Machine: {describe_machine(card)}, torch {card.versions.get('torch')}." for card in cards}
    return lines + sorted(machines)


def public_card(card: RunCard) -> dict[str, object]:
    """What of a card can be shown to anybody: no folders, no host, no name of a user."""
    content = card.to_json()
    return {
        **{key: content[key] for key in KEPT if key in content},
        "hardware": {key: card.hardware.get(key) for key in ("processor", "cores", "threads", "gpus")},
        "commit": card.code.commit,
        "overrides": [word for word in card.overrides if "/" not in word.partition("=")[2]],
    }
