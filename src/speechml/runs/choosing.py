"""What a run is chosen by, as its card tells: never a score of its test. Nothing heavy is imported, so lists stay quick."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from speechml.contracts import is_higher_better
from speechml.runs.card import RunCard
from speechml.runs.tables import format_score

# Callbacks that the trials of a search do without, unless figures are asked for.
OF_SEARCH = ("++callbacks.progress=null", "++callbacks.listening=null", "++callbacks.figures=null")
NUMBER = re.compile(r"(?<==)-?\d+\.\d{5,}(e-?\d+)?$")  # that a search has drawn: all of a value
# As the engine begins such a warning; a validation loss that rose from its lowest only means overfitting.
DIVERGED = re.compile(
    r"(train|val)/loss (is (nan|-?inf)|rose from \S+ in the first epoch)|train/loss rose|.*; the training diverged"
)


class Score(NamedTuple):
    """A score of a run by its name."""

    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.name} {format_score(self.value, self.name.endswith('_db'))}"

    @property
    def rank(self) -> float:
        """What sorts the best first; one for all where nobody knows whether more of the score is better."""
        more = is_higher_better(self.name)
        return 0.0 if more is None else -self.value if more else self.value


def validation_score(card: RunCard, objective: str = "") -> Score | None:
    """What a run is chosen by: `objective` of its search or config, else the validation twin of its headline, else another.

    The last is that of the best checkpoint where the card names it; a run that was not validated has none.
    """
    twin = card.headline and f"val/{card.headline.partition('/')[2]}"
    others = [name for name in (*(card.headlines or ()), "val/loss", *card.scores) if name.startswith("val/")]
    for name in (objective, card.objective, twin, *others):
        value = card.scores.get(name) if name and not name.startswith("test/") else None
        if name and value is not None:
            return Score(name, value)
    return None


def headline_score(card: RunCard) -> Score | None:
    """The score that stands for a run in the end, most often of its test."""
    value = card.scores[card.headline] if card.headline else None
    return None if card.headline is None or value is None else Score(card.headline, value)


def common_name(scores: Iterable[Score | None]) -> str:
    """The name that all scores have; nothing where they are of several names, or there are none."""
    names = {score.name for score in scores if score}
    return names.pop() if len(names) == 1 else ""


def score_column(scores: Sequence[Score | None], title: str) -> tuple[str, list[str]]:
    """Header and cells: the name stands in the header where it is one for all, else in the cells below `title`."""
    name = common_name(scores)
    figures = [format_score(s.value, s.name.endswith("_db")) if s and name else str(s) if s else "-" for s in scores]
    mark = f" ({title})" if name and not name.startswith("val/") else ""
    return (name or title) + mark, figures


def describe_divergence(card: RunCard) -> str:
    """The warning of a loss that ended far above its first, or is no number; nothing where there is none."""
    return next((line for line in card.warnings or () if DIVERGED.match(line)), "")


def short_words(runs: Sequence[tuple[str, Sequence[str] | None]]) -> tuple[list[str], list[str]]:
    """The overrides of runs as a table shows them, and those that all have, which a line below it says once.

    Left out are the experiment, what a search adds, and the further digits of what it draws.

    Args:
        runs: experiment and overrides of each; None where they are not known.
    """
    rows = [[NUMBER.sub(lambda number: f"{float(number[0]):.4g}", word) for word in words or ()
             if word not in (*OF_SEARCH, f"experiment={experiment}")] for experiment, words in runs]  # fmt: skip
    known = [set(row) for row, (_, words) in zip(rows, runs, strict=True) if words is not None]
    common = set.intersection(*known) if len(known) > 1 else set[str]()
    shared = [word for word in next((row for row in rows if row), []) if word in common]
    return [" ".join(word for word in row if word not in common) for row in rows], shared
