"""Which of several runs is better, by how much, and whether it may be chance: on the same test items, and over seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from speechml.contracts import is_higher_better
from speechml.errors import UserError
from speechml.report.baseline import Setting, choose_reference, common_validation, find_run, validations
from speechml.report.comparison_notes import comparison_notes, neither_beats
from speechml.report.difference_statistics import seed_interval, unpaired_difference
from speechml.report.finished_run import Result, read_result
from speechml.report.item_scores import item_difference, item_scores
from speechml.report.statistics import LEVEL, UNKNOWN, Difference
from speechml.report.summary import COLUMNS, score_name
from speechml.runs.labels import name_differences


@dataclass(frozen=True)
class Line:
    """A score of a setting, the mean over its seeds, and its difference to the first setting over items and over seeds."""

    score: str
    setting: Setting
    mean: Difference
    over_items: Difference = UNKNOWN
    over_seeds: Difference = UNKNOWN
    is_reference: bool = False  # of the first setting, to which the others are compared
    worthless: str = ""  # what neither setting is: better than its noisy input, or much better than chance
    is_input: bool = False  # of the noisy input
    kind: str = "setting"  # or `validation` of what settings are chosen by, `reference` of the noisy input and limits

    @property
    def verdict(self) -> str:
        """What the intervals allow to say: both, where there are seeds, have to leave out 0 on the same side."""
        if self.is_reference or self.kind == "validation":  # by which the reference itself was mostly chosen
            return ""
        known = [d for d in (self.over_items, self.over_seeds) if not math.isnan(d.low)]
        if not known:
            return "not known"
        certain = all(d.low > 0 for d in known) or all(d.high < 0 for d in known)
        if certain and not any(d.p >= 1 - LEVEL for d in known):  # an exact test may be stricter than an interval
            better = "better" + f", but neither is {self.worthless}" * bool(self.worthless)
            more = is_higher_better(self.score)
            if more is None:  # of a score of the user's own nobody has said which is better
                return "higher" if known[0].mean > 0 else "lower"
            return better if (known[0].mean > 0) == more else "worse"
        return "no difference shown"


@dataclass(frozen=True)
class Comparison:
    """What was compared, and a line for each score and setting.

    Attributes:
        settings: the reference first, the others as validation ranks them.
        forced: why the runs do not compare, where it was asked for all the same.
        reason: why the first setting is the reference.
        choices: the validation score of each setting, where all have one.
        limits: scores of the noisy input, of limits and of chance.
    """

    settings: list[Setting]
    lines: list[Line]
    notes: list[str]
    forced: str
    reason: str = ""
    choices: Sequence[Line] = ()
    limits: Sequence[Line] = ()

    @property
    def first(self) -> Result:
        """The run that stands for all where they are alike."""
        return self.settings[0].runs[0]


def compare_runs(folders: Sequence[Path], force: bool = False, baseline: str | Path | None = None) -> Comparison:
    """Compare finished runs, each setting with one: see `baseline.choose_reference`.

    Args:
        folders: of two runs or more.
        force: compare runs of different test sets or protocols as well, as groups of items that have nothing in common.
        baseline: the run to compare with, by its id, the beginning of that, or its folder.

    Raises:
        UserError: fewer than two runs, one twice, one that is not done or is none, runs that do not compare, or a baseline
            that is none of them.
    """
    check_several(folders)
    named = None if baseline is None else find_run(baseline, folders)
    return compare_results([read_result(folder) for folder in folders], force, named)


def check_several(folders: Sequence[Path]) -> None:
    """Raises UserError where there are fewer than two runs, or one is given twice."""
    if len(folders) < 2:
        raise UserError("one run compares with nothing; give two or more, as in speechml compare runs/A/ID runs/B/ID",
                        fix="speechml runs show RUN has those of one, beside its noisy input or chance")  # fmt: skip
    check_distinct(folders)


def check_distinct(folders: Sequence[Path]) -> None:
    """Raises UserError where a run is given twice."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a run is given twice; each compares with the others once")


def compare_results(results: Sequence[Result], force: bool = False, baseline: Path | None = None) -> Comparison:
    """Compare runs that were read, `baseline` the folder of one of them. Raises UserError where they do not compare."""
    forced = incomparable(results)
    if forced and not force:
        raise UserError(forced, fix="--force (in Python, force=True) compares all the same, as unpaired items")
    if not forced:
        common = reduce(np.intersect1d, [run.names for run in results])
        if not len(common):
            raise UserError("the runs have scored no test item in common; evaluate them on the same items")
        for run in results:
            run.align(common, results[0].classes)
        known = next((run.clusters for run in results if run.clusters.kind), results[0].clusters)
        for run in results:  # older runs may not know what newer ones do
            run.clusters = known
    settings, reason = choose_reference(group_settings(results), baseline)
    scores = [score for score in results[0].scores if all(score in run.scores for run in results)]
    lines = [line for score in scores for line in _compare_score(score, settings, not forced)]
    name = common_validation(settings)
    choices = _compare_seeds(name, "validation", settings, [validations(name, s) for s in settings]) if name else []
    limits = [line for score in scores for line in _limits(score, settings)]
    return Comparison(
        settings, lines, comparison_notes(settings, lines, limits, forced), forced, reason, choices, limits
    )


