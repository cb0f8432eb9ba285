"""Which of several runs is better, by how much, and whether it may be chance: on the same test items, and over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechml.errors import UserError
from speechml.metrics.classification import macro_f1
from speechml.report.results import HIGHER, TITLES, Result
from speechml.report.statistics import (
    LEVEL,
    Difference,
    mean_difference,
    resampled_difference,
    resamples,
    seed_interval,
    share_difference,
    unpaired_difference,
)
from speechml.runs.settings import name_differences

RESAMPLES = 1_000  # for macro F1: a whole confusion matrix is counted for each


class Setting(NamedTuple):
    """Runs that differ by seed only."""

    label: str
    runs: list[Result]

    @property
    def seeds(self) -> list[int]:
        """One a run."""
        return [run.seed for run in self.runs]


class Line(NamedTuple):
    """A score of a setting, and its difference to the first setting; None where it is the first."""

    score: str
    setting: Setting
    seeds: Difference  # mean over the seeds, with its interval
    items: Difference | None  # difference over the test items, of these runs
    across: Difference | None  # difference over seeds
    verdict: str


class Comparison(NamedTuple):
    """What was compared, on what, and a line for each score and setting."""

    settings: list[Setting]
    lines: list[Line]
    items: int
    notes: list[str]
    forced: str  # why the runs do not compare, where it was asked for all the same


def compare_runs(folders: Sequence[Path], force: bool = False) -> Comparison:
    """Compare finished runs, each with the first.

    Args:
        folders: of two runs or more.
        force: compare runs of different test sets or protocols as well, as groups of items that have nothing in common.

    Raises:
        UserError: fewer than two runs, one twice, one that is not done or is none, or runs that do not compare.
    """
    results = _loaded(folders)
    forced = _unlike(results)
    if forced and not force:
        raise UserError(f"{forced}; --force compares all the same, as unpaired items")
    settings = settings_of(results)
    paired = not forced
    common = _common([run.names for run in results]) if paired else results[0].names
    if paired and len(common) == 0:
        raise UserError("the runs have scored no test item in common; evaluate them on the same items")
    scores = [score for score in HIGHER if all(_has(run, score) for run in results)]
    lines = [line for score in scores for line in _lines(score, settings, common, paired)]
    return Comparison(settings, lines, len(common), _notes(results, settings, common, paired), forced)


def _loaded(folders: Sequence[Path]) -> list[Result]:
    if len(folders) < 2:
        raise UserError("one run compares with nothing; give two or more, as in speechml compare runs/A/ID runs/B/ID")
    seen: dict[Path, Path] = {}
    for folder in folders:
        place = folder.resolve()
        if place in seen:
            raise UserError(f"{folder} is given twice; each run compares with the others once")
        seen[place] = folder
    results = [Result(folder) for folder in folders]
    for run in results:
        _ = run.names  # what is damaged or missing is said before anything is computed
    return results


def _unlike(results: list[Result]) -> str:
    """Why runs were not scored on the same test, or nothing where they were.

    Raises:
        UserError: what they predict is of different kinds.
    """
    first = results[0]
    for run in results[1:]:
        if (run.classes is None) != (first.classes is None):
            raise UserError(f"{first.folder} and {run.folder} do not compare: one classifies, the other denoises")
        if run.classes is not None and set(run.classes) != set(first.classes or []):
            strange = sorted(set(run.classes) ^ set(first.classes or []))
            shown = ", ".join(strange[:5]) + (", ..." if len(strange) > 5 else "")
            raise UserError(f"{first.folder} and {run.folder} do not compare: not both know the classes {shown}")
    for run in results[1:]:
        for what, mine, its in (
            ("split protocols", first.data.protocol, run.data.protocol),
            ("test sets", first.test_set[0], run.test_set[0]),
            ("parts", first.part, run.part),
        ):
            if mine != its:
                return f"{first.folder} and {run.folder} have different {what} ({mine} and {its})"
    return ""


def settings_of(results: Sequence[Result]) -> list[Setting]:
    """Runs gathered by what they differ in beside the seed, named by it; in the order in which they were given."""
    found: dict[Any, list[Result]] = {}
    for run in results:
        found.setdefault((run.experiment, run.test_set, repr(sorted(run.config.items()))), []).append(run)
    groups: list[list[Result]] = []
    for runs in found.values():
        alike = len({run.seed for run in runs}) == len(runs)
        groups += [runs] if alike else [[run] for run in runs]  # the same run twice, of two versions of the code
    return [Setting(_label(group, groups), sorted(group, key=lambda run: run.seed)) for group in groups]


def _label(group: list[Result], groups: list[list[Result]]) -> str:
    """Experiment, where they are several, and the keys in which a setting differs from others of its experiment."""
    own = group[0]
    others = [g[0] for g in groups if g[0].experiment == own.experiment and g is not group]
    several = len({g[0].experiment for g in groups}) > 1
    keys = name_differences(own.config, [run.config for run in others])
    same = any(run.config == own.config for run in others)
    words = [*[own.experiment] * (several or not others), *[keys] * bool(keys), *[own.folder.name] * same]
    return " ".join(words) or own.folder.name


def _common(names: list[np.ndarray]) -> np.ndarray:
    """The items that all runs have scored: limits of batches may have left some out."""
    found = names[0]
    for more in names[1:]:
        found = np.intersect1d(found, more)
    return np.asarray(np.sort(found))


def _has(run: Result, score: str) -> bool:
    return run.values(score) is not None or (score == "macro_f1" and run.classes is not None)


def _rows(run: Result, common: np.ndarray) -> np.ndarray:
    """Where the common items are among those of a run, whose names are sorted; the first of equal names."""
    return np.asarray(np.searchsorted(run.names, common)) if len(common) < len(run.names) else np.arange(len(common))


def _lines(score: str, settings: list[Setting], common: np.ndarray, paired: bool) -> list[Line]:
    tables = [_table(score, setting, common, paired) for setting in settings]
    whole = not paired or all(len(run.names) == len(common) for setting in settings for run in setting.runs)
    each = [_of_each_run(score, setting, table, whole) for setting, table in zip(settings, tables, strict=True)]
    lines = [Line(score, settings[0], seed_interval(each[0]), None, None, "")]
    first = settings[0].runs[0]
    macro = [_macro(setting, first, common) for setting in settings] if score == "macro_f1" and paired else []
    units = len(common) if first.groups is None else len(np.unique(first.groups))
    for number in range(1, len(settings)):
        items: Difference | None = None
        if macro:
            items = resampled_difference(macro[0][1:], macro[number][1:], (macro[0][0], macro[number][0]), units)
        elif score != "macro_f1":
            items = _over_items(score, settings[0], tables[0], tables[number], common, paired)
        across = _across(settings[0], settings[number], each[0], each[number])
        verdict = _verdict(HIGHER[score], items, across)
        lines.append(Line(score, settings[number], seed_interval(each[number]), items, across, verdict))
    return lines


def _table(score: str, setting: Setting, common: np.ndarray, paired: bool) -> np.ndarray:
    """A score of each item in each run of a setting. Shape: (runs, items)."""
    if score == "macro_f1":
        return np.empty((len(setting.runs), 0))
    columns = [run.values(score) for run in setting.runs]
    return np.stack(
        [c[_rows(run, common)] if paired else c for run, c in zip(setting.runs, columns, strict=True) if c is not None]
    )


def _of_each_run(score: str, setting: Setting, table: np.ndarray, whole: bool) -> np.ndarray:
    """The score of each run of a setting on the items compared: its card's where those are all its items. Shape: (runs,)."""
    found = [run.scores.get(f"{run.part}/{score}") if whole else None for run in setting.runs]
    rows = table if len(table[0]) else np.full((len(table), 1), np.nan)
    return np.array([_mean(row) if v is None else float(v) for v, row in zip(found, rows, strict=True)])


