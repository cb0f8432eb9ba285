"""A search over hyperparameters: ask for trials, have them computed, tell what came out, train once more with the best."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import optuna
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import Trial, TrialState

from speechml.config.compose import flatten, plain, resolve_config
from speechml.contracts import Config
from speechml.engine.signals import RESUMABLE, Stopped
from speechml.errors import UserError, echo
from speechml.runs.choosing import OF_SEARCH
from speechml.sweep.jobs import Job, Launcher, Outcome
from speechml.sweep.schema import OptunaSweeper
from speechml.sweep.search_report import SearchReport, tell_hindrances, tell_outcomes
from speechml.sweep.space import Space, as_overrides, changing_words, grid, leaf_above, read_space
from speechml.sweep.study import (
    archive,
    ask,
    choose_direction,
    finished_trials,
    new_pruner,
    new_sampler,
    open_study,
    replaced_trials,
    try_again,
    unfinished_trials,
)
from speechml.sweep.sweep_command import SweepCommand, hold

MakeJob = Callable[[list[str], int], Job]  # a run by its overrides and its number in the search


class Plan(NamedTuple):
    """What a search is to do: its options, and what the config of its first run says."""

    folder: Path
    experiment: str
    space: Space
    options: OptunaSweeper
    objective: str
    direction: str
    standalone: list[str]  # the shared overrides of a run that is computed without the search
    run_seed: int | None  # of the first execution; None where `seed` is searched or there is one execution

    @property
    def total(self) -> int:
        """How many trials there are to be: a grid has an end."""
        count = self.options.n_trials
        return count if self.options.sampler != "grid" else min(count, len(grid(self.space)))

    def overrides(self, params: Config, execution: int) -> list[str]:
        """Of one execution of a trial."""
        quiet = [] if self.options.figures else OF_SEARCH
        seed = [] if self.run_seed is None else [f"seed={self.run_seed + execution}"]
        return [*quiet, *self.space.overrides, *as_overrides(params), *seed]


def run_search(command: SweepCommand) -> float | None:
    """Search, tell, draw, and train once more with the best values where `retrain` says so; the best value.

    Raises:
        UserError: options or space that cannot be searched, or every trial failed.
    """
    options = command.options(OptunaSweeper)
    space, composer = read_space(options.params, command.arguments), command.composer
    first = _compose(command, [*space.overrides, *space.first_point()])
    plan = _plan(command, options, space, first)
    if options.retrain is not None:
        _compose(command, [*space.overrides, *space.first_point(), *options.retrain])
    least = plan.total if command.is_fused and options.sampler in ("random", "grid") else options.n_jobs
    launcher = command.open_launcher(None, least=least, most=plan.total)

    def make_job(overrides: list[str], number: int) -> Job:
        before = set(composer.hindrances)
        job = composer.job(overrides, number, " ".join(w for w in overrides if not w.startswith("++callbacks.")))
        tell_hindrances(composer.hindrances.keys() - before)
        return job

    try:
        with hold(plan.folder):
            if options.retrain is not None:
                words = f" ({' '.join(options.retrain)})" if options.retrain else ""
                fix = "hydra.sweeper.retrain=null leaves it out"
                echo(f"a run with the best values will follow{words}; {fix}", file=sys.stderr)
            with closing(launcher):
                report = search(plan, launcher, make_job)
            report.show()
            best = report.best()
            if best and options.retrain is not None:
                echo(f"\nTraining with the values of trial {best.number}, from new weights:", flush=True)
                overrides = [*space.overrides, *as_overrides(best.params), *options.retrain]
                with closing(command.open_launcher(None, most=1)) as launcher:  # it has what the trials have shared
                    report.add_retrained(_compute_one(launcher, make_job(overrides, -1)))
            echo(f"Side by side: speechml tensorboard {Path(str(first.paths.runs)) / plan.experiment}  (HPARAMS)")
            return best.value if best else None
    except (KeyboardInterrupt, SystemExit):  # Lightning makes the one into the other
        echo(f"\nstopped; the same command goes on with the search in {plan.folder}", file=sys.stderr)
        sys.exit(RESUMABLE)


def _compute_one(launcher: Launcher, job: Job) -> Outcome:
    launcher.submit([job])
    ((_, outcome),) = launcher.outcomes()
    if outcome.stopped_by:
        raise Stopped(outcome.stopped_by, None)
    if outcome.error:
        raise UserError(f"the run after the search failed: {outcome.error}")
    return outcome


def _compose(command: SweepCommand, overrides: list[str]) -> DictConfig:
    """The config of a run; UserError where a value is missing, which would be so in every trial."""
    cfg = command.loader.load_sweep_config(command.config, overrides)
    HydraConfig.instance().set_config(cfg)  # what Hydra's own interpolations mean in it
    with open_dict(cfg):
        del cfg["hydra"]
    resolve_config(cfg)
    return cfg


def _plan(command: SweepCommand, options: OptunaSweeper, space: Space, first: DictConfig) -> Plan:
    """The plan of a search, by the config of one of its runs; UserError for what it could not do."""
    objective, direction = choose_direction(resolve_config(first), options.direction)
    new_sampler(options)
    if options.pruner is not None:
        new_pruner(options.pruner, options.pruner_options or {})
    is_repeated = options.executions_per_trial > 1
    if is_repeated and "seed" in space.distributions:
        raise UserError("seed is searched, so executions_per_trial, which sets it, must be 1")
    return Plan(
        folder=command.folder, experiment=str(first.name), space=space, options=options, objective=objective,
        direction=direction,
        standalone=[*space.overrides_without_search(), *_set_by_file(command, space, first)],
        run_seed=int(first.seed) if is_repeated else None,
    )  # fmt: skip


def _set_by_file(command: SweepCommand, space: Space, first: DictConfig) -> list[str]:
    """Overrides for what the file of `hparams_search` sets beside the search itself, so that a run goes without it."""
    fixed = space.overrides_without_search()
    if fixed == space.overrides:
        return []
    # The file chose the sweeper, and the command line may have set keys of it.
    is_chosen = any(word.startswith("hydra/sweeper=") for word in command.config.hydra.overrides.hydra)
    words = [*["hydra/sweeper=optuna"] * (not is_chosen), *fixed]
    keys = flatten(plain(command.loader.load_sweep_config(command.config, words)))
    point = [word for word in space.first_point() if not leaf_above(word.partition("=")[0], keys)]
    return changing_words(resolve_config(_compose(command, [*words, *point])), resolve_config(first))


@dataclass
class _Running:
    """A trial that is being computed, and what came of its executions so far."""

    trial: Trial
    began: float = field(default_factory=time.monotonic)
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by execution

    @property
    def failure(self) -> Outcome | None:
        """The first outcome without a value."""
        return next(
            (self.outcomes[place] for place in sorted(self.outcomes) if self.outcomes[place].value is None), None
        )


def search(plan: Plan, launcher: Launcher, make_job: MakeJob) -> SearchReport:
    """Compute trials until `n_trials` have an end; a search that was cut off goes on where it was.

    Args:
        plan: what is to be done, in a folder that the caller holds.

    Raises:
        UserError: another search is in the folder, the objective is no score, or every trial failed.
    """
    study = _open(plan)
    _check_meaning(plan, study, make_job)
    report = SearchReport(plan, study)
    before = f", {count} of them done before" if (count := len(finished_trials(study))) else ""
    echo(
        f"searching {', '.join(plan.space.distributions)}: {plan.total} trials{before}, "
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
    ended = finished_trials(study)
    if _all_failed(study):
        raise UserError(f"all {len(ended)} trials failed; the last: {ended[-1].user_attrs.get('error')}")
    return report


def _open(plan: Plan) -> optuna.Study:
    """The study in the plan's folder; one of which every trial failed begins anew, since something else was wrong."""
    about = {"objective": plan.objective, "executions_per_trial": plan.options.executions_per_trial}
    study = open_study(plan.folder, plan.space, plan.direction, about)
    if len(finished_trials(study)) >= plan.total and _all_failed(study):
        archive(plan.folder)
        study = open_study(plan.folder, plan.space, plan.direction, about)
    try_again(study)
    return study


