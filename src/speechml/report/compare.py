"""Which of several runs is better, by how much, and whether it may be chance: on the same test items, and over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechml.errors import UserError
from speechml.metrics.classification import macro_f1
from speechml.report.finished_run import HIGHER_IS_BETTER, Result
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
from speechml.report.summary import TITLES
from speechml.runs.labels import name_differences

RESAMPLES = 1_000  # for macro F1: a whole confusion matrix is counted for each


@dataclass(frozen=True)
class Setting:
    """Runs that differ by seed only."""

    label: str
    runs: tuple[Result, ...]

    @property
    def seeds(self) -> list[int]:
        """One a run."""
        return [run.seed for run in self.runs]


@dataclass(frozen=True)
class Line:
    """A score of a setting, and its difference to the first setting; None where it is the first.

    Attributes:
        mean: over the seeds, with its interval.
        over_items: difference over the test items, of these runs.
        over_seeds: difference over seeds.
    """

    score: str
    setting: Setting
    mean: Difference
    over_items: Difference | None
    over_seeds: Difference | None
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """What was compared, on how many items, and a line for each score and setting.

    Attributes:
        forced: why the runs do not compare, where it was asked for all the same.
    """

    settings: list[Setting]
    lines: list[Line]
    items: int
    notes: list[str]
    forced: str

    @property
    def first(self) -> Result:
        """The run that stands for all where they are alike."""
        return self.settings[0].runs[0]


def compare_runs(folders: Sequence[Path], force: bool = False) -> Comparison:
    """Compare finished runs, each with the first.

    Args:
        folders: of two runs or more.
        force: compare runs of different test sets or protocols as well, as groups of items that have nothing in common.

    Raises:
        UserError: fewer than two runs, one twice, one that is not done or is none, or runs that do not compare.
    """
    results = _load_results(folders)
    forced = _incomparable(results)
    if forced and not force:
        raise UserError(forced, fix="--force compares all the same, as unpaired items")
    settings = group_settings(results)
    common = None if forced else _common_items([run.names for run in results])
    if common is not None and len(common) == 0:
        raise UserError("the runs have scored no test item in common; evaluate them on the same items")
    scores = [score for score in HIGHER_IS_BETTER if all(_has_score(run, score) for run in results)]
    lines = [line for score in scores for line in _compare_score(score, settings, common)]
    count = len(results[0].names if common is None else common)
    return Comparison(settings, lines, count, _notes(results, settings, scores, common), forced)


def _load_results(folders: Sequence[Path]) -> list[Result]:
    if len(folders) < 2:
        raise UserError("one run compares with nothing; give two or more, as in speechml compare runs/A/ID runs/B/ID")
    places: set[Path] = set()
    for folder in folders:
        if folder.resolve() in places:
            raise UserError(f"{folder} is given twice; each run compares with the others once")
        places.add(folder.resolve())
    results = [Result(folder) for folder in folders]
    for run in results:
        _ = run.predictions  # what is damaged or missing is said before anything is computed
    return results


def _incomparable(results: Sequence[Result]) -> str:
    """Why runs were not scored on the same test, or nothing where they were.

    Raises:
        UserError: what they predict is of different kinds.
    """
    first = results[0]
    for run in results[1:]:
        if (run.classes is None) != (first.classes is None):
            raise UserError(f"{first.folder} and {run.folder} do not compare: one classifies, the other denoises")
        if others := sorted(set(run.classes or []) ^ set(first.classes or [])):
            names = ", ".join(others[:5]) + ", ..." * (len(others) > 5)
            raise UserError(f"{first.folder} and {run.folder} do not compare: not both know the classes {names}")
    for run in results[1:]:
        for what, one, other in (
            ("split protocols", first.data.protocol, run.data.protocol),
            ("test sets", first.data.test_fingerprint, run.data.test_fingerprint),
            ("splits", first.split, run.split),
        ):
            if one != other:
                return f"{first.folder} and {run.folder} have different {what} ({one} and {other})"
    return ""


def group_settings(results: Sequence[Result]) -> list[Setting]:
    """Group runs by what they differ in beside the seed, and name them by it; in the order in which they were given."""
    alike: dict[tuple[object, ...], list[Result]] = {}
    for run in results:
        key = (run.card.experiment, run.test_set, repr(sorted(run.config.items())))
        alike.setdefault(key, []).append(run)
    groups: list[list[Result]] = []
    for runs in alike.values():
        distinct = len({run.seed for run in runs}) == len(runs)
        groups += [runs] if distinct else [[run] for run in runs]  # the same run twice, of two versions of the code
    return [Setting(_label(group, groups), tuple(sorted(group, key=lambda run: run.seed))) for group in groups]


def _label(group: list[Result], groups: list[list[Result]]) -> str:
    """Experiment, where they are several, and the keys in which a setting differs from others of its experiment."""
    own = group[0]
    others = [g[0] for g in groups if g[0].card.experiment == own.card.experiment and g is not group]
    several = len({g[0].card.experiment for g in groups}) > 1
    keys = name_differences(own.config, [run.config for run in others])
    same = any(run.config == own.config for run in others)
    words = [*[own.card.experiment] * (several or not others), *[keys] * bool(keys), *[own.folder.name] * same]
    return " ".join(words) or own.folder.name


def _common_items(names: Sequence[np.ndarray]) -> np.ndarray:
    """The items that all runs have scored: limits of batches may have left some out."""
    common = names[0]
    for more in names[1:]:
        common = np.intersect1d(common, more)
    return np.asarray(np.sort(common))


def _has_score(run: Result, score: str) -> bool:
    return run.values(score) is not None or (score == "macro_f1" and run.classes is not None)


def _rows(run: Result, common: np.ndarray) -> np.ndarray:
    """Where the common items are among those of a run, whose names are sorted; the first of equal names."""
    return np.asarray(np.searchsorted(run.names, common)) if len(common) < len(run.names) else np.arange(len(common))


def _compare_score(score: str, settings: Sequence[Setting], common: np.ndarray | None) -> list[Line]:
    """A line for each setting.

    Args:
        common: names of the items that are compared; None: unpaired.
    """
    tables = [_table(score, setting, common) for setting in settings]
    whole = common is None or all(len(run.names) == len(common) for setting in settings for run in setting.runs)
    means = [_run_scores(score, setting, table, whole) for setting, table in zip(settings, tables, strict=True)]
    macro = None
    if score == "macro_f1" and common is not None:
        macro = [_resampled_macro_f1(setting, settings[0].runs[0], common) for setting in settings]
    lines = [Line(score, settings[0], seed_interval(means[0]), None, None, "")]
    for number, setting in enumerate(settings[1:], 1):
        items = None
        if macro is not None and common is not None:
            groups = settings[0].runs[0].groups
            units = len(common) if groups is None else len(np.unique(groups))
            items = resampled_difference(macro[0][1:], macro[number][1:], (macro[0][0], macro[number][0]), units)
        elif score != "macro_f1":
            items = _over_items(score, settings[0].runs[0], tables[0], tables[number], common)
        seeds = _over_seeds(settings[0], setting, means[0], means[number])
        verdict = _verdict(HIGHER_IS_BETTER[score], items, seeds)
        lines.append(Line(score, setting, seed_interval(means[number]), items, seeds, verdict))
    return lines


def _table(score: str, setting: Setting, common: np.ndarray | None) -> np.ndarray:
    """A score of each item in each run of a setting. Shape: (runs, items)."""
    columns = [(run, run.values(score)) for run in setting.runs]
    rows = [c if common is None else c[_rows(run, common)] for run, c in columns if c is not None]
    return np.stack(rows) if rows else np.empty((len(columns), 0))  # the macro F1 is a score of no single item


def _run_scores(score: str, setting: Setting, table: np.ndarray, whole: bool) -> np.ndarray:
    """The score of each run of a setting on the items compared: its card's where those are all its items. Shape: (runs,)."""
    found = [run.scores.get(f"{run.split}/{score}") if whole else None for run in setting.runs]
    return np.array([_mean(row) if value is None else value for value, row in zip(found, table, strict=True)], float)