def _mean(row: np.ndarray) -> float:
    defined = row[np.isfinite(row)]
    return float(defined.mean()) if len(defined) else math.nan


def _over_items(
    score: str, setting: Setting, one: np.ndarray, other: np.ndarray, common: np.ndarray, paired: bool
) -> Difference:
    """The difference over test items, of the means over the runs of each setting."""
    if not paired:
        return unpaired_difference(*(x[np.isfinite(x)] for x in (one.mean(0), other.mean(0))))
    run = setting.runs[0]
    groups = None if run.groups is None else run.groups[_rows(run, common)]
    if score == "acc":
        return share_difference(one.mean(0), other.mean(0), groups)
    difference = other.mean(0) - one.mean(0)
    defined = np.isfinite(difference)
    return mean_difference(difference[defined], None if groups is None else groups[defined])


def _macro(setting: Setting, first: Result, common: np.ndarray) -> np.ndarray:
    """Macro F1 on all items, then on resamples of them, the mean over the runs of a setting. Shape: (1 + draws,)."""
    groups = np.arange(len(common)) if first.groups is None else first.groups[_rows(first, common)]
    drawn = resamples(int(groups.max()) + 1, RESAMPLES)[:RESAMPLES, groups]
    weights = np.concatenate([np.ones((1, len(common)), np.float32), drawn])
    found = []
    for run in setting.runs:
        rows, columns = _rows(run, common), run.predictions
        order = [(run.classes or []).index(name) for name in first.classes or []]
        label = np.argsort(order)[columns["label"][rows]]
        found.append(macro_f1(columns["logits"][rows][:, order], label, weights))
    return np.asarray(np.mean(found, axis=0))


