"""A sweep of every combination: what is done is skipped, what was stopped goes on, what failed is tried again."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from speechml.config.compose import conf_dir, without_secrets
from speechml.engine.signals import Stopped
from speechml.errors import UserError, echo
from speechml.runs.sweep_record import SweepRun, describe_client, save_sweep
from speechml.runs.tables import table
from speechml.storage.files import write_text
from speechml.sweep.jobs import Outcome, condition
from speechml.sweep.run_configs import Composer, last_words
from speechml.sweep.schema import GridSweeper
from speechml.sweep.status import Progress, queued_below, status_table
from speechml.sweep.sweep_command import SweepCommand, hold

# What is done with a run of each state. One that another process has is left to it.
ACTIONS = {
    "new": "train", "stopped": "go on", "cut off": "go on", "failed": "try again", "damaged": "train", "incomplete": "complete",
}  # fmt: skip
TITLES = {
    "": "done already", "train": "to train", "complete": "to be completed", "go on": "to go on with",
    "try again": "failed, to be tried again", "running": "being trained by another process", "failed": "failed too often",
}  # fmt: skip
Outcomes = dict[Path, Outcome]  # by folder of the run, as it is planned


class PlannedRun(NamedTuple):
    """One run of a sweep, and what its folder said when it was planned."""

    overrides: list[str]
    experiment: str
    id: str
    folder: Path
    state: str  # `new` where there is none yet; else as `speechml runs list` calls it
    failures: int  # in a row
    swept: dict[str, str]
    redo: bool = False  # trained although it is done

    @property
    def label(self) -> str:
        """What tells it from the others."""
        return " ".join(f"{key}={value}" for key, value in self.swept.items()) or " ".join(self.overrides)

    def action(self, max_retries: int) -> str:
        """What is to be done with it, or nothing, as when it is done, being trained, or has failed too often."""
        if self.redo and self.state != "running":
            return "train"
        if self.state == "failed" and self.failures > max_retries:
            return ""
        return ACTIONS.get(self.state, "")


def plan_report(arguments: list[str], measures: bool = False) -> str:
    """The table of a sweep's runs and of what would be done with each; see `plan_sweep`.

    Args:
        measures: whether a short training tells what the runs will take.
    """
    with open_sweep(arguments) as command:
        runs, retries = plan_grid(command)
        rows = [[run.experiment, run.id, run.state, run.action(retries) or "-", run.label] for run in runs]
        header = ["experiment", "id", "state", "to do", "overrides"]
        text = f"{table(header, rows, left=range(5))}\n\n{summarize(runs, retries)}"
        waiting = [run for run in runs if run.action(retries)]
        if measures and waiting:
            from speechml.sweep.measuring import describe, measure

            job = command.composer.job(waiting[0].overrides, 0, waiting[0].label)
            text += f"\n{describe(measure(job), waiting[0].label, len(waiting))}"
        return text


def plan_sweep(arguments: list[str]) -> tuple[list[PlannedRun], int]:
    """The runs of a sweep, none of which is computed, and how often what failed is launched again.

    Args:
        arguments: what would follow `speechml-train -m`.

    Raises:
        UserError: what the sweep itself would be refused for, or a search, which draws its values as it goes.
    """
    with open_sweep(arguments) as command:
        return plan_grid(command)


@contextmanager
def open_sweep(arguments: list[str]) -> Iterator[SweepCommand]:
    """A sweep as Hydra would hand it over, while Hydra is set up for it; see `plan_sweep`."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    with initialize_config_dir(conf_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", arguments, run_mode=RunMode.MULTIRUN)
        if not str(config.hydra.sweeper["_target_"]).endswith(".GridSweeper"):
            raise UserError(
                "a search draws its values as it goes, so there is no plan of it",
                fix="hydra.sweeper.n_trials says how many runs",
            )
        yield SweepCommand(config, loader, list(config.hydra.overrides.task))


def plan_grid(command: SweepCommand) -> tuple[list[PlannedRun], int]:
    """The runs of a sweep in its order, and how often what failed is launched again."""
    options = command.options(GridSweeper)
    overrides = last_words(options.params, command.arguments, command.loader)
    return plan_runs(command.composer, overrides.values()), options.max_retries


def plan_runs(composer: Composer, overrides: Iterable[Override]) -> list[PlannedRun]:
    """The runs of some overrides, one for each key; UserError where two combinations are one run."""
    combos = list(combinations(list(overrides)))
    if not combos:
        raise UserError("the sweep has no runs: a swept key has no values")
    runs = dict[Path, PlannedRun]()
    for words, swept in combos:
        experiment, identity, folder, redo, _ = composer.run(words, is_checked=True)
        if folder in runs:
            raise UserError(_one_run(runs[folder].swept, swept, folder, len(combos)))
        runs[folder] = PlannedRun(words, experiment, identity, folder, *condition(folder), swept, redo)
    return list(runs.values())


def combinations(overrides: list[Override]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Every run of a sweep: its overrides, and the values of swept keys among them."""
    names = [override.get_key_element().lstrip("+") for override in overrides]
    for words in itertools.product(*map(_alternatives, overrides)):
        values = zip(names, words, overrides, strict=True)
        yield list(words), {name: word.partition("=")[2] for name, word, o in values if o.is_sweep_override()}


def _alternatives(override: Override) -> list[str]:
    """An override with each of its values."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise UserError(
            f"{override.input_line}: a plain sweep runs every combination, and an interval has no end of them",
            fix="add hydra/sweeper=optuna to search it",
        )
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _one_run(one: dict[str, str], other: dict[str, str], folder: Path, count: int) -> str:
    differing = [key for key in other if one.get(key) != other[key]]
    if not differing:
        return f"the sweep has {' '.join(f'{k}={v}' for k, v in one.items())} twice; they would be one run, {folder}"
    values = " and ".join(f"{key}={way[key]}" for key in differing for way in (one, other))
    several = f"of the {count} combinations several" if count > 2 else "the two"
    return f"{values} make no difference to a result: {several} would be one run, {folder}; leave one value of it"


