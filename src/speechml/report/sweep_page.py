"""The page of a sweep, of a search, or of any folder of runs: settings over their seeds, a table, scores against keys, curves."""

from __future__ import annotations

import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from speechml.errors import UserError
from speechml.report.charts import Chart, Level, Series, load_metrics, score_levels, thin_curve
from speechml.report.compare import compare_runs
from speechml.report.comparison_table import comparison_rows, comparison_sentences
from speechml.report.drawing import is_logarithmic
from speechml.report.finished_run import LOSSES, has_scores_only
from speechml.report.run_page import Headline, written_span
from speechml.report.search_page import log_keys, read_search
from speechml.report.summary import ScoreTable
from speechml.report.sweep_entries import (
    FACTS,
    Entry,
    Objective,
    Value,
    differing_keys,
    group_settings,
    load_entry,
    sort_entries,
)
from speechml.runs.card import HEADLINES
from speechml.runs.sweep_record import is_sweep, list_runs, load_sweep
from speechml.storage.plain_files import is_plain

MAX_COMPARED = 60  # runs
MAX_DRAWN = 50  # curves of a figure
MAX_COLOURS = 8  # settings that have one each, s0 to s7 of the style
GREY = 7  # of them, for all but the best where settings are more
MAX_SETTINGS = 200  # that are listed with the spread over their seeds, the best
LONGEST = 80  # letters of a cell
WIDE = 20  # a key that spans more than this factor is drawn logarithmically
REFERENCES = ("_input", "_wiener", "_binary_mask", "_clean_magnitude", "_gain", "recall_", "undefined")
BESIDE = (
    "snr_input_db",
    "snr_wiener_db",
    "snr_binary_mask_db",
    "snr_clean_magnitude_db",
)  # that are shown all the same


def sweep_context(folder: Path, page: Path) -> dict[str, object]:
    """What the template of a sweep's page is filled with.

    Args:
        folder: of a sweep, or with runs at any depth.
        page: file that is written, from which runs are linked.

    Raises:
        UserError: no run in it.
    """
    entries = [entry for run in list_runs(folder) if (entry := load_entry(run.folder))]
    if not entries:
        raise UserError(f"no run of {folder} has begun; a report needs runs that are done")
    search = read_search(folder) if is_sweep(folder) else None
    common = Counter(entry.objective for entry in entries if entry.objective).most_common(1)
    objective = Objective(search.objective, search.more) if search else common[0][0] if common else None
    if objective and objective.name.endswith("loss") and len({entry.loss for entry in entries}) > 1:
        objective = None  # losses of several kinds have no order
    entries = sort_entries(entries, objective)
    keys, done = differing_keys(entries), [entry for entry in entries if entry.state == "done"]
    columns, scores = name_columns(entries, keys, objective)
    settings = group_settings(done)
    setting_of = {run.folder: name for name, runs in settings.items() for run in runs}
    is_ranked = len({frozenset(run.test_set for run in runs) for runs in settings.values()}) < 2  # all on equal data
    own = dict(zip(settings, range(MAX_COLOURS), strict=False) if len(settings) <= MAX_COLOURS else
               ((name, 0 if number == 0 else GREY) for number, name in enumerate(settings)))  # fmt: skip
    rows = [(_link(entry.folder, page.parent), own[setting_of[entry.folder]] if entry.state == "done" else "",
             [_cell(entry.value(column)) for column in columns]) for entry in entries]  # fmt: skip
    title, command, path = f"runs in {folder.resolve().name}", "", folder.resolve()
    if is_sweep(folder):
        title = f"{'search' if search else 'sweep'} {path.name} of {path.parent.name}"
        with suppress(UserError):
            command = load_sweep(folder).command
    states, logs = Counter(entry.state for entry in entries), log_columns(columns, entries, log_keys(folder))
    dates = sorted(date for entry in entries for date in (entry.card.started, entry.card.ended) if date)
    return {
        "title": title, "command": command, "columns": columns, "scores": scores, "rows": rows, "drawn": MAX_DRAWN,
        "tested": [name for name in scores if not name.startswith(("val/", "train/"))],
        "done": len(done), "states": ", ".join(f"{count} {state}" for state, count in states.most_common()),
        "when": written_span(dates[0], dates[-1]) if dates else "",
        "test_sets": len({entry.test_set for entry in done}), "objective": objective, "search": search and search.scaled(logs),
        "is_ranked": is_ranked, "headline": sweep_headline(settings, objective) if is_ranked else None,
        "spread": spread_over_seeds(settings, objective, scores, own),
        "warned": [(entry.folder.name, entry.card.warnings) for entry in done if entry.card.warnings],
        "best_warnings": (done[0].card.warnings or []) if done and objective and is_ranked else [],
        "logs": logs,
        "settings": list(own.items()) if 1 < len(own) <= MAX_COLOURS else [],  # where each has its own colour
        "comparison": compare_entries(done), "charts": draw_metrics(done, [own[setting_of[e.folder]] for e in done]),
    }  # fmt: skip


