"""What a search leaves: sweep.json, a table with the best first, figures."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from speechml.contracts import Config
from speechml.errors import UserError, echo
from speechml.runs.card import load_card
from speechml.runs.labels import shorten_keys
from speechml.runs.sweep_record import describe_client, save_sweep
from speechml.runs.tables import table
from speechml.storage.files import new_version
from speechml.sweep.jobs import Outcome
from speechml.sweep.space import as_overrides
from speechml.sweep.study import finished_trials, replaced_trials

if TYPE_CHECKING:
    from speechml.sweep.search import Plan

SHOWN = 15  # trials in the table
KEPT = ("values", "runs", "seconds", "retries", "retry_of", "error")  # of a trial, in sweep.json
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class SearchReport:
    """sweep.json, rewritten after every trial; a line for each, and a table and figures in the end."""

    def __init__(self, plan: Plan, study: optuna.Study) -> None:
        self.plan, self.study = plan, study
        self.retrained: Config = {}  # what the run after the search gave

    def write(self, state: str) -> None:
        """Replace sweep.json."""
        plan, options, best = self.plan, self.plan.options, self.best()
        content: dict[str, object] = {
            "state": state, "experiment": plan.experiment, "objective": plan.objective, "direction": plan.direction,
            "sampler": options.sampler, "pruner": options.pruner, "seed": options.seed, "n_trials": options.n_trials,
            "executions_per_trial": options.executions_per_trial, "fixed": plan.space.overrides,
            "space": plan.space.as_json(), **describe_client(), "best": None, **self.retrained,
            "trials": [_as_json(trial) for trial in self.study.get_trials(deepcopy=False)],
        }  # fmt: skip
        if best:
            words = self._overrides(best)
            content["best"] = {**_as_json(best), "overrides": words, "command": _command(words)}
        save_sweep(plan.folder, content)

    def add_retrained(self, outcome: Outcome) -> None:
        """Keep what the run after the search gave."""
        try:
            card = load_card(Path(outcome.run))
        except UserError:
            card = None
        run, scores = path_from_here(outcome.run), card.scores if card else {}
        self.retrained = {"retrained": {"run": run, "value": outcome.value, "scores": scores}}
        self.write("done")

    def _overrides(self, trial: FrozenTrial) -> list[str]:
        """The overrides of a trial's first execution, alone: without the search."""
        seed = [] if self.plan.run_seed is None else [f"seed={self.plan.run_seed}"]
        runs = trial.user_attrs.get("runs")
        card = load_card(Path(runs[0])) if runs else None
        engine = ["engine=fused"] if card and "engine=fused" in card.overrides else []  # it was trained with others
        return [*self.plan.standalone, *as_overrides(trial.params), *seed, *engine]

    def best(self) -> FrozenTrial | None:
        """The complete trial with the best value; the first of equal ones."""
        return next((trial for trial in self._ranked() if trial.state == TrialState.COMPLETE), None)

    def _ranked(self) -> list[FrozenTrial]:
        """All trials, the best first, pruned and failed ones last."""
        sign, anew = -1 if self.plan.direction == "maximize" else 1, replaced_trials(self.study)
        kinds = [TrialState.COMPLETE, TrialState.PRUNED]

        def place(trial: FrozenTrial) -> tuple[int, float, int]:
            kind = kinds.index(trial.state) if trial.state in kinds else len(kinds)
            return kind, sign * (trial.value or 0.0) if kind == 0 else 0.0, trial.number

        return sorted((t for t in self.study.get_trials(deepcopy=False) if t.number not in anew), key=place)

    def trial_line(self, number: int) -> str:
        """One line about a trial that has ended."""
        trial, best = self.study.get_trials(deepcopy=False)[number], self.best()
        what = {
            TrialState.COMPLETE: _shown(trial.value),
            TrialState.PRUNED: f"pruned after epoch {trial.last_step}",
            TrialState.FAIL: f"failed: {trial.user_attrs.get('error')}",
        }.get(trial.state, "")
        so_far = f"  (best {_shown(best.value)}, trial {best.number})" if best else ""
        short = {key: _shown(value) if isinstance(value, float) else value for key, value in trial.params.items()}
        count, seconds = f"{len(finished_trials(self.study))}/{self.plan.total}", trial.user_attrs.get("seconds", 0)
        return f"{count}  trial {number}  {what}{so_far}  {' '.join(as_overrides(short))}  {seconds:.1f} s"

    def show(self) -> None:
        """Print the table and where everything lies, and draw the figures."""
        trials, order, best = finished_trials(self.study), self._ranked(), self.best()
        keys, short = list(self.plan.space.distributions), shorten_keys(list(self.plan.space.distributions))
        is_repeated = self.plan.options.executions_per_trial > 1
        names = ["trial", self.plan.objective, *["of the executions"] * is_repeated]
        rows = []
        for trial in order[:SHOWN]:
            each = " ".join(_shown(value) for value in trial.user_attrs.get("values", []) if value is not None)
            values = [_shown(trial.params.get(key)) for key in keys]
            seconds = f"{trial.user_attrs.get('seconds', 0):.1f}"
            state = STATES.get(trial.state, "cut off")
            rows.append([str(trial.number), _shown(trial.value), *[each] * is_repeated, *values, state, seconds])
        echo("\n" + table([*names, *[short[key] for key in keys], "state", "time (s)"], rows))
        if len(order) > SHOWN:
            echo(f"... and {len(order) - SHOWN} more in sweep.json")
        totals = {name: sum(trial.state == state for trial in trials) for state, name in STATES.items()}
        counts = ", ".join(f"{count} {name}" for name, count in totals.items() if count)
        echo(f"\nTrials: {counts}. The best, by {self.plan.objective} (a score of the validation split):")
        if best:
            echo(f"  {_command(self._overrides(best))}{'   # its first execution' * is_repeated}")
            echo(f"  {' '.join(best.user_attrs.get('runs', []))}")
        for trial in [t for t in trials if t.state == TrialState.FAIL][:3]:
            echo(f"  trial {trial.number} failed: {trial.user_attrs.get('error')}")
        drawings = "".join(f", figures/{path.name}" for path in self._draw())
        echo(f"Search: {self.plan.folder} (sweep.json{drawings})")

    def _draw(self) -> Iterator[Path]:
        """History, importance and parallel coordinates as PNG; what Optuna cannot draw of so few trials is left out."""
        import matplotlib

        matplotlib.use("Agg")  # Optuna draws through pyplot, which would look for a screen
        from matplotlib import pyplot
        from optuna.visualization import matplotlib as plots

        folder = self.plan.folder / "figures"
        folder.mkdir(exist_ok=True)
        drawings: dict[str, Callable[..., object]] = {
            "history": plots.plot_optimization_history,
            "importance": plots.plot_param_importances,
            "parallel": plots.plot_parallel_coordinate,
        }
        for name, draw in drawings.items():
            with warnings.catch_warnings(), matplotlib.rc_context():  # Optuna sets a style of its own
                # Optuna calls these functions experimental, and tells of trials that it leaves out.
                warnings.simplefilter("ignore")
                try:
                    draw(self.study, target_name=self.plan.objective)
                except (ValueError, RuntimeError, ZeroDivisionError) as error:
                    echo(f"no figure of {name}: {' '.join(str(error).split())}", file=sys.stderr)
                    continue
                figure = pyplot.gcf()
                figure.set_size_inches(max(8.0, 1.6 * len(self.plan.space.distributions) + 4), 5)
                with new_version(folder / f"{name}.png") as part:
                    figure.savefig(part, dpi=110, bbox_inches="tight", format="png")
            pyplot.close("all")
            yield folder / f"{name}.png"


