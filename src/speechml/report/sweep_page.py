"""The page of a sweep, or of any folder of runs: a table that sorts, any key against any score, curves, a comparison."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from speechml.errors import UserError
from speechml.report import svg
from speechml.report.compare import compare_runs
from speechml.report.comparison_table import cells, sentences
from speechml.report.media import as_json
from speechml.report.results import TRAINING
from speechml.report.run_page import metrics_of
from speechml.runs.card import HEADLINES, load_card
from speechml.runs.catalogue import state_of
from speechml.runs.settings import load_config, result_settings, settings_name
from speechml.runs.sweep_record import is_sweep, list_runs, load_sweep

COMPARED = 60  # runs, at most
DRAWN = 50  # curves of a drawing
FACTS = ("training_s", "epochs", "parameters")  # of a card, that stand beside keys and scores


class Cell(NamedTuple):
    """What a cell of the table shows, and what it sorts by."""

    text: str
    value: float | str | None


class Entry(NamedTuple):
    """A run as the page shows it."""

    folder: Path
    state: str
    experiment: str
    config: dict[str, Any]
    scores: dict[str, float]
    facts: dict[str, float]
    test_set: str


def sweep_context(folder: Path, page: Path) -> dict[str, Any]:
    """What the template of a sweep's page is filled with.

    Args:
        folder: of a sweep, or with runs at any depth.
        page: file that is written, from which runs are linked.

    Raises:
        UserError: no run in it.
    """
    entries = [found for found in (entry(run.folder) for run in list_runs(folder)) if found]
    if not entries:
        raise UserError(f"no run of {folder} has begun; a report needs runs that are done")
    keys = differing(entries)
    scores = told_scores(entries)
    rows = [_row(one, keys, scores, page.parent) for one in entries]
    states = Counter(one.state for one in entries)
    done = [one for one in entries if one.state == "done"]
    columns = ["run", "state", *keys, *scores, *FACTS]
    return {
        "title": _title(folder), "command": _command(folder), "columns": columns, "runs": rows,
        "states": ", ".join(f"{count} {state}" for state, count in states.most_common()), "notes": notes(done),
        "plotted": plotted(done, keys, scores) if done else "", "across": [*(keys or ["run"]), *FACTS], "up": [*scores, *FACTS],
        "settings": legend(colours(done, keys)),
        "comparison": comparison(done), "curves": curves(done, keys),
    }  # fmt: skip


def entry(folder: Path) -> Entry | None:
    """What a run's card and config say; None where it has no card, or a damaged one."""
    try:
        card = load_card(folder)
        if card is None:
            return None
        whole = load_config(folder)
        config = {**result_settings(whole), "seed": whole.get("seed")}
        scores = {name: float(value) for name, value in card.scores.items() if value is not None}
        measured = {"training_s": card.training_s, "epochs": card.epochs, "parameters": card.parameters}
        facts = {name: float(value) for name, value in measured.items() if value is not None}
        return Entry(folder, state_of(folder, card), card.experiment, config, scores, facts, card.data.test_fingerprint)
    except UserError:
        return None


def differing(entries: list[Entry]) -> list[str]:
    """Keys in which the runs differ, the experiment first and the seed last; those that only repeat another are left out."""
    found: dict[str, str] = {}
    if len({one.experiment for one in entries}) > 1:
        return ["experiment", *_seed(entries)]
    for key in sorted({key for one in entries for key in one.config} - {"seed"}):
        values = [json.dumps(one.config.get(key), default=str) for one in entries]
        if len(set(values)) > 1:
            found.setdefault(" ".join(values), key)
    return [*found.values(), *_seed(entries)]


def _seed(entries: list[Entry]) -> list[str]:
    return ["seed"] if len({one.config.get("seed") for one in entries}) > 1 else []


def told_scores(entries: list[Entry]) -> list[str]:
    """Scores of the test and of the validation that some run has, the headline first; recalls of classes are left out."""
    names = {name for one in entries for name in one.scores if "recall_" not in name and "undefined" not in name}
    shown = [name for name in names if name.startswith(("test/", "heldout/", "val/")) and not _reference(name)]
    order = {name: i for i, name in enumerate(HEADLINES)}
    return sorted(
        shown, key=lambda name: (order.get(name, len(order)), not name.startswith(("test/", "heldout/")), name)
    )


def _reference(name: str) -> bool:
    return any(f"_{what}" in name for what in ("input", "wiener", "binary_mask", "clean_magnitude", "gain"))


