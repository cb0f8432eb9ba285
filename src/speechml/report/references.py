"""What the scores of runs stand beside: the noisy input, limits, chance; and what is wrong with a run, in a few words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from speechml.report.certainty import shortfall
from speechml.report.class_table import chance_levels
from speechml.report.summary import COLUMNS, TITLES, read_predictions, score_name
from speechml.runs.card import RunCard
from speechml.runs.choosing import describe_divergence
from speechml.runs.tables import format_score

LINES = 4  # test sets whose references are shown


def describe_flaws(card: RunCard, chance: float = 0.0) -> list[str]:
    """Why the scores of a run are worth little, as "no better than the noisy input"; nothing where nothing is wrong.

    Args:
        chance: accuracy of always naming the most frequent class, where it is known.
    """
    split = card.headline.partition("/")[0] if card.headline else "test"
    short = shortfall(card.scores, split, len(card.data.classes or ()), chance)
    own = [line.removeprefix(f"{split}: ") for line in card.warnings or () if line.startswith(f"{split}: ")]
    return [*([short] if short else own), *["diverged: its loss rose"] * bool(describe_divergence(card))]


def reference_lines(runs: Iterable[tuple[Path, RunCard]]) -> list[str]:
    """A sentence for each test set: what its noisy input and limits score, or what chance does.

    Args:
        runs: folders and cards; predictions are those of the first run of each test set, and of limits that differ among its
            runs, as those of filters of several lengths do, the least and the greatest stand there.
    """
    sets: dict[tuple[str, str], list[tuple[Path, RunCard]]] = defaultdict(list)
    for folder, card in runs:
        if card.headline:
            sets[card.data.test_fingerprint, card.headline].append((folder, card))
    lines = []
    for (_, name), members in list(sets.items())[:LINES]:
        folder, card = members[0]
        experiments = ", ".join(dict.fromkeys(one.experiment for _, one in members))
        where = f"{experiments}: " if len(sets) > 1 else ""
        split, _, score = name.partition("/")
        if score == "acc":
            columns, classes = read_predictions(folder / "predictions.npz"), card.data.classes or ()
            if columns and "logits" in columns:
                lines.append(f"{where}References (test set): {chance_levels(columns)}.")
            elif classes:
                lines.append(
                    f"{where}References: chance has an accuracy of {1 / len(classes):.4g} (1 of {len(classes)} classes)."
                )
            continue
        title = TITLES.get(score, score).removesuffix(" (dB)")
        texts = []
        for part, what in COLUMNS.items():
            own = [one.scores.get(f"{split}/{score_name(score, part)}") for _, one in members]
            if part and (known := [value for value in own if value is not None]):
                ends = dict.fromkeys(format_score(value, True) for value in (min(known), max(known)))
                texts.append(f"{what} {' to '.join(ends)} dB")
        if texts:
            lines.append(f"{where}{title} of references ({split} set): {', '.join(texts)}.")
    return lines
