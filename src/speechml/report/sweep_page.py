"""The page of a sweep, or of any folder of runs: a sortable table, scores against keys, a comparison, curves."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from speechml.contracts import Config
from speechml.errors import UserError
from speechml.report.compare import compare_runs
from speechml.report.comparison_table import comparison_rows, comparison_sentences
from speechml.report.drawing import PALETTE
from speechml.report.finished_run import LOSSES
from speechml.report.run_page import Picture, draw_picture, load_metrics
from speechml.runs.card import HEADLINES, load_card
from speechml.runs.catalogue import state_of
from speechml.runs.labels import load_config, result_settings, settings_name
from speechml.runs.sweep_record import is_sweep, list_runs, load_sweep

MAX_COMPARED = 60  # runs
MAX_DRAWN = 50  # curves of a figure
FACTS = ("training_s", "epochs", "parameters")  # of a card, that stand beside keys and scores
REFERENCES = ("_input", "_wiener", "_binary_mask", "_clean_magnitude", "_gain", "recall_", "undefined")

Value = float | str | None


class Cell(NamedTuple):
    """What a cell of the table shows, and what it sorts by."""

    text: str
    value: Value


class Row(NamedTuple):
    """A row of the table, with the address of the run's page, if there is one."""

    link: str
    cells: list[Cell]


class ComparisonTable(NamedTuple):
    """A comparison in the page, or a sentence that says why there is none."""

    header: list[str]
    rows: list[list[str]]
    sentences: list[str]


@dataclass(frozen=True)
class Entry:
    """A run as the page shows it.

    Attributes:
        config: dotted keys that can change a result.
        values: its scores, and FACTS of its card.
    """

    folder: Path
    state: str
    experiment: str
    config: Config
    values: dict[str, float]
    test_set: str

    @classmethod
    def load(cls, folder: Path) -> Entry | None:
        """The entry of a run; None where it has no card, or a damaged one."""
        try:
            card = load_card(folder)
            if card is None:
                return None
            whole = load_config(folder)
        except UserError:
            return None
        facts = {"training_s": card.training_s, "epochs": card.epochs, "parameters": card.parameters}
        values = {name: float(value) for name, value in {**card.scores, **facts}.items() if value is not None}
        config = {**result_settings(whole), "seed": whole.get("seed")}
        return cls(folder, state_of(folder, card), card.experiment, config, values, card.data.test_fingerprint)

    def __getitem__(self, column: str) -> Value:
        if column in ("run", "experiment"):
            return self.folder.name if column == "run" else self.experiment
        if column in self.values:
            return self.values[column]
        value = self.config.get(column)
        plain = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        if value is None or (plain and not (isinstance(value, float) and not math.isfinite(value))):
            return value
        return json.dumps(value, default=str)

    def setting(self, keys: Sequence[str]) -> str:
        """The keys of the run, but for its seed, as a name; the experiment where there are none."""
        values = {key: self[key] for key in keys if key != "seed"}
        return (
            settings_name({key: "null" if value is None else value for key, value in values.items()}) or self.experiment
        )


def sweep_context(folder: Path, page: Path) -> dict[str, object]:
    """What the template of a sweep's page is filled with.

    Args:
        folder: of a sweep, or with runs at any depth.
        page: file that is written, from which runs are linked.

    Raises:
        UserError: no run in it.
    """
    entries = [entry for run in list_runs(folder) if (entry := Entry.load(run.folder))]
    if not entries:
        raise UserError(f"no run of {folder} has begun; a report needs runs that are done")
    keys, scores = differing_keys(entries), shown_scores(entries)
    states = Counter(entry.state for entry in entries)
    done = [entry for entry in entries if entry.state == "done"]
    colours = number_settings(done, keys)
    x_axis, y_axis = [*(keys or ["run"]), *FACTS], [*scores, *FACTS]
    plotted = [
        {column: entry[column] for column in (*x_axis, *scores)}
        | {"name": entry.folder.name, "colour": colours[entry.setting(keys)] % len(PALETTE)}
        for entry in done
    ]
    return {
        "title": _title(folder), "command": _command(folder), "columns": ["run", "state", *keys, *scores, *FACTS],
        "runs": [_row(entry, [*keys, *scores, *FACTS], page.parent) for entry in entries],
        "states": ", ".join(f"{count} {state}" for state, count in states.most_common()), "notes": notes(done),
        "plotted": plotted, "x_axis": x_axis, "y_axis": y_axis,
        "settings": list(colours.items()) if 1 < len(colours) <= len(PALETTE) else [],  # where each has its own colour
        "comparison": comparison(done), "curves": curves(done, keys, colours),
    }  # fmt: skip