def _value(one: Entry, column: str) -> Any:
    if column in ("run", "experiment"):
        return one.folder.name if column == "run" else one.experiment
    for known in (one.scores, one.facts, one.config):
        if column in known:
            value = known[column]
            return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else json.dumps(value)
    return None


def _row(one: Entry, keys: list[str], scores: list[str], beside: Path) -> dict[str, Any]:
    values = [_value(one, column) for column in (*keys, *scores, *FACTS)]
    shown = [
        Cell("-", "") if v is None else Cell(f"{v:.4g}", v) if isinstance(v, float) else Cell(str(v), v) for v in values
    ]
    page = one.folder / "report.html"
    there = Path(os.path.relpath(page.absolute(), beside.absolute())).as_posix()
    link = f"./{quote(there)}" if page.is_file() else ""
    return {"link": link, "cells": [Cell(one.folder.name, None), Cell(one.state, None), *shown]}


def colours(entries: list[Entry], keys: list[str]) -> dict[str, int]:
    """A number for each setting, by its name: runs that differ by seed only have one."""
    found: dict[str, int] = {}
    for one in entries:
        found.setdefault(setting(one, keys), len(found))
    return found


def legend(colour: dict[str, int]) -> list[tuple[str, int]]:
    """Names and colours, where there are as many colours as settings; else a touch on a dot or line tells its name."""
    return list(colour.items()) if 1 < len(colour) <= svg.COLOURS else []


def setting(one: Entry, keys: list[str]) -> str:
    """The keys of a run, but for its seed, as a name; the run's own where there are none."""
    values = {key: _value(one, key) for key in keys if key != "seed"}
    return settings_name({key: "null" if value is None else value for key, value in values.items()}) or one.experiment


def plotted(entries: list[Entry], keys: list[str], scores: list[str]) -> str:
    """Every run's keys, scores and facts as JSON, and the colour of its setting."""
    colour = colours(entries, keys)
    rows = []
    for one in entries:
        own = {key: _value(one, key) for key in (*(keys or ["run"]), *scores, *FACTS)}
        rows.append({**own, "name": one.folder.name, "colour": colour[setting(one, keys)] % svg.COLOURS})
    return as_json({"rows": rows})


def comparison(entries: list[Entry]) -> dict[str, Any] | None:
    """Each setting against the first, or why there is no comparison; None where there is one run only."""
    tested = [one for one in entries if (one.folder / "predictions.npz").is_file()]
    tested = [one for one in tested if one.test_set == tested[0].test_set]
    if len(tested) < 2:
        return None
    if len(tested) > COMPARED:
        told = f"No comparison of {len(tested)} runs: speechml compare takes those that you name"
        return {"header": [], "rows": [], "sentences": [f"{told}."]}
    try:
        found = compare_runs([one.folder for one in tested])
    except UserError as error:
        return {"header": [], "rows": [], "sentences": [f"No comparison: {error}."]}
    header, rows = cells(found)
    absent = [one.folder.name for one in entries if one not in tested]
    left_out = [f"Left out, for another test set or none: {', '.join(absent)}."] if absent else []
    return {"header": header, "rows": rows, "sentences": [*sentences(found), *left_out]}


def curves(entries: list[Entry], keys: list[str]) -> list[tuple[str, str]]:
    """The losses of the first runs over each other, in the colours of their settings."""
    tables = {one.folder: metrics_of(one.folder) for one in entries[:DRAWN]}
    colour, drawn = colours(entries, keys), []
    for name in (*reversed(TRAINING), "val/snr_db", "val/acc"):
        series, own = {}, []
        for one in entries[:DRAWN]:
            if points := tables[one.folder].get(name):
                series[f"{setting(one, keys)} seed={_value(one, 'seed')} ({one.folder.name})"] = points
                own.append(colour[setting(one, keys)])
        if drawing := svg.curves(series, "epoch", name, own):
            drawn.append((name, drawing))
    return drawn


def notes(entries: list[Entry]) -> list[str]:
    """What a reader of the table should know."""
    told = []
    if len({one.test_set for one in entries}) > 1:
        told.append("The runs were scored on different test sets, so their scores do not all compare.")
    if len(entries) > DRAWN:
        told.append(f"Curves are drawn of the first {DRAWN} of the {len(entries)} runs that are done.")
    return told


def _title(folder: Path) -> str:
    path = folder.resolve()
    return f"sweep {path.name} of {path.parent.name}" if is_sweep(folder) else f"runs in {path.name}"


def _command(folder: Path) -> str:
    try:
        return load_sweep(folder).command if is_sweep(folder) else ""
    except UserError:
        return ""