def name_columns(
    entries: Sequence[Entry], keys: Sequence[str], objective: Objective | None
) -> tuple[list[str], list[str]]:
    """The columns of the table, and those of them that are scores: the objective first, the test behind the keys."""
    scores = list_scores(entries)
    tested = [name for name in scores if not name.startswith(("val/", "train/"))]  # further test sets have other names
    others = [name for name in scores if name not in tested]
    first = [objective.name] if objective and any(objective.name in entry.scores for entry in entries) else []
    others = [name for name in others if name not in first]
    return ["run", "state", *first, *keys, *others, *tested, *FACTS], [*first, *others, *tested]


class Spread(NamedTuple):
    """Mean and spread over seeds of each setting, the best by validation first, and every seed."""

    header: list[str]
    rows: list[list[str]]
    dots: list[dict[str, object]]  # setting, class of its colour, value of each seed with the run that it is of
    by: str
    is_test: bool


def spread_over_seeds(
    settings: Mapping[str, Sequence[Entry]],
    objective: Objective | None,
    scores: Sequence[str],
    colours: Mapping[str, int],
) -> Spread | None:
    """The settings by the mean of the objective over their runs, then their headline score of the test; None of single runs."""
    tested = next((name for name in scores if name in HEADLINES), None)
    names = [name for name in dict.fromkeys([objective.name if objective else None, tested]) if name]
    if not names or max(map(len, settings.values()), default=0) < 2:
        return None
    values = {setting: {name: _numbers(runs, name) for name in names} for setting, runs in settings.items()}
    sign = 1 if objective is None or objective.more else -1
    order = sorted((setting for setting in values if values[setting][names[0]]),
                   key=lambda setting: -sign * statistics.fmean(values[setting][names[0]].values()))[:MAX_SETTINGS]  # fmt: skip
    rows = [[setting, str(len(settings[setting])), *(_mean(values[setting][name].values()) for name in names)]
            for setting in order]  # fmt: skip
    dots: list[dict[str, object]] = [
        {
            "name": setting,
            "colour": f"s{colours[setting]}",
            "points": list(map(list, values[setting][names[0]].items())),
        }
        for setting in order
    ]
    marks = [f"{name} (test)" if name == tested else name for name in names]
    return Spread(["setting", "runs", *marks], rows, dots, names[0], names[0] == tested)


def _numbers(runs: Sequence[Entry], name: str) -> dict[str, float]:
    """The finite values of a score, by the names of the runs."""
    values = {run.folder.name: run.scores.get(name) for run in runs}
    return {
        run: float(value) for run, value in values.items() if isinstance(value, (int, float)) and math.isfinite(value)
    }


def _mean(values: Iterable[float]) -> str:
    """Mean and standard deviation, where there are several."""
    numbers = list(values)
    if not numbers:
        return "-"
    spread = f" ± {statistics.stdev(numbers):.2g}" if len(numbers) > 1 else ""
    return f"{statistics.fmean(numbers):.4g}{spread}"


def sweep_headline(settings: Mapping[str, Sequence[Entry]], objective: Objective | None) -> Headline | None:
    """The best setting by validation, and its score."""
    if objective is None:
        return None
    means = {name: list(_numbers(runs, objective.name).values()) for name, runs in settings.items()}
    means = {name: values for name, values in means.items() if values}
    if not means:
        return None
    best = (max if objective.more else min)(means, key=lambda name: statistics.fmean(means[name]))
    seeds = f", mean and standard deviation of {len(means[best])} runs" if len(means[best]) > 1 else ""
    return Headline(_mean(means[best]), f"{objective.name}, the best by validation: {best}{seeds}")


