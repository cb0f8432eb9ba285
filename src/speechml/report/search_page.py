"""What a page shows of a search: the objective of each trial, the best so far, what mattered, and which values went together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from speechml.report.charts import Chart, Series
from speechml.runs.card import DAMAGE
from speechml.runs.sweep_record import RECORD, is_sweep, sweeps_below
from speechml.storage.plain_files import read_json

MAX_TRIALS = 3000  # that are drawn
MAX_FOR_IMPORTANCE = 1000  # trials, the last: its trees take seconds for more
MAX_KEYS = 12  # axes of the parallel coordinates

Record = Mapping[str, Any]


class Search(NamedTuple):
    """A search as the page shows it."""

    objective: str
    more: bool  # whether more of it is better
    command: str  # which trains the best trial once more
    history: Chart
    importance: list[tuple[str, float]]  # share of the variance that a key explains, the greatest first
    parallel: dict[str, list[Any]]  # keys, their scales, and the values of each trial with its objective

    def scaled(self, logs: Sequence[str]) -> Search:
        """The search, its objective drawn logarithmically where it is among `logs`."""
        if self.objective not in logs:
            return self
        parallel = {**self.parallel, "logs": [*self.parallel["logs"], self.objective]}
        return self._replace(history=replace(self.history, y_log=True), parallel=parallel)


def read_search(folder: Path) -> Search | None:
    """The search whose record lies in a folder; None where that is another sweep's, damaged, or without a trial that is done."""
    try:
        record: Any = read_json(folder, RECORD)
        space: Record = dict(record["space"])
        trials = [trial for trial in record["trials"] if trial["state"] == "done" and _is_number(trial["value"])]
        if not trials:
            return None
        best, more = record.get("best") or {}, record["direction"] == "maximize"
        objective = str(record["objective"])
        return Search(
            objective, more, str(best.get("command") or ""), _history(trials, objective, more),
            _importance(space, trials, more), _parallel(space, trials, objective, more),
        )  # fmt: skip
    except (OSError, *DAMAGE):
        return None


def log_keys(folder: Path) -> dict[str, bool]:
    """Keys that a search of runs in a folder has tried, and whether it drew their values on a logarithmic scale."""
    sweeps = sweeps_below(folder)
    if not is_sweep(folder):
        sweeps += sorted(
            path.parent for path in folder.resolve().parent.glob(f".sweeps/{folder.resolve().name}/*/{RECORD}")
        )
    keys: dict[str, bool] = {}
    for place in sweeps:
        try:
            record: Any = read_json(place, RECORD)
            space = dict(record.get("space") or {})
            keys |= {
                str(key).lstrip("+"): _is_log(dist) or keys.get(str(key).lstrip("+"), False)
                for key, dist in space.items()
            }
        except (OSError, *DAMAGE):
            continue
    return keys


def _is_log(distribution: Record) -> bool:
    return bool(dict(distribution.get("attributes") or {}).get("log"))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _history(trials: list[Record], objective: str, more: bool) -> Chart:
    """The objective of each trial, and the best so far."""
    points = sorted((float(trial["number"]), float(trial["value"])) for trial in trials)[:MAX_TRIALS]
    best, so_far = points[0][1], []
    for number, value in points:
        best = (max if more else min)(best, value)
        so_far.append((number, best))
    dots = Series("trials", "val", points, "dots", [f"trial {number:.0f}: {value:.4g}" for number, value in points])
    return Chart(
        f"{objective} of each trial", "trial", objective, [dots, Series("best so far", "train", so_far, "step")]
    )


def _importance(space: Record, trials: list[Record], more: bool) -> list[tuple[str, float]]:
    """The share of each key in the variance of the objective (Hutter et al. 2014); nothing where so few trials do not tell it."""
    try:
        import optuna
        from optuna.distributions import json_to_distribution

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(direction="maximize" if more else "minimize")
        distributions = {key: json_to_distribution(json.dumps(dist)) for key, dist in space.items()}
        for trial in trials[-MAX_FOR_IMPORTANCE:]:
            params = {key: trial["params"][key] for key in distributions if key in trial["params"]}
            own = {key: distributions[key] for key in params}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=own, value=float(trial["value"])))
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        return [(key, round(share, 3)) for key, share in found.items() if math.isfinite(share)]
    except (ImportError, *DAMAGE, RuntimeError):
        return []


def _parallel(space: Record, trials: list[Record], objective: str, more: bool) -> dict[str, list[Any]]:
    """An axis for each key, the objective last; lines are drawn from the worst to the best."""
    keys = [key for key in space if len({str(trial["params"].get(key)) for trial in trials}) > 1][:MAX_KEYS]
    shown = sorted(trials, key=lambda trial: trial["value"] if more else -trial["value"])[-MAX_TRIALS:]
    rows = [[*(_plain(trial["params"].get(key)) for key in keys), float(f"{trial['value']:.5g}")] for trial in shown]
    return {"axes": [*keys, objective], "logs": [key for key in keys if _is_log(space[key])], "rows": rows,
            "titles": [f"trial {trial['number']}: {trial['value']:.4g}" for trial in shown]}  # fmt: skip


def _plain(value: object) -> object:
    """A value as JSON holds it, in few digits."""
    if value is None or not _is_number(value):
        return None if value is None else str(value)
    return float(f"{value:.4g}") if isinstance(value, float) else value