def incomparable(results: Sequence[Result]) -> str:
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
    alike: dict[str, list[Result]] = {}
    for run in results:
        key = (run.card.experiment, run.data.test_fingerprint, run.data.protocol, sorted(run.config.items()))
        alike.setdefault(repr(key), []).append(run)
    groups: list[list[Result]] = []
    for runs in alike.values():
        distinct = len({run.card.seed for run in runs}) == len(runs)
        groups += [runs] if distinct else [[run] for run in runs]  # the same run twice, of two versions of the code
    labels = _labels([runs[0] for runs in groups])
    return [
        Setting(label, tuple(sorted(runs, key=lambda run: run.card.seed)))
        for label, runs in zip(labels, groups, strict=True)
    ]


def _labels(runs: Sequence[Result]) -> list[str]:
    """Of settings: experiment, where they are several, and the keys in which each differs from others of its experiment.

    Those that this does not tell apart have the names of the folders besides.
    """
    places: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        places.setdefault(run.card.experiment, []).append(place)
    labels = [""] * len(runs)
    for experiment, own in places.items():
        first = experiment if len(places) > 1 or len(own) < 2 else ""
        for place, name in zip(own, name_differences([runs[i].config for i in own]), strict=True):
            labels[place] = f"{first} {name}".strip()
    often = Counter(labels)
    return [
        label if label and often[label] == 1 else f"{label} {run.folder.name}".strip()
        for label, run in zip(labels, runs, strict=True)
    ]


def _compare_score(score: str, settings: Sequence[Setting], paired: bool) -> list[Line]:
    """A line for each setting."""
    seeds = [np.array([run.score(score) for run in setting.runs]) for setting in settings]
    items = [item_scores(score, setting.runs) for setting in settings]
    reference, *others = _compare_seeds(score, "setting", settings, seeds)
    lines = [reference]
    for line, own_items in zip(others, items[1:], strict=True):
        groups = settings[0].runs[0].clusters.numbers, line.setting.runs[0].clusters.numbers
        over_items = item_difference(score, (items[0], own_items), groups, paired)
        if math.isnan(over_items.mean) and not line.over_seeds.units:  # a metric of the user's own, of one seed
            line = replace(line, over_seeds=Difference(line.mean.mean - reference.mean.mean))
        lines.append(replace(line, over_items=over_items, worthless=neither_beats(score, settings[0], line.setting)))
    return lines


def _compare_seeds(score: str, kind: str, settings: Sequence[Setting], seeds: Sequence[np.ndarray]) -> list[Line]:
    """A line for each setting, of the scores of its seeds: the differences are paired where all have the same."""
    lines = [Line(score, settings[0], seed_interval(seeds[0]), is_reference=True, kind=kind)]
    for setting, own in zip(settings[1:], seeds[1:], strict=True):
        if min(len(own), len(seeds[0])) < 2:
            over_seeds = Difference(float(own.mean() - seeds[0].mean())) if kind == "validation" else UNKNOWN
        elif setting.seeds == settings[0].seeds:
            over_seeds = seed_interval(own - seeds[0])
        else:
            over_seeds = unpaired_difference(seeds[0], own)
        if kind == "validation":  # no test of what was chosen by the same score
            over_seeds = over_seeds._replace(p=math.nan)
        lines.append(Line(score, setting, seed_interval(own), over_seeds=over_seeds, kind=kind))
    return lines


def _limits(score: str, settings: Sequence[Setting]) -> list[Line]:
    """What a score is of the noisy input and of limits, as the runs of the reference have them, or of guessing a class."""
    reference = settings[0]
    run, limits = reference.runs[0], dict[str, np.ndarray]()
    if run.classes is None:
        for part, title in COLUMNS.items():
            name = score_name(score, part)
            if part and all(name in one.columns for one in reference.runs):
                values = np.mean([one.values(name) for one in reference.runs], axis=0)
                others = [np.mean([run.values(name) for run in one.runs], axis=0) for one in settings[1:]
                          if all(name in run.columns for run in one.runs)]  # fmt: skip
                is_own = any(
                    len(one) != len(values) or not np.allclose(one, values, atol=0, equal_nan=True) for one in others
                )
                limits[f"{title} of {reference.label}" if is_own else title] = values
    elif score == "acc":
        label = run.columns["label"]
        most = np.bincount(label).argmax()
        limits[f"always {run.classes[most]}"] = (label == most).astype(float)
    own, groups, lines = item_scores(score, reference.runs), run.clusters.numbers, []
    for title, items in limits.items():
        difference = item_difference(score, (own, items), (groups, groups), True)
        mean = seed_interval(np.array([items[np.isfinite(items)].mean() if np.isfinite(items).any() else np.nan]))
        is_input = title.startswith(COLUMNS["_input"])
        lines.append(Line(score, Setting(title, ()), mean, difference, is_input=is_input, kind="reference"))
    if run.classes is not None and score == "acc":
        chance = seed_interval(np.array([1 / len(run.classes)]))
        lines.append(Line(score, Setting(f"chance (1 of {len(run.classes)})", ()), chance, kind="reference"))
    return lines