def log_columns(columns: Sequence[str], entries: Sequence[Entry], searched: Mapping[str, bool]) -> list[str]:
    """Columns that are drawn logarithmically: keys that were searched so, keys and facts that are positive and span much, and
    scores that are neither in dB nor have a sign."""
    logs, losses = [], {entry.loss for entry in entries}
    for column in columns[2:]:
        values = [value for entry in entries if (value := entry.value(column)) is not None]
        numbers = [float(value) for value in values if isinstance(value, (int, float))]
        if not numbers or len(numbers) < len(values) or min(numbers) <= 0 or column == "seed":
            continue
        if "/" in column:
            score = column.partition("/")[2]
            what = (losses.copy().pop() if len(losses) == 1 else "") if score == "loss" else score
            is_log = is_logarithmic(numbers, what)
        else:
            is_log = searched.get(column, max(numbers) > WIDE * min(numbers))
        logs += [column] * is_log
    return logs


def list_scores(entries: Sequence[Entry]) -> list[str]:
    """Scores of the test and validation sets that some run has, the headline first, without references and recalls."""
    names = {name for entry in entries for name in entry.scores if "/" in name and not name.startswith("train/")}
    names = {name for name in names if name.endswith(BESIDE) or not any(part in name for part in REFERENCES)}
    return sorted(
        names, key=lambda name: (name not in HEADLINES, not name.endswith(BESIDE), name.startswith("val/"), name)
    )


def _cell(value: Value) -> str:
    text = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _link(run: Path, beside: Path) -> str:
    """The address of a run's page, if there is one."""
    page = run / "report.html"
    place = Path(os.path.relpath(page.absolute(), beside.absolute())).as_posix()
    return f"./{quote(place)}" if is_plain(run, page.name) else ""


def compare_entries(entries: Sequence[Entry]) -> ScoreTable | None:
    """Each setting against the first, or why there is no comparison; None where there is one run only."""
    tested = [entry for entry in entries
              if has_scores_only(entry.folder, entry.card) or (entry.folder / "predictions.npz").is_file()]  # fmt: skip
    tested = [entry for entry in tested if entry.test_set == tested[0].test_set]
    if len(tested) < 2:
        return None
    if len(tested) > MAX_COMPARED:
        return ScoreTable([], [], [f"No comparison of {len(tested)} runs: name the runs in speechml compare."])
    try:
        comparison = compare_runs([entry.folder for entry in tested])
    except UserError as error:
        return ScoreTable([], [], [f"No comparison: {error}."])
    others = ", ".join(entry.folder.name for entry in entries if entry not in tested)
    omitted = [f"Left out, for another test set or none: {others}."] if others else []
    return ScoreTable(*comparison_rows(comparison), [*comparison_sentences(comparison), *omitted])


def draw_metrics(entries: Sequence[Entry], colours: Sequence[int]) -> list[Chart]:
    """The losses and scores of the best runs over each other, in the colours of their settings."""
    drawn = [(entry, load_metrics(entry.folder), colour)
             for entry, colour in zip(entries[:MAX_DRAWN], colours, strict=False)]  # fmt: skip
    losses, charts = {entry.loss for entry, *_ in drawn}, []
    for name in (*reversed(LOSSES), "val/snr_db", "val/acc"):
        own = [(entry, table[name], colour) for entry, table, colour in drawn if name in table]
        if not own:
            continue
        series = [Series(entry.folder.name, f"s{colour}", thin_curve(curve)) for entry, curve, colour in reversed(own)]
        score = name.partition("/")[2]
        what = (next(iter(losses)) if len(losses) == 1 else "") if score == "loss" else score
        is_log = is_logarithmic([value for one in series for _, value in one.points], what)
        best = drawn[0]
        levels: list[Level] = (
            score_levels(score, best[1], best[0].card) if len({e.test_set for e, *_ in own}) == 1 else []
        )
        charts.append(Chart(f"{name} per epoch", "epoch", name, series, levels, y_log=is_log, legend=False))
    return charts