def _mean(row: np.ndarray) -> float:
    defined = row[np.isfinite(row)]
    return float(defined.mean()) if len(defined) else math.nan


def _over_items(score: str, run: Result, one: np.ndarray, other: np.ndarray, common: np.ndarray | None) -> Difference:
    """The difference over test items, of the means over the runs of each setting."""
    if common is None:
        return unpaired_difference(*(x[np.isfinite(x)] for x in (one.mean(0), other.mean(0))))
    groups = None if run.groups is None else run.groups[_rows(run, common)]
    if score == "acc":
        return share_difference(one.mean(0), other.mean(0), groups)
    difference = other.mean(0) - one.mean(0)
    defined = np.isfinite(difference)
    return mean_difference(difference[defined], None if groups is None else groups[defined])


def _resampled_macro_f1(setting: Setting, first: Result, common: np.ndarray) -> np.ndarray:
    """Macro F1 on all items, then on resamples of them, the mean over the runs of a setting. Shape: (1 + draws,)."""
    groups = np.arange(len(common)) if first.groups is None else first.groups[_rows(first, common)]
    drawn = resamples(int(groups.max()) + 1, RESAMPLES)[:RESAMPLES, groups]
    weights = np.concatenate([np.ones((1, len(common)), np.float32), drawn])
    scores = []
    for run in setting.runs:
        rows, columns = _rows(run, common), run.predictions
        order = [(run.classes or []).index(name) for name in first.classes or []]
        label = np.argsort(order)[columns["label"][rows]]
        scores.append(macro_f1(columns["logits"][rows][:, order], label, weights))
    return np.asarray(np.mean(scores, axis=0))