def _across(one: Setting, other: Setting, ones: np.ndarray, others: np.ndarray) -> Difference | None:
    """The difference over seeds: paired where both settings have the same, else Welch's; None where either has one only."""
    if min(len(ones), len(others)) < 2:
        return None
    if sorted(one.seeds) != sorted(other.seeds):
        return unpaired_difference(ones, others)
    return seed_interval(others[np.argsort(other.seeds)] - ones[np.argsort(one.seeds)])


def _verdict(higher: bool, items: Difference | None, across: Difference | None) -> str:
    """What the intervals allow to say: both, where there are seeds, have to leave out 0 on the same side."""
    found = [d for d in (items, across) if d is not None and not math.isnan(d.low)]
    if not found:
        return "not known"
    sure = all(d.low > 0 for d in found) or all(d.high < 0 for d in found)
    if sure and not any(d.p >= 1 - LEVEL for d in found):  # an exact test may be stricter than an interval
        return "better" if (found[0].mean > 0) == higher else "worse"
    return "no difference shown"


def _notes(results: list[Result], settings: list[Setting], common: np.ndarray, paired: bool) -> list[str]:
    notes = []
    run = results[0]
    if paired and any(len(r.names) > len(common) for r in results):
        notes.append(f"only the {len(common)} test {run.called} that all runs have scored are compared")
    if paired and len(common) < 2:
        notes.append(f"the test is one recording ({run.part} part), so only seeds tell whether a difference is chance")
    if paired and run.classes is None:
        for score in (score for score in HIGHER if all(_has(r, score) for r in results)):
            columns = np.stack([_table(score, Setting("", [r]), common, True)[0] for r in results])
            if gone := int((~np.isfinite(columns).all(0)).sum()):
                notes.append(
                    f"{TITLES[score]}: {gone} {run.called} on which it is not defined for every run are left out"
                )
    if run.groups is not None:
        notes.append("the two channels of a moment count as one; moments that follow one another are alike all the same, "
                     "so the intervals are somewhat narrow")  # fmt: skip
    if max(len(s.runs) for s in settings) < 2:
        notes.append("one seed each: the intervals are of the test items; what another seed would give is not in them")
    if len(settings) > 2:
        notes.append(f"each p is of its comparison alone; by chance one of {len(settings) - 1} falls below "
                     f"{0.05 / (len(settings) - 1):.3g} in 5 % of cases (Bonferroni)")  # fmt: skip
    if run.part == "train":
        notes.append("these are scores of the training part, no test")
    commits = {str(r.card.code.commit) for r in results}
    if len(commits) > 1:
        notes.append("the runs are of different versions of the code")
    return notes
