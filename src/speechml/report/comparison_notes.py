"""What a reader of a comparison should know beside its numbers: what is worth nothing, what is left out, what is uncertain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from speechml.contracts import is_higher_better
from speechml.report.certainty import chance_of, shortfall
from speechml.report.finished_run import ScoresOnly
from speechml.report.summary import TITLES, score_name
from speechml.runs.choosing import describe_divergence
from speechml.runs.tables import format_score

if TYPE_CHECKING:
    from speechml.report.baseline import Setting
    from speechml.report.compare import Line

NAMED = 10  # settings that are worth nothing


def neither_beats(score: str, *settings: Setting) -> str:
    """What none of the settings is in a score: better than its noisy input, or than chance; nothing where one is."""
    if settings[0].runs[0].classes is not None:
        return "much better than chance" if all(map(_shortfall, settings)) else ""
    given = score_name(score, "_input")
    for setting in settings:
        if any(given not in run.columns for run in setting.runs):
            return ""
        gain = np.mean([run.score(score) - run.score(given) for run in setting.runs])
        if (gain > 0) == is_higher_better(score) and gain != 0:
            return ""
    return "better than its noisy input"


def _shortfall(setting: Setting) -> str:
    """Why the scores of a setting are worth nothing, see `certainty.shortfall`."""
    runs, names = setting.runs, ("snr_db", "snr_input_db") if setting.runs[0].classes is None else ("acc",)
    known = [name for name in names if name == "acc" or all(name in run.columns for run in runs)]
    scores = {f"test/{name}": float(np.mean([run.score(name) for run in runs])) for name in known}
    return shortfall(scores, "test", len(runs[0].classes or ()), chance_of(runs[0].columns))


def comparison_notes(
    settings: Sequence[Setting], lines: Sequence[Line], limits: Sequence[Line], forced: str
) -> list[str]:
    """What a reader of the comparison should know."""
    results = [run for setting in settings for run in setting.runs]
    first, notes = results[0], []
    if isinstance(first, ScoresOnly):
        notes.append("the runs say nothing of single items: only seeds tell whether a difference is chance")
    count, item_name = len(first.names), first.data.called
    if not all(run.is_whole for run in results):
        notes.append(f"only the {count} test {item_name} that all runs have scored are compared")
    if (pieces := first.clusters).kind and len(pieces.names) < 2 and not forced:
        notes.append(f"all test {item_name} are of one {pieces.kind} ({first.split} set): only seeds tell whether a difference "
                     "is chance")  # fmt: skip
    reasons = [(setting.label, _shortfall(setting)) for setting in settings]
    notes += [f"{label} is {reason}" for label, reason in reasons if reason][:NAMED]
    losses = [
        (one.label, next(filter(None, (describe_divergence(run.card) for run in one.runs)), "")) for one in settings
    ]
    notes += [f"{label} diverged: {text}" for label, text in losses if text][:NAMED]
    for score in dict.fromkeys(
        line.score for line in lines if line.score in first.columns and first.card.scored and not forced
    ):
        if undefined := int((~np.isfinite([run.values(score) for run in results]).all(0)).sum()):
            where = f"{undefined} {item_name} on which it is not defined for every run"
            notes.append(f"{TITLES[score]}: {where} are left out")
    if sets := sorted({name for run in results for name in run.card.test_sets or ()}):
        notes.append(f"scores of the further test sets ({', '.join(sets)}) are not compared")
    seeds = [len(setting.runs) for setting in settings]
    if max(seeds) < 2:
        notes.append("one seed each: what another seed would give is in no interval")
    elif max(seeds) == 2:
        notes.append("two seeds: intervals over them reach up to 13 standard errors to each side (Student's t, one degree of "
                     "freedom), over three seeds 4")  # fmt: skip
    if min(seeds) < max(seeds):
        few = [setting.label for setting in settings if len(setting.runs) == min(seeds)]
        named = ", ".join(few[:NAMED]) + f" and {len(few) - NAMED} more" * (len(few) > NAMED)
        what = "one seed" if min(seeds) == 1 else f"{min(seeds)} seeds"
        notes.append(f"settings have {min(seeds)} to {max(seeds)} seeds; with {what}: {named}")
    is_tested = any(math.isfinite(p) for line in lines for p in (line.over_items.p, line.over_seeds.p))
    if (others := len(settings) - 1) > 1 and is_tested:
        notes.append(f"{others} settings are compared with one: hold each p against {0.05 / others:.3g} instead of 0.05 "
                     "(Bonferroni), in the one score that you judge by")  # fmt: skip
    if first.split == "train":
        notes.append("these are scores of the training set, no test")
    notes += [note for line in limits if (note := _input_is_better(line, settings[0]))]
    if len({run.card.code.commit for run in results}) > 1:
        notes.append("the runs are of different versions of the code")
    return notes


def _input_is_better(line: Line, reference: Setting) -> str:
    """A sentence where the noisy input, which `line` is of, is shown to be better than the reference; else nothing."""
    difference, more = line.over_items, is_higher_better(line.score)
    if not line.is_input or more is None or math.isnan(difference.low):
        return ""
    if not (difference.low > 0 if more else difference.high < 0):
        return ""
    mean = format_score(difference.mean, line.score.endswith("_db"))
    return f"{TITLES[line.score]}: the {line.setting.label} is better than {reference.label}, by {mean.lstrip('-')}"
