"""What a search leaves: sweep.json, a table with the best first, figures."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState

from speechml.contracts import Config
from speechml.errors import UserError
from speechml.runs.card import load_card
from speechml.runs.labels import shorten_keys
from speechml.runs.sweep_record import describe_client, save_sweep
from speechml.runs.tables import table
from speechml.sweep.space import as_overrides
from speechml.sweep.study import finished, replaced

if TYPE_CHECKING:
    from speechml.sweep.search import Plan

SHOWN = 15  # trials in the table
KEPT = ("values", "runs", "seconds", "retries", "retry_of", "error")  # of a trial, in sweep.json
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class SearchReport:
    """sweep.json, rewritten after every trial.

    Args:
        plan: of the search.
        study: its trials.
    """

    def __init__(self, plan: Plan, study: optuna.Study) -> None:
        self.plan, self.study = plan, study
        self.after: Config = {}  # what the run after the search gave

    def write(self, state: str) -> None:
        """Replace sweep.json."""
        plan, trials = self.plan, self.study.get_trials(deepcopy=False)
        content: dict[str, object] = {
            "state": state, "experiment": plan.experiment, "objective": plan.objective, "direction": plan.direction,
            "sampler": plan.sampler, "pruner": plan.pruner, "seed": plan.seed, "n_trials": plan.n_trials,
            "executions_per_trial": plan.executions_per_trial, "fixed": plan.space.fixed,
            "space": plan.space.as_json(),
            **describe_client(),
            "best": self._best(), **self.after, "trials": [row(trial) for trial in trials],
        }  # fmt: skip
        save_sweep(self.plan.folder, content)

    def _best(self) -> Config | None:
        best = best_of(self.study)
        return None if best is None else {**row(best), "overrides": self.overrides(best), "command": self.command(best)}

    def overrides(self, trial: FrozenTrial) -> list[str]:
        """The overrides of a trial's first execution, alone: without the search."""
        seed = [] if self.plan.run_seed is None else [f"seed={self.plan.run_seed}"]
        return [*self.plan.standalone, *as_overrides(trial.params), *seed]

    def command(self, trial: FrozenTrial) -> str:
        """What computes a trial's first execution again."""
        return shlex.join(["speechml-train", *self.overrides(trial)])

    def show(self) -> None:
        """Print the table and where everything lies."""
        trials = finished(self.study)
        keys = list(self.plan.space.searched)
        short = shorten_keys(keys)
        several = self.plan.executions_per_trial > 1
        header = [
            "trial",
            self.plan.objective,
            *["of the executions"] * several,
            *[short[key] for key in keys],
            "state",
            "time (s)",
        ]
        order = ranked(self.study)
        rows = [
            [
                str(trial.number), shown_value(trial.value), *[" ".join(shown_value(v) for v in executions(trial))] * several,
                *[shown_value(trial.params.get(key)) for key in keys], STATES.get(trial.state, "cut off"),
                f"{trial.user_attrs.get('seconds', 0):.1f}",
            ]
            for trial in order[:SHOWN]
        ]  # fmt: skip
        print("", table(header, rows), sep="\n")
        if len(order) > SHOWN:
            print(f"... and {len(order) - SHOWN} more in sweep.json")
        counts = ", ".join(
            f"{n} {name}" for state, name in STATES.items() if (n := sum(t.state == state for t in trials))
        )
        print(f"\nTrials: {counts}. The best, by {self.plan.objective} (a score of the validation part):")
        best = best_of(self.study)
        if best:
            print(f"  {self.command(best)}{'   # its first execution' * several}")
            print(f"  {' '.join(best.user_attrs.get('runs', []))}")
        for trial in [t for t in trials if t.state == TrialState.FAIL][:3]:
            print(f"  trial {trial.number} failed: {trial.user_attrs.get('error')}")

    def draw(self) -> list[Path]:
        """History, importance and parallel coordinates as PNG; what Optuna cannot draw of so few trials is left out."""
        import matplotlib

        matplotlib.use("Agg")  # Optuna draws through pyplot, which would look for a screen
        from matplotlib import pyplot
        from optuna.visualization import matplotlib as plots

        folder = self.plan.folder / "figures"
        folder.mkdir(exist_ok=True)
        drawings: dict[str, Callable[[], object]] = {
            "history": lambda: plots.plot_optimization_history(self.study, target_name=self.plan.objective),
            "importance": lambda: plots.plot_param_importances(self.study, target_name=self.plan.objective),
            "parallel": lambda: plots.plot_parallel_coordinate(self.study, target_name=self.plan.objective),
        }
        written = []
        for name, drawing in drawings.items():
            with warnings.catch_warnings(), matplotlib.rc_context():  # Optuna sets a style of its own
                # Optuna calls these functions experimental, and tells of trials that it leaves out.
                warnings.simplefilter("ignore")
                try:
                    drawing()
                except (ValueError, RuntimeError, ZeroDivisionError) as error:
                    print(f"no figure of {name}: {' '.join(str(error).split())}", file=sys.stderr)
                    continue
                figure = pyplot.gcf()
                figure.set_size_inches(max(8.0, 1.6 * len(self.plan.space.searched) + 4), 5)
                figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
            pyplot.close("all")
            written.append(folder / f"{name}.png")
        return written


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial with the best value; the first of equal ones."""
    order = [trial for trial in ranked(study) if trial.state == TrialState.COMPLETE]
    return order[0] if order else None


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """All trials, the best first, pruned and failed ones last."""
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    complete = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    anew = replaced(study)
    others = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.COMPLETE and t.number not in anew]
    others.sort(key=lambda trial: (trial.state != TrialState.PRUNED, trial.number))
    return sorted(complete, key=lambda trial: (sign * float(trial.value or 0), trial.number)) + others


def row(trial: FrozenTrial) -> Config:
    """What sweep.json holds of a trial."""
    return {
        "number": trial.number, "state": STATES.get(trial.state, "running"), "value": trial.value, "params": trial.params,
        **{key: trial.user_attrs[key] for key in KEPT if key in trial.user_attrs},
        **({"pruned_at_epoch": trial.last_step} if trial.state == TrialState.PRUNED else {}),
    }  # fmt: skip


def executions(trial: FrozenTrial) -> list[float]:
    """The values of a trial's executions."""
    return [value for value in trial.user_attrs.get("values", []) if value is not None]


def shown_value(value: object) -> str:
    """A value as the table shows it."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def trial_line(study: optuna.Study, trial: FrozenTrial, total: int) -> str:
    """One line about a trial that has ended."""
    best = best_of(study)
    said = {
        TrialState.COMPLETE: f"{shown_value(trial.value)}",
        TrialState.PRUNED: f"pruned after epoch {trial.last_step}",
        TrialState.FAIL: f"failed: {trial.user_attrs.get('error')}",
    }.get(trial.state, "")
    so_far = f"  (best {shown_value(best.value)}, trial {best.number})" if best else ""
    ended = len(finished(study))
    values = " ".join(
        as_overrides({k: float(shown_value(v)) if isinstance(v, float) else v for k, v in trial.params.items()})
    )
    return (
        f"{ended}/{total}  trial {trial.number}  {said}{so_far}  {values}  {trial.user_attrs.get('seconds', 0):.1f} s"
    )


def from_here(run: str) -> str:
    """The folder of a run as a person types it, where it lies below this process's folder."""
    path, here = Path(run), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else run


def scores_of(run: str) -> dict[str, float | None]:
    """The scores in the card of a run."""
    try:
        card = load_card(Path(run))
    except UserError:
        return {}
    return card.scores if card else {}