def _over_seeds(one: Setting, other: Setting, ones: np.ndarray, others: np.ndarray) -> Difference | None:
    """The difference over seeds: paired where both settings have the same, else Welch's; None where either has one only."""
    if min(len(ones), len(others)) < 2:
        return None
    if one.seeds != other.seeds:
        return unpaired_difference(ones, others)
    return seed_interval(others - ones)


def _verdict(higher: bool, items: Difference | None, seeds: Difference | None) -> str:
    """What the intervals allow to say: both, where there are seeds, have to leave out 0 on the same side."""
    known = [d for d in (items, seeds) if d is not None and not math.isnan(d.low)]
    if not known:
        return "not known"
    certain = all(d.low > 0 for d in known) or all(d.high < 0 for d in known)
    if certain and not any(d.p >= 1 - LEVEL for d in known):  # an exact test may be stricter than an interval
        return "better" if (known[0].mean > 0) == higher else "worse"
    return "no difference shown"


def _notes(
    results: Sequence[Result], settings: Sequence[Setting], scores: Sequence[str], common: np.ndarray | None
) -> list[str]:
    notes = []
    run = results[0]
    item_name = run.data.called
    if common is not None and any(len(r.names) > len(common) for r in results):
        notes.append(f"only the {len(common)} test {item_name} that all runs have scored are compared")
    if common is not None and len(common) < 2:
        notes.append(f"the test is one recording ({run.split} set), so only seeds tell whether a difference is chance")
    if common is not None and run.classes is None:
        for score in scores:
            columns = _table(score, Setting("", tuple(results)), common)
            if undefined := int((~np.isfinite(columns).all(0)).sum()):
                where = f"{undefined} {item_name} on which it is not defined for every run"
                notes.append(f"{TITLES[score]}: {where} are left out")
    if run.groups is not None:
        notes.append("the two channels of a moment count as one; moments that follow one another are alike all the same, "
                     "so the intervals are somewhat narrow")  # fmt: skip
    if max(len(s.runs) for s in settings) < 2:
        notes.append("one seed each: the intervals are of the test items; what another seed would give is not in them")
    if len(settings) > 2:
        notes.append(f"each p is of its comparison alone; by chance one of {len(settings) - 1} falls below "
                     f"{0.05 / (len(settings) - 1):.3g} in 5 % of cases (Bonferroni)")  # fmt: skip
    if run.split == "train":
        notes.append("these are scores of the training set, no test")
    if len({str(r.card.code.commit) for r in results}) > 1:
        notes.append("the runs are of different versions of the code")
    return notes
