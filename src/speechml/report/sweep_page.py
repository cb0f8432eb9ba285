"""The page of a sweep, or of any folder of runs: a sortable table, scores against keys, a comparison, curves."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from speechml.errors import UserError
from speechml.report.compare import compare_runs
from speechml.report.comparison_table import comparison_rows, comparison_sentences
from speechml.report.drawing import PALETTE
from speechml.report.finished_run import LOSSES
from speechml.report.run_page import Picture, draw_picture, load_metrics
from speechml.report.summary import ScoreTable
from speechml.runs.card import HEADLINES, load_card
from speechml.runs.catalogue import state_of
from speechml.runs.labels import load_config, result_settings, settings_name
from speechml.runs.sweep_record import is_sweep, list_runs, load_sweep
from speechml.storage.plain_files import is_plain

MAX_COMPARED = 60  # runs
MAX_DRAWN = 50  # curves of a figure
FACTS = ("training_s", "epochs", "parameters")  # of a card, that stand beside keys and scores
REFERENCES = ("_input", "_wiener", "_binary_mask", "_clean_magnitude", "_gain", "recall_", "undefined")

Value = float | str | None


class Entry(NamedTuple):
    """A run as the page shows it."""

    folder: Path
    state: str
    test_set: str
    config: dict[str, Value]  # keys that can change a result, its experiment and its seed
    scores: dict[str, Value]  # and FACTS of its card

    def value(self, column: str) -> Value:
        """What stands in a column; None where that is not known."""
        return {"run": self.folder.name, "state": self.state, **self.config, **self.scores}.get(column)

    def setting(self, keys: Sequence[str]) -> str:
        """The keys of the run, but for its seed, as a name; the experiment where there are none."""
        values = {key: self.config.get(key) for key in keys if key != "seed"}
        name = settings_name({key: "null" if value is None else value for key, value in values.items()})
        return name or str(self.config["experiment"])


def load_entry(folder: Path) -> Entry | None:
    """The entry of a run; None where it has no card, or a damaged one."""
    try:
        if (card := load_card(folder)) is None:
            return None
        config = load_config(folder)
    except UserError:
        return None
    settings = {**result_settings(config), "seed": config.get("seed"), "experiment": card.experiment}
    facts = {"training_s": card.training_s, "epochs": card.epochs, "parameters": card.parameters}
    plain = {key: _plain(value) for key, value in settings.items()}
    return Entry(folder, state_of(folder, card), card.data.test_fingerprint, plain, {**card.scores, **facts})


def _plain(value: object) -> Value:
    """A value of a config as a number or text, which JSON can hold."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return json.dumps(value, default=str)


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
    keys, scores = differing_keys(entries), list_scores(entries)
    done = [entry for entry in entries if entry.state == "done"]
    settings = dict.fromkeys(entry.setting(keys) for entry in done)  # runs that differ by seed only are one
    colours = {name: number % len(PALETTE) for number, name in enumerate(settings)}
    columns, states = ["run", "state", *keys, *scores, *FACTS], Counter(entry.state for entry in entries)
    own = [colours[entry.setting(keys)] if entry.state == "done" else "" for entry in entries]
    cells = [[_cell(entry.value(column)) for column in columns] for entry in entries]
    links = [_link(entry.folder, page.parent) for entry in entries]
    title, command, path = f"runs in {folder.resolve().name}", "", folder.resolve()
    if is_sweep(folder):
        title = f"sweep {path.name} of {path.parent.name}"
        with suppress(UserError):
            command = load_sweep(folder).command
    return {
        "title": title, "command": command, "columns": columns, "scores": scores,
        "rows": list(zip(links, own, cells, strict=True)), "drawn": MAX_DRAWN, "done": len(done),
        "states": ", ".join(f"{count} {state}" for state, count in states.most_common()),
        "test_sets": len({entry.test_set for entry in done}),
        "settings": list(colours.items()) if 1 < len(colours) <= len(PALETTE) else [],  # where each has its own colour
        "comparison": compare_entries(done), "curves": draw_metrics(done, [colours[e.setting(keys)] for e in done]),
    }  # fmt: skip


def differing_keys(entries: Sequence[Entry]) -> list[str]:
    """Keys in which the runs differ, the experiment first and the seed last; those that only repeat another are left out."""
    seed = ["seed"] if len({entry.config["seed"] for entry in entries}) > 1 else []
    if len({entry.config["experiment"] for entry in entries}) > 1:
        return ["experiment", *seed]
    keys: dict[str, str] = {}
    for key in sorted({key for entry in entries for key in entry.config} - {"seed"}):
        values = [str(entry.config.get(key)) for entry in entries]
        if len(set(values)) > 1:
            keys.setdefault(" ".join(values), key)
    return [*keys.values(), *seed]


def list_scores(entries: Sequence[Entry]) -> list[str]:
    """Scores of the test and validation sets that some run has, the headline first, without references and recalls."""
    names = {name for entry in entries for name in entry.scores if "/" in name and not name.startswith("train/")}
    names = {name for name in names if not any(part in name for part in REFERENCES)}
    return sorted(names, key=lambda name: (name not in HEADLINES, name.startswith("val/"), name))


def _cell(value: Value) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _link(run: Path, beside: Path) -> str:
    """The address of a run's page, if there is one."""
    page = run / "report.html"
    place = Path(os.path.relpath(page.absolute(), beside.absolute())).as_posix()
    return f"./{quote(place)}" if is_plain(run, page.name) else ""


def compare_entries(entries: Sequence[Entry]) -> ScoreTable | None:
    """Each setting against the first, or why there is no comparison; None where there is one run only."""
    tested = [entry for entry in entries if (entry.folder / "predictions.npz").is_file()]
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


def draw_metrics(entries: Sequence[Entry], colours: Sequence[int]) -> list[Picture]:
    """The losses and scores of the first runs over each other, in the colours of their settings."""
    folders = [entry.folder for entry in entries[:MAX_DRAWN]]
    drawn = list(zip(folders, map(load_metrics, folders), colours, strict=False))
    pictures = []
    for name in (*reversed(LOSSES), "val/snr_db", "val/acc"):
        own = [(str(folder), table[name], colour) for folder, table, colour in drawn if name in table]
        pictures += draw_picture(name, {run: curve for run, curve, _ in own}, [colour for *_, colour in own])
    return pictures