def summarize(runs: list[PlannedRun], max_retries: int) -> str:
    """One line on what is there and what there is to do."""
    counts = Counter(run.action(max_retries) or (run.state if run.state in TITLES else "") for run in runs)
    parts = [f"{counts[key]} {title}" for key, title in TITLES.items() if counts[key]]
    return f"{len(runs)} run{'s' * (len(runs) != 1)}: {', '.join(parts)}"


def run_grid(command: SweepCommand) -> None:
    """Compute what is missing of a sweep, and show all of it.

    Raises:
        UserError: runs that cannot be composed or are one, a folder that cannot be written, or runs that failed.
        Stopped: a signal has stopped it.
    """
    composer, folder, outcomes = command.composer, command.folder, Outcomes()
    runs, retries = plan_grid(command)
    waiting = [run for run in runs if run.action(retries)]
    progress = Progress(len(waiting))
    launcher = command.open_launcher(progress, most=len(waiting))
    with hold(folder):
        _record(folder, runs, "running", outcomes)
        write_text(folder / "multirun.yaml", as_yaml(command.config))
        echo(f"{summarize(runs, retries)}; {folder}", file=sys.stderr, flush=True)
        tell_hindrances(composer, len(runs))
        try:
            with closing(launcher):
                launcher.submit([composer.job(run.overrides, number, run.label) for number, run in enumerate(waiting)])
                for job, outcome in launcher.outcomes():
                    run = waiting[job.number]
                    outcomes[run.folder] = outcome
                    progress.end(run.folder, run.label, outcome.failure)
        except UserError:  # of the launcher: nothing has begun
            _record(folder, runs, "stopped", outcomes)
            raise
        except BaseException as error:
            if isinstance(error, Stopped) and all(condition(run.folder)[0] == "done" and not run.redo for run in runs):
                outcomes = {run.folder: Outcome() for run in waiting}  # the signal came too late
                _show(folder, runs, "done", outcomes)
                return
            _show(folder, runs, "stopped", outcomes)
            echo("stopped; the same command goes on with what is left", file=sys.stderr)
            raise
        _show(folder, runs, "done" if len(outcomes) == len(waiting) else "submitted", outcomes)
    _check_outcomes(runs, outcomes, retries)


def tell_hindrances(composer: Composer, count: int) -> None:
    """Say which of so many runs are not trained together with others, and why."""
    for why, number in composer.hindrances.items():
        which = "all runs are" if number == count else f"{number} of the runs {'is' if number == 1 else 'are'}"
        echo(f"{which} trained one by one: {why}", file=sys.stderr, flush=True)


def _record(folder: Path, runs: list[PlannedRun], state: str, outcomes: Outcomes) -> None:
    """Write sweep.json: what the sweep is of, and who computes it."""
    content = [
        {
            "id": run.id, "folder": str(run.folder.absolute()), "overrides": run.overrides, "swept": run.swept,
            "error": _failure(run, outcomes) or None,
        }
        for run in runs
    ]  # fmt: skip
    save_sweep(folder, {"state": state, "experiment": runs[0].experiment, **describe_client(), "runs": content})


def _show(folder: Path, runs: list[PlannedRun], state: str, outcomes: Outcomes) -> None:
    """Record that the sweep has ended, and show all of it."""
    _record(folder, runs, state, outcomes)
    try:
        queue = queued_below(folder)
    except UserError:  # Slurm does not answer; the cards tell enough
        queue = {}
    rows = [SweepRun(run.folder, tuple(run.overrides), run.label, _failure(run, outcomes)) for run in runs]
    echo(f"\n{status_table(rows, queue, of_sweep=True)}\nSweep: {folder}\nLook: speechml report {folder}", flush=True)


def _failure(run: PlannedRun, outcomes: Outcomes) -> str:
    """Why a run has not come to its end."""
    return outcomes[run.folder].failure if run.folder in outcomes else ""


def _check_outcomes(runs: list[PlannedRun], outcomes: Outcomes, retries: int) -> None:
    """End as one run would: Stopped where all that failed were stopped, else UserError where any failed."""
    failed = [run for run in runs if _failure(run, outcomes)]
    signals = [outcomes[run.folder].stopped_by for run in failed]
    if failed and all(signals):
        raise Stopped(signals[0], None)
    errors = [f"{run.label or run.id}: {_failure(run, outcomes)}" for run in failed]
    errors += [
        f"{run.label or run.id} has failed {run.failures} times; hydra.sweeper.max_retries={run.failures} tries it again"
        for run in runs if run.state == "failed" and not run.action(retries)
    ]  # fmt: skip
    if errors:
        more = f"; and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise UserError(f"{len(errors)} of the runs failed: {errors[0]}{more}")


def as_yaml(config: DictConfig) -> str:
    """A config as YAML, without secrets."""
    content = without_secrets(OmegaConf.to_container(config, enum_to_str=True))
    return yaml.safe_dump(content, width=10**9, sort_keys=False, allow_unicode=True)