def _check_meaning(plan: Plan, study: optuna.Study, make_job: MakeJob) -> None:
    """Refuse to go on with trials whose words have come to mean other runs: an experiment or a config has changed since."""
    done = next((trial for trial in finished_trials(study) if trial.user_attrs.get("runs")), None)
    if done and Path(make_job(plan.overrides(done.params, 0), 0).folder).name != Path(done.user_attrs["runs"][0]).name:
        raise UserError(
            f"the settings of {plan.experiment} have changed since the trials in {plan.folder} were computed, so they "
            "cannot be compared with new ones",
            fix="search anew in another folder, with hydra.sweep.dir=FOLDER",
        )


def _all_failed(study: optuna.Study) -> bool:
    ended = finished_trials(study)
    return bool(ended) and all(trial.state == TrialState.FAIL for trial in ended)


class _Search:
    """The loop of a search: as many trials are computed at a time as the launcher can."""

    def __init__(
        self, plan: Plan, study: optuna.Study, launcher: Launcher, make_job: MakeJob, report: SearchReport
    ) -> None:
        self.plan, self.study, self.launcher, self.make_job, self.report = plan, study, launcher, make_job, report
        # Those that were cut off come first, with the numbers and values that they have.
        self.todo = [ask(study, plan.space, plan.options, number) for number in unfinished_trials(study)]
        self.running: dict[int, _Running] = {}
        self.at_once = launcher.together and not plan.options.pruner  # all executions of a trial

    def run(self) -> None:
        self._fill()
        for job, outcome in self.launcher.outcomes():
            self._take(*divmod(job.number, self.plan.options.executions_per_trial), outcome)
            self._fill()

    def _fill(self) -> None:
        while len(self.running) < self.launcher.capacity and (trial := self._next()):
            self.running[trial.number] = _Running(trial)
            for execution in range(self.plan.options.executions_per_trial if self.at_once else 1):
                if trial.number in self.running:
                    self._submit(trial, execution)

    def _next(self) -> Trial | None:
        """The next trial to compute; equal ones wait for each other, since they are one run."""
        now = [running.trial.params for running in self.running.values()]
        for trial in self.todo:
            if trial.params not in now:
                self.todo.remove(trial)
                return trial
        if len(self.study.get_trials(deepcopy=False)) - len(replaced_trials(self.study)) >= self.plan.total:
            return None
        trial = ask(self.study, self.plan.space, self.plan.options)
        if trial.params in now:
            self.todo.append(trial)  # what is running tells more than a further draw would
            return None
        return trial

    def _submit(self, trial: Trial, execution: int) -> None:
        number = trial.number * self.plan.options.executions_per_trial + execution
        try:
            job = self.make_job(self.plan.overrides(trial.params, execution), number)
        except (HydraException, OmegaConfBaseException) as error:  # the trial fails, not the search
            self._take(trial.number, execution, Outcome(error=" ".join(str(error).split())))
        else:
            self.launcher.submit([job])

    def _take(self, number: int, execution: int, outcome: Outcome) -> None:
        """Go on with a trial of which an execution has ended: a next one follows, unless it failed or all run already."""
        running = self.running[number]
        running.outcomes[execution] = outcome
        if (self.at_once or outcome.value is not None) and len(
            running.outcomes
        ) < self.plan.options.executions_per_trial:
            if not self.at_once:
                self._submit(running.trial, len(running.outcomes))
            return
        trial, outcome = self.running.pop(number).trial, running.failure or outcome
        searched = [key.lstrip("+") for key in self.plan.space.distributions]
        if outcome.affects_all and not any(key.startswith(outcome.affects_all) for key in searched):
            raise UserError(outcome.error)
        retries = trial.user_attrs.get("retries", 0)
        if outcome.may_retry and retries < self.plan.options.max_retries:
            trial.set_user_attr("retries", retries + 1)
            echo(f"trial {number} failed and is tried again: {outcome.error}", file=sys.stderr, flush=True)
            self.todo.append(trial)
            return
        outcomes = [running.outcomes[place] for place in sorted(running.outcomes)]
        tell_outcomes(self.study, trial, outcomes, time.monotonic() - running.began)
        self.report.write("running")
        echo(self.report.trial_line(number), file=sys.stderr, flush=True)
