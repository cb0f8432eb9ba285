"""The runs of a sweep as its page shows them: keys and scores, which validation chose, which differ by their seed only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from speechml.contracts import is_higher_better, standard_name
from speechml.errors import UserError
from speechml.report.charts import loss_of
from speechml.runs.card import RunCard, load_card
from speechml.runs.catalogue import state_of
from speechml.runs.choosing import validation_score
from speechml.runs.labels import load_config, result_settings, settings_name

FACTS = ("training_s", "epochs", "parameters")  # of a card, that stand beside keys and scores

Value = float | str | None


class Objective(NamedTuple):
    """The validation score by which runs are chosen, and whether more of it is better."""

    name: str
    more: bool

    @property
    def words(self) -> str:
        """What the page says of it."""
        return f"{self.name}, {'higher' if self.more else 'lower'} is better"


class Entry(NamedTuple):
    """A run as the page shows it."""

    folder: Path
    state: str
    test_set: str
    config: dict[str, Value]  # keys that can change a result, its experiment and its seed
    scores: dict[str, Value]  # and FACTS of its card
    card: RunCard
    objective: Objective | None
    loss: str  # what its losses are, as `loss_of` says it

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
    objective = objective_of(config, card)
    scores: dict[str, Value] = {**card.scores, **facts}
    if objective and card.monitored is not None and objective.name == monitor_of(config):
        scores.setdefault(objective.name, card.monitored)
    state = state_of(folder, card)
    return Entry(folder, state, card.data.test_fingerprint, plain, scores, card, objective, loss_of(config))


def objective_of(config: Mapping[str, object], card: RunCard) -> Objective | None:
    """The score that a run is chosen by, in tables as well; None where that is none whose sense is known."""
    score = validation_score(card, standard_name(str(config.get("objective") or "")))
    name = score.name if score else monitor_of(config)
    checkpoint, more = config.get("checkpoint"), is_higher_better(name)
    mode = checkpoint.get("mode") if isinstance(checkpoint, dict) and name == monitor_of(config) else None
    if more is None and mode in ("min", "max"):
        more = mode == "max"
    return Objective(name, more) if name and more is not None else None


def monitor_of(config: Mapping[str, object]) -> str:
    """The score of `checkpoint.monitor`; empty where there is none."""
    checkpoint = config.get("checkpoint")
    return standard_name(str(checkpoint.get("monitor") or "")) if isinstance(checkpoint, dict) else ""


def _plain(value: object) -> Value:
    """A value of a config as a number or text, which JSON can hold."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return json.dumps(value, default=str)


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


def sort_entries(entries: Sequence[Entry], objective: Objective | None) -> list[Entry]:
    """The runs, those that validation chose first; those of which it is not known last, in their order."""
    values = {id(entry): entry.scores.get(objective.name) for entry in entries} if objective else {}
    sign = -1 if objective and objective.more else 1

    def place(entry: Entry) -> tuple[bool, float]:
        value = values.get(id(entry))
        known = isinstance(value, (int, float)) and math.isfinite(value)
        return not known, sign * float(value) if known else 0.0  # type: ignore[arg-type]

    return sorted(entries, key=place)


def group_settings(done: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Runs that differ by their seed only are of one setting, which is named by what differs among those of its experiment."""
    alike: dict[str, list[Entry]] = {}
    for entry in done:
        alike.setdefault(repr(sorted((k, v) for k, v in entry.config.items() if k != "seed")), []).append(entry)
    by_experiment: dict[Value, list[Entry]] = {}
    for entry in done:
        by_experiment.setdefault(entry.config["experiment"], []).append(entry)
    keys = {
        name: ["experiment"] * (len(by_experiment) > 1) + differing_keys(own) for name, own in by_experiment.items()
    }
    settings: dict[str, list[Entry]] = {}
    for runs in alike.values():
        name = runs[0].setting(keys[runs[0].config["experiment"]])
        settings[f"{name} ({runs[0].folder.name})" if name in settings else name] = runs
    return settings
