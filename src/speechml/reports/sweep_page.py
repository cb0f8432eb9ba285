"""The page of a sweep, or of any folder of runs: a table that sorts, any key against any score, curves, a comparison."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from speechml.configs import flat
from speechml.errors import BadInput
from speechml.reports import svg
from speechml.reports.compare import compared
from speechml.reports.comparison_table import cells, sentences
from speechml.reports.media import as_json
from speechml.reports.results import LOADER, TRAINING
from speechml.reports.run_page import metrics_of
from speechml.runs.catalogue import DAMAGE, HEADLINES, state_of
from speechml.runs.folder import read_card
from speechml.runs.identity import WITHOUT_EFFECT
from speechml.sweeps.status import runs_of

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
        BadInput: no run in it.
    """
    entries = [found for found in (entry(run.folder) for run in runs_of(folder)) if found]
    if not entries:
        raise BadInput(f"no run of {folder} has begun; a report needs runs that are done")
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
        "comparison": comparison(done), "curves": curves(done, keys),
    }  # fmt: skip


def entry(folder: Path) -> Entry | None:
    """What a run's card and config say; None where it has no card, or a damaged one."""
    try:
        card = read_card(folder)
        if card is None:
            return None
        config = flat(yaml.load((folder / "config.yaml").read_text(), LOADER))
        scores = {str(k): float(v) for k, v in card["scores"].items() if v is not None and math.isfinite(v)}
        facts = {name: float(card[name]) for name in FACTS if name in card}
        return Entry(folder, state_of(folder, card), str(card["experiment"]), config, scores, facts,
                     str(card["data"]["test_fingerprint"]))  # fmt: skip
    except (OSError, BadInput, yaml.YAMLError, *DAMAGE):
        return None


def differing(entries: list[Entry]) -> list[str]:
    """Keys in which the runs differ, the experiment first and the seed last; those that only repeat another are left out."""
    names = {key for one in entries for key in one.config} - {"seed", "data.seed", "model.seed", "data.cache"}
    hidden = tuple(f"{key}." for key in WITHOUT_EFFECT)
    found: dict[str, str] = {}
    if len({one.experiment for one in entries}) > 1:
        return ["experiment", *_seed(entries)]
    for key in sorted(names):
        column = json.dumps([one.config.get(key) for one in entries], default=str)
        if len({json.dumps(one.config.get(key), default=str) for one in entries}) > 1 and not f"{key}.".startswith(
            hidden
        ):
            found.setdefault(column, key)
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
    link = Path(os.path.relpath(page.absolute(), beside.absolute())).as_posix() if page.is_file() else ""
    return {"link": link, "cells": [Cell(one.folder.name, None), Cell(one.state, None), *shown]}


def plotted(entries: list[Entry], keys: list[str], scores: list[str]) -> str:
    """Every run's keys, scores and facts as JSON; runs with equal keys but for the seed have one colour."""
    settings: dict[str, int] = {}
    rows = []
    for one in entries:
        own = {key: _value(one, key) for key in (*(keys or ["run"]), *scores, *FACTS)}
        same = json.dumps([own[key] for key in keys if key != "seed"])
        colour = settings.setdefault(same, len(settings)) % svg.COLOURS
        rows.append({**own, "name": one.folder.name, "colour": colour})
    return as_json({"rows": rows})


def comparison(entries: list[Entry]) -> dict[str, Any] | None:
    """Each setting against the first, or why there is no comparison; None where there is one run only."""
    if not 2 <= len(entries) <= COMPARED:
        return None
    try:
        found = compared([one.folder for one in entries])
    except BadInput as error:
        return {"header": [], "rows": [], "sentences": [f"No comparison: {error}."]}
    if len(found.settings) < 2 and len(found.settings[0].runs) < 2:
        return None
    header, rows = cells(found)
    return {"header": header, "rows": rows, "sentences": sentences(found)}


def curves(entries: list[Entry], keys: list[str]) -> list[tuple[str, str]]:
    """The losses of the first runs over each other."""
    tables = {one.folder: metrics_of(one.folder) for one in entries[:DRAWN]}
    drawn = []
    for name in (*reversed(TRAINING), *HEADLINES, "val/snr_db", "val/acc"):
        series = {}
        for one in entries[:DRAWN]:
            if points := tables[one.folder].get(name):
                what = " ".join(f"{key}={_value(one, key)}" for key in keys) or one.folder.name
                series[what if what not in series else f"{what} {one.folder.name}"] = points
        if drawing := svg.curves(series, "epoch", name, legend=len(series) <= svg.COLOURS):
            drawn.append((name, drawing))
    return drawn


def notes(entries: list[Entry]) -> list[str]:
    """What a reader of the table should know."""
    if len({one.test_set for one in entries}) > 1:
        return ["The runs were scored on different test sets, so their scores do not all compare."]
    return []


def _title(folder: Path) -> str:
    path = folder.resolve()
    return f"sweep {path.name} of {path.parent.name}" if (folder / "sweep.json").is_file() else f"runs in {path.name}"


def _command(folder: Path) -> str:
    try:
        return str(json.loads((folder / "sweep.json").read_text()).get("command", ""))
    except (OSError, *DAMAGE):
        return ""
