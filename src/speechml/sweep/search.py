"""A search over hyperparameters: ask for trials, have them computed, tell what came out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from speechml.errors import UserError
from speechml.sweep.report import SearchReport, line
from speechml.sweep.space import Space, as_overrides, grid
from speechml.sweep.study import drawn, finished, open_study, replaced, sampler, set_aside, try_again, unfinished
from speechml.sweep.workers import Job, Launcher, Outcome, Workers

QUIET = ("progress", "listening", "figures")  # callbacks that trials do without, unless figures are asked for


class Plan(NamedTuple):
    """What a search is to do; the keys of conf/hydra/sweeper/optuna.yaml, and what the first config says."""

    folder: Path
    experiment: str
    space: Space
    standalone: list[str]  # the shared overrides of a run that is computed without the search
    objective: str
    direction: str
    sampler: str
    sampler_options: dict[str, Any]
    pruner: str | None
    pruner_options: dict[str, Any]
    seed: int
    n_trials: int
    n_jobs: int
    executions_per_trial: int
    max_retries: int
    figures: bool
    run_seed: int | None  # of the first execution; None where `seed` is searched or there is one execution


def jobs_of(plan: Plan, params: dict[str, Any]) -> list[Job]:
    """The overrides of each execution of a trial."""
    quiet = [] if plan.figures else [f"++callbacks.{name}=null" for name in QUIET]
    seeds = [[]] if plan.run_seed is None else [[f"seed={plan.run_seed + i}"] for i in range(plan.executions_per_trial)]
    return [[*quiet, *plan.space.fixed, *as_overrides(params), *seed] for seed in seeds]


def search(plan: Plan, launch: Any, alone: bool, gpus: Sequence[str] = ()) -> SearchReport:
    """Compute trials until `n_trials` have an end; a search that was cut off goes on where it was.

    Args:
        plan: what is to be done, in a folder that the caller holds.
        launch: of Hydra's launcher.
        alone: whether that launcher computes in this process.
        gpus: that processes are spread over.

    Raises:
        UserError: another search is in the folder, the objective is no score, or every trial failed.
    """
    study = _study(plan)
    record = SearchReport(plan, study)
    crew = Workers(launch, plan.n_jobs, gpus) if alone and plan.n_jobs > 1 else Launcher(launch, plan.n_jobs, alone)
    _tell_start(plan, study)
    try:
        _loop(plan, study, crew, record)
        record.write("done")
    except BaseException:
        record.write("stopped")
        raise
    finally:
        crew.close()
    ended = finished(study)
    if ended and all(trial.state == TrialState.FAIL for trial in ended):
        raise UserError(f"all {len(ended)} trials failed; the last: {ended[-1].user_attrs.get('error')}")
    return record


def _study(plan: Plan) -> optuna.Study:
    """The study in the plan's folder; one of which every trial failed begins anew, since something else was wrong."""
    about = {"objective": plan.objective, "executions_per_trial": plan.executions_per_trial}
    study = open_study(plan.folder, plan.space, plan.direction, about)
    ended = finished(study)
    if len(ended) >= total(plan) and all(trial.state == TrialState.FAIL for trial in ended):
        set_aside(plan.folder)
        study = open_study(plan.folder, plan.space, plan.direction, about)
    try_again(study)
    return study


def _tell_start(plan: Plan, study: optuna.Study) -> None:
    there = len(finished(study))
    before = f", {there} of them done before" if there else ""
    print(
        f"searching {', '.join(plan.space.searched)}: {total(plan)} trials{before}, "
        f"{plan.direction.removesuffix('e')}ing {plan.objective}; {plan.folder}",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def _loop(plan: Plan, study: optuna.Study, crew: Launcher | Workers, record: SearchReport) -> None:
    """Keep the crew busy until all trials have an end."""
    # Those that were cut off come first, with the numbers and values that they have.
    make, ends = fresh(plan), total(plan)
    todo = [drawn(study, plan.space, make, trial_id) for trial_id in unfinished(study)]
    running: dict[int, tuple[Trial, float]] = {}

    def draw() -> Trial | None:
        there = len(study.get_trials(deepcopy=False)) - len(replaced(study))
        return drawn(study, plan.space, make) if there < ends else None

    while True:
        while crew.free:
            trial = _next(todo, running, draw)
            if trial is None:
                break
            running[trial.number] = trial, time.monotonic()
            crew.submit(trial.number, trial.number * plan.executions_per_trial, jobs_of(plan, trial.params))
        if not running:
            return
        for number, outcomes in crew.results():
            trial, began = running.pop(number)
            if outcomes[-1].fatal and not any(
                key.lstrip("+").startswith(outcomes[-1].fatal) for key in plan.space.searched
            ):
                raise UserError(outcomes[-1].error)
            if outcomes[-1].again and trial.user_attrs.get("retries", 0) < plan.max_retries:
                retries = trial.user_attrs.get("retries", 0) + 1
                trial.set_user_attr("retries", retries)
                print(f"trial {number} failed and is tried again: {outcomes[-1].error}", file=sys.stderr, flush=True)
                todo.append(trial)
                continue
            _tell(study, trial, outcomes, time.monotonic() - began)
            record.write("running")
            print(line(study, study.get_trials(deepcopy=False)[number], ends), file=sys.stderr, flush=True)


def fresh(plan: Plan) -> Callable[..., BaseSampler]:
    """What makes a sampler for a trial's number and a key; the points of a grid are listed once."""
    if plan.sampler == "grid":
        points = sampler(plan.sampler, plan.seed, plan.space, {})
        return lambda *_: points
    return lambda *where: sampler(plan.sampler, plan.seed, plan.space, plan.sampler_options, *where)


def total(plan: Plan) -> int:
    """How many trials there are to be: a grid has an end."""
    return plan.n_trials if plan.sampler != "grid" else min(plan.n_trials, len(grid(plan.space)))


def _next(todo: list[Trial], running: dict[int, tuple[Trial, float]], draw: Callable[[], Trial | None]) -> Trial | None:
    """The next trial to compute; equal ones wait for each other, since they are one run."""
    now = [trial.params for trial, _ in running.values()]
    for trial in todo:
        if trial.params not in now:
            todo.remove(trial)
            return trial
    new = draw()
    if new is not None and new.params in now:
        todo.append(new)  # what is running tells more than a further draw would
        return None
    return new


def _tell(study: optuna.Study, trial: Trial, outcomes: list[Outcome], seconds: float) -> None:
    """Record what came of a trial: the mean over its executions, or why there is none."""
    trial.set_user_attr("runs", [found.run for found in outcomes if found.run])
    trial.set_user_attr("values", [found.value for found in outcomes])
    trial.set_user_attr("seconds", round(seconds, 2))
    values = [found.value for found in outcomes if found.value is not None]
    if len(values) == len(outcomes):
        study.tell(trial, sum(values) / len(values))
    elif any(found.pruned for found in outcomes):
        study.tell(trial, state=TrialState.PRUNED)
    else:
        trial.set_user_attr("error", next(found.error for found in outcomes if found.value is None))
        trial.set_user_attr("accident", outcomes[-1].again)
        study.tell(trial, state=TrialState.FAIL)