def _command(overrides: list[str]) -> str:
    return shlex.join(["speechml-train", *overrides])


def _as_json(trial: FrozenTrial) -> Config:
    """What sweep.json holds of a trial."""
    return {
        "number": trial.number, "state": STATES.get(trial.state, "running"), "value": trial.value, "params": trial.params,
        **{key: trial.user_attrs[key] for key in KEPT if key in trial.user_attrs},
        **({"pruned_at_epoch": trial.last_step} if trial.state == TrialState.PRUNED else {}),
    }  # fmt: skip


def _shown(value: object) -> str:
    """A value as the table shows it."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def path_from_here(run: str) -> str:
    """The folder of a run as a person types it, where it lies below this process's folder."""
    path, here = Path(run), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else run


def tell_outcomes(study: optuna.Study, trial: Trial, outcomes: list[Outcome], seconds: float) -> None:
    """Record what came of a trial: the mean over its executions, or why there is none."""
    trial.set_user_attr("runs", [path_from_here(outcome.run) for outcome in outcomes if outcome.run])
    trial.set_user_attr("values", [outcome.value for outcome in outcomes])
    trial.set_user_attr("seconds", round(seconds, 2))
    values = [outcome.value for outcome in outcomes if outcome.value is not None]
    if len(values) == len(outcomes):
        study.tell(trial, sum(values) / len(values))
    elif any(outcome.is_pruned for outcome in outcomes):
        study.tell(trial, state=TrialState.PRUNED)
    else:
        trial.set_user_attr("error", next(outcome.error for outcome in outcomes if outcome.value is None))
        trial.set_user_attr("accident", outcomes[-1].may_retry)
        study.tell(trial, state=TrialState.FAIL)


def tell_hindrances(reasons: Iterable[str]) -> None:
    """Say why trials are not trained together with others."""
    for why in reasons:
        echo(f"trials are trained one by one where {why}", file=sys.stderr, flush=True)
