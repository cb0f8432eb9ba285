"""A search over hyperparameters: ask for trials, have them computed, tell what came out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import optuna
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from speechml.contracts import Config
from speechml.errors import UserError
from speechml.sweep.jobs import Job, Launcher, Outcome
from speechml.sweep.search_report import SearchReport, from_here, trial_line
from speechml.sweep.space import Space, as_overrides, grid
from speechml.sweep.study import archive, ask, finished, new_sampler, open_study, replaced, try_again, unfinished

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
    sampler_options: Config
    pruner: str | None
    pruner_options: Config
    seed: int
    n_trials: int
    n_jobs: int
    executions_per_trial: int
    max_retries: int
    figures: bool
    run_seed: int | None  # of the first execution; None where `seed` is searched or there is one execution

    @property
    def total(self) -> int:
        """How many trials there are to be: a grid has an end."""
        return self.n_trials if self.sampler != "grid" else min(self.n_trials, len(grid(self.space)))

    def overrides(self, params: Config, execution: int) -> list[str]:
        """Of one execution of a trial."""
        quiet = [] if self.figures else [f"++callbacks.{name}=null" for name in QUIET]
        seed = [] if self.run_seed is None else [f"seed={self.run_seed + execution}"]
        return [*quiet, *self.space.fixed, *as_overrides(params), *seed]

    def sampler_for(self) -> Callable[..., BaseSampler]:
        """What makes a sampler for a trial's number and a key; the points of a grid are listed once."""
        if self.sampler == "grid":
            points = new_sampler(self.sampler, self.seed, self.space, {})
            return lambda *_: points
        return lambda *where: new_sampler(self.sampler, self.seed, self.space, self.sampler_options, *where)


@dataclass
class _Running:
    """A trial that is being computed, and what came of its executions so far."""

    trial: Trial
    began: float = field(default_factory=time.monotonic)
    outcomes: list[Outcome] = field(default_factory=list)


def search(plan: Plan, launcher: Launcher, make_job: Callable[[list[str], int], Job]) -> SearchReport:
    """Compute trials until `n_trials` have an end; a search that was cut off goes on where it was.

    Args:
        plan: what is to be done, in a folder that the caller holds.
        launcher: that computes runs.
        make_job: gives a run by its overrides and its number in the search.

    Raises:
        UserError: another search is in the folder, the objective is no score, or every trial failed.
    """
    study = _open(plan)
    report = SearchReport(plan, study)
    there = len(finished(study))
    before = f", {there} of them done before" if there else ""
    print(
        f"searching {', '.join(plan.space.searched)}: {plan.total} trials{before}, "
        f"{plan.direction.removesuffix('e')}ing {plan.objective}; {plan.folder}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    report.write("running")
    try:
        _Search(plan, study, launcher, make_job, report).run()
        report.write("done")
    except BaseException:
        report.write("stopped")
        raise
    ended = finished(study)
    if ended and all(trial.state == TrialState.FAIL for trial in ended):
        raise UserError(f"all {len(ended)} trials failed; the last: {ended[-1].user_attrs.get('error')}")
    return report


def _open(plan: Plan) -> optuna.Study:
    """The study in the plan's folder; one of which every trial failed begins anew, since something else was wrong."""
    about = {"objective": plan.objective, "executions_per_trial": plan.executions_per_trial}
    study = open_study(plan.folder, plan.space, plan.direction, about)
    ended = finished(study)
    if len(ended) >= plan.total and all(trial.state == TrialState.FAIL for trial in ended):
        archive(plan.folder)
        study = open_study(plan.folder, plan.space, plan.direction, about)
    try_again(study)
    return study


class _Search:
    """The loop of a search: as many trials are computed at a time as the launcher can."""

    def __init__(
        self, plan: Plan, study: optuna.Study, launcher: Launcher, make_job: Callable[[list[str], int], Job],
        report: SearchReport,
    ) -> None:  # fmt: skip
        self.plan, self.study, self.launcher, self.make_job, self.report = plan, study, launcher, make_job, report
        self.sampler_for = plan.sampler_for()
        # Those that were cut off come first, with the numbers and values that they have.
        self.todo = [ask(study, plan.space, self.sampler_for, number) for number in unfinished(study)]
        self.running: dict[int, _Running] = {}

    def run(self) -> None:
        self._fill()
        for job, outcome in self.launcher.outcomes():
            self._take(job.number // self.plan.executions_per_trial, outcome)
            self._fill()

    def _fill(self) -> None:
        while len(self.running) < self.launcher.capacity and (trial := self._next()):
            self.running[trial.number] = _Running(trial)
            self._submit(trial, 0)

    def _next(self) -> Trial | None:
        """The next trial to compute; equal ones wait for each other, since they are one run."""
        now = [running.trial.params for running in self.running.values()]
        for trial in self.todo:
            if trial.params not in now:
                self.todo.remove(trial)
                return trial
        if len(self.study.get_trials(deepcopy=False)) - len(replaced(self.study)) >= self.plan.total:
            return None
        trial = ask(self.study, self.plan.space, self.sampler_for)
        if trial.params in now:
            self.todo.append(trial)  # what is running tells more than a further draw would
            return None
        return trial

    def _submit(self, trial: Trial, execution: int) -> None:
        number = trial.number * self.plan.executions_per_trial + execution
        try:
            job = self.make_job(self.plan.overrides(trial.params, execution), number)
        except (HydraException, OmegaConfBaseException) as error:  # the trial fails, not the search
            self._take(trial.number, Outcome(error=" ".join(str(error).split())))
        else:
            self.launcher.submit([job])

    def _take(self, number: int, outcome: Outcome) -> None:
        """Go on with a trial of which an execution has ended: each is computed only if those before it ended well."""
        running = self.running[number]
        running.outcomes.append(outcome)
        if outcome.value is not None and len(running.outcomes) < self.plan.executions_per_trial:
            self._submit(running.trial, len(running.outcomes))
            return
        trial = self.running.pop(number).trial
        if outcome.affects_all and not any(
            key.lstrip("+").startswith(outcome.affects_all) for key in self.plan.space.searched
        ):
            raise UserError(outcome.error)
        retries = trial.user_attrs.get("retries", 0)
        if outcome.may_retry and retries < self.plan.max_retries:
            trial.set_user_attr("retries", retries + 1)
            print(f"trial {number} failed and is tried again: {outcome.error}", file=sys.stderr, flush=True)
            self.todo.append(trial)
            return
        tell_outcomes(self.study, trial, running.outcomes, time.monotonic() - running.began)
        self.report.write("running")
        line = trial_line(self.study, self.study.get_trials(deepcopy=False)[number], self.plan.total)
        print(line, file=sys.stderr, flush=True)


def tell_outcomes(study: optuna.Study, trial: Trial, outcomes: list[Outcome], seconds: float) -> None:
    """Record what came of a trial: the mean over its executions, or why there is none."""
    trial.set_user_attr("runs", [from_here(outcome.run) for outcome in outcomes if outcome.run])
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
