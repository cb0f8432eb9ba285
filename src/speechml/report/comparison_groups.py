"""Comparisons of runs that were scored on several test sets: one for each set, and what compares with nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speechml.errors import UserError, printable
from speechml.report.baseline import find_run
from speechml.report.compare import (
    Comparison,
    check_distinct,
    check_several,
    compare_results,
    compare_runs,
    incomparable,
)
from speechml.report.comparison_table import FORMATS, comparisons_csv, describe_comparison, format_comparison
from speechml.report.finished_run import Result, read_result
from speechml.runs.catalogue import is_run, no_run
from speechml.runs.sweep_record import is_sweep, list_runs
from speechml.runs.tables import check_choice

LISTED = 10  # runs that are left out


@dataclass(frozen=True)
class Comparisons:
    """A comparison for each test set, and a sentence for each kind of runs that were left out."""

    groups: list[Comparison]
    omitted: list[str]


def compare_groups(folders: Sequence[Path], force: bool = False, baseline: str | Path | None = None) -> Comparisons:
    """Compare what compares: the runs of each test set, that of the baseline first; the folder of a sweep stands for its runs.

    Raises:
        UserError: nothing compares, a folder is no run, or the baseline is none of them or compares with none.
    """
    check_distinct([folder for folder in folders if is_run(folder)])
    folders = list(dict.fromkeys(run for folder in folders for run in _runs_of(folder)))
    if other := next((folder for folder in folders if not is_run(folder)), None):
        raise no_run(other)
    check_several(folders)
    named = None if baseline is None else find_run(baseline, folders)
    if force:
        return Comparisons([compare_runs(folders, force, named)], [])
    sets, refused = dict[tuple[str, ...], list[Result]](), dict[Path, UserError]()
    for folder in folders:
        try:
            run = read_result(folder)
            sets.setdefault(_test_of(run), []).append(run)
        except UserError as error:
            if folder == named:
                raise
            refused[folder] = error
    groups = [runs for runs in sets.values() if len(runs) > 1]
    alone = [run for runs in sets.values() if len(runs) == 1 for run in runs]
    if not groups:
        _refuse(alone, refused)
    if named in [run.folder for run in alone]:
        raise UserError(
            f"the baseline {named} was scored on a test set of its own", fix="name runs of the same test set"
        )
    groups.sort(key=lambda runs: (named not in [run.folder for run in runs], -len(runs)))
    compared = [
        compare_results(runs, False, named if named in [run.folder for run in runs] else None) for runs in groups
    ]
    omitted = [f"{run.folder} (test set {run.data.test_fingerprint} of {run.data.data})" for run in alone]
    return Comparisons(compared, [
        *_sentence("as no other run has their test set", omitted),
        *_sentence("without scores of a test", [f"{folder} ({_why(error, folder)})" for folder, error in refused.items()]),
    ])  # fmt: skip


def _runs_of(folder: Path) -> list[Path]:
    """The runs of a sweep that have begun; else the folder itself."""
    if not is_sweep(folder):
        return [folder]
    return [run.folder for run in list_runs(folder) if is_run(run.folder)]


def _test_of(run: Result) -> tuple[str, ...]:
    """What must be equal for runs to compare."""
    data = run.data
    return data.test_fingerprint, data.protocol, run.split, *sorted(run.classes or ()), str(run.classes is None)


def _refuse(alone: Sequence[Result], refused: dict[Path, UserError]) -> None:
    """Raises UserError: why no two of the runs compare."""
    if refused:
        raise next(iter(refused.values()))
    raise UserError(incomparable(alone), fix="--force (in Python, force=True) compares all the same, as unpaired items")


def _why(error: UserError, folder: Path) -> str:
    return str(error).removeprefix(f"{folder} ").removeprefix("is ").partition(";")[0]


def _sentence(what: str, runs: Sequence[str]) -> list[str]:
    more = f" and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
    return [printable(f"Not compared, {what}: {', '.join(runs[:LISTED])}{more}.")] if runs else []


def format_groups(comparisons: Comparisons, form: str) -> str:
    """The comparisons in one of FORMATS. Raises UserError for another."""
    check_choice("--format", form, FORMATS)
    groups, omitted = comparisons.groups, comparisons.omitted
    if form == "csv":
        return comparisons_csv(groups)
    if form == "json":
        about = [describe_comparison(one) for one in groups]
        content = {**about[0], "omitted": omitted} if len(about) == 1 else {"comparisons": about, "omitted": omitted}
        return json.dumps(content, indent=1) + "\n"
    mark, texts = "## " * (form == "markdown"), []
    for one in groups:
        title = f"{mark}{group_title(one)}\n\n" if len(groups) > 1 else ""
        texts.append(title + format_comparison(one, form))
    return "\n".join([*texts, *["\n".join([*omitted, ""])] * bool(omitted)])


def group_title(comparison: Comparison) -> str:
    """The test set of a comparison, and the experiments of its runs."""
    data, count = comparison.first.data, sum(len(setting.runs) for setting in comparison.settings)
    experiments = ", ".join(dict.fromkeys(setting.experiment for setting in comparison.settings))
    return printable(f"{data.data}, test set {data.test_fingerprint}: {count} runs of {experiments}")