def differing_keys(entries: Sequence[Entry]) -> list[str]:
    """Keys in which the runs differ, the experiment first and the seed last; those that only repeat another are left out."""
    seed = ["seed"] if len({entry["seed"] for entry in entries}) > 1 else []
    if len({entry.experiment for entry in entries}) > 1:
        return ["experiment", *seed]
    keys: dict[str, str] = {}
    for key in sorted({key for entry in entries for key in entry.config} - {"seed"}):
        values = [json.dumps(entry.config.get(key), default=str) for entry in entries]
        if len(set(values)) > 1:
            keys.setdefault(" ".join(values), key)
    return [*keys.values(), *seed]


def shown_scores(entries: Sequence[Entry]) -> list[str]:
    """Scores of the test and validation sets that some run has, the headline first, without references and recalls."""
    names = {name for entry in entries for name in entry.values if name.startswith(("test/", "heldout/", "val/"))}
    order = {name: place for place, name in enumerate(HEADLINES)}
    return sorted(
        (name for name in names if not any(part in name for part in REFERENCES)),
        key=lambda name: (order.get(name, len(order)), name.startswith("val/"), name),
    )


def _row(entry: Entry, columns: Sequence[str], beside: Path) -> Row:
    cells = [Cell(entry.folder.name, None), Cell(entry.state, None)]
    for value in map(entry.__getitem__, columns):
        text = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        cells.append(Cell(text, "" if value is None else value))
    page = entry.folder / "report.html"
    place = Path(os.path.relpath(page.absolute(), beside.absolute())).as_posix()
    return Row(f"./{quote(place)}" if page.is_file() else "", cells)


def number_settings(entries: Sequence[Entry], keys: Sequence[str]) -> dict[str, int]:
    """A number for each setting, by its name: runs that differ by seed only have one."""
    numbers: dict[str, int] = {}
    for entry in entries:
        numbers.setdefault(entry.setting(keys), len(numbers))
    return numbers


def comparison(entries: Sequence[Entry]) -> ComparisonTable | None:
    """Each setting against the first, or why there is no comparison; None where there is one run only."""
    tested = [entry for entry in entries if (entry.folder / "predictions.npz").is_file()]
    tested = [entry for entry in tested if entry.test_set == tested[0].test_set]
    if len(tested) < 2:
        return None
    if len(tested) > MAX_COMPARED:
        why = f"No comparison of {len(tested)} runs: name the runs in speechml compare."
        return ComparisonTable([], [], [why])
    try:
        result = compare_runs([entry.folder for entry in tested])
    except UserError as error:
        return ComparisonTable([], [], [f"No comparison: {error}."])
    header, rows = comparison_rows(result)
    others = [entry.folder.name for entry in entries if entry not in tested]
    omitted = [f"Left out, for another test set or none: {', '.join(others)}."] if others else []
    return ComparisonTable(header, rows, [*comparison_sentences(result), *omitted])


def curves(entries: Sequence[Entry], keys: Sequence[str], colours: dict[str, int]) -> list[Picture]:
    """The losses and scores of the first runs over each other, in the colours of their settings."""
    drawn = entries[:MAX_DRAWN]
    tables = [load_metrics(entry.folder) for entry in drawn]
    pictures = []
    for name in (*reversed(LOSSES), "val/snr_db", "val/acc"):
        shown = [(entry, table[name]) for entry, table in zip(drawn, tables, strict=True) if name in table]
        numbers = [colours[entry.setting(keys)] for entry, _ in shown]
        pictures += draw_picture(name, {str(entry.folder): curve for entry, curve in shown}, numbers)
    return pictures


def notes(entries: Sequence[Entry]) -> list[str]:
    """What a reader of the table should know."""
    lines = []
    if len({entry.test_set for entry in entries}) > 1:
        lines.append("The runs were scored on different test sets, so not all of their scores compare.")
    if len(entries) > MAX_DRAWN:
        lines.append(f"Curves show the first {MAX_DRAWN} of the {len(entries)} runs that are done.")
    return lines


def _title(folder: Path) -> str:
    path = folder.resolve()
    return f"sweep {path.name} of {path.parent.name}" if is_sweep(folder) else f"runs in {path.name}"


def _command(folder: Path) -> str:
    try:
        return load_sweep(folder).command if is_sweep(folder) else ""
    except UserError:
        return ""
