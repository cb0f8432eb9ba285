"""A sweep of every combination: what is done is skipped, what was stopped goes on, what failed is tried again."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from speechml.contracts import Config
from speechml.engine.signals import Stopped
from speechml.errors import UserError
from speechml.runs.folder import translate_disk_errors
from speechml.runs.sweep_record import SweepRun, describe_client, save_sweep
from speechml.storage.files import make_folder
from speechml.sweep.grid_plan import PlannedRun, action, combinations, grid_options, plan_runs, summarize
from speechml.sweep.jobs import Launcher, Outcome
from speechml.sweep.launchers import OpenLauncher
from speechml.sweep.lock import hold
from speechml.sweep.progress import Progress
from speechml.sweep.run_configs import Composer
from speechml.sweep.status import status_table

Outcomes = Mapping[Path, Outcome]  # by folder of the run, as it is planned


def run_grid(
    options: Config, config: DictConfig, loader: ConfigLoader, open_launcher: OpenLauncher, arguments: list[str]
) -> None:
    """Compute what is missing of a sweep, and show all of it.

    Args:
        options: keys of conf/hydra/sweeper/grid.yaml.
        config: Hydra's own config of the sweep.
        loader: Hydra's.
        open_launcher: gives what computes runs.
        arguments: overrides of the command line.

    Raises:
        UserError: runs that cannot be composed or are one, a folder that cannot be written, or runs that failed.
        Stopped: a signal has stopped it.
    """
    words, retries = grid_options(options, arguments)
    composer = Composer.of_sweep(loader, config)
    runs = plan_runs(composer, combinations(words, loader))
    waiting = [run for run in runs if action(run, retries)]
    folder = Path(str(config.hydra.sweep.dir))
    progress = Progress(len(waiting), live=True)
    launcher = open_launcher(folder, progress, most=len(waiting))
    make_folder(folder)
    with translate_disk_errors(folder), hold(folder):
        record(folder, runs, "running")
        OmegaConf.save(config, folder / "multirun.yaml")
        print(f"{summarize(runs, retries)}; {folder}", file=sys.stderr, flush=True)
        outcomes = dict[Path, Outcome]()
        try:
            _compute(launcher, composer, waiting, progress, outcomes)
        except UserError:  # of the launcher: nothing has begun
            record(folder, runs, "stopped")
            raise
        except BaseException:
            _show(folder, runs, "stopped", outcomes)
            print("stopped; the same command goes on with what is left", file=sys.stderr)
            raise
        _show(folder, runs, "done" if len(outcomes) == len(waiting) else "submitted", outcomes)
    check_outcomes(runs, outcomes, retries)


def _compute(
    launcher: Launcher, composer: Composer, runs: list[PlannedRun], progress: Progress, outcomes: dict[Path, Outcome]
) -> None:
    """Have runs computed, and keep what became of each."""
    try:
        launcher.submit([composer.job(run.overrides, number, run.label) for number, run in enumerate(runs)])
        for job, outcome in launcher.outcomes():
            outcomes[runs[job.number].folder] = outcome
            progress.end(runs[job.number].folder, job.label, "" if outcome.is_scoreless else outcome.error)
    finally:
        launcher.close()
        progress.close()


def _show(folder: Path, runs: list[PlannedRun], state: str, outcomes: Outcomes) -> None:
    """Record that the sweep has ended, and show all of it."""
    from speechml.sweep.slurm import queued

    record(folder, runs, state, outcomes)
    try:
        queue = queued(folder)
    except UserError:  # Slurm does not answer; the cards tell enough
        queue = {}
    named = [SweepRun(run.folder, tuple(run.overrides), run.label, _error(run, outcomes)) for run in runs]
    print(f"\n{status_table(named, queue)}\nSweep: {folder}\nLook: speechml report {folder}", flush=True)


def _error(run: PlannedRun, outcomes: Outcomes) -> str:
    """Why a run has not come to its end."""
    outcome = outcomes.get(run.folder, Outcome())
    return "" if outcome.is_scoreless else outcome.error


def record(folder: Path, runs: Sequence[PlannedRun], state: str, outcomes: Outcomes | None = None) -> None:
    """Write sweep.json: what the sweep is of, and who computes it."""
    save_sweep(folder, {
        "state": state, "experiment": runs[0].experiment, **describe_client(),
        "runs": [{**run.as_json(), "error": _error(run, outcomes or {}) or None} for run in runs],
    })  # fmt: skip


def check_outcomes(runs: list[PlannedRun], outcomes: Outcomes, retries: int) -> None:
    """End as one run would: stopped where one was stopped, refused where all that failed were.

    Raises:
        Stopped, UserError: some runs have not come to their end.
    """
    failed = [run for run in runs if _error(run, outcomes)]
    stopped = [name for run in failed if (name := outcomes[run.folder].stopped_by)]
    if stopped and len(stopped) == len(failed):
        raise Stopped(stopped[0], None)
    errors = [f"{run.label or run.id}: {_error(run, outcomes)}" for run in failed]
    errors += [
        f"{run.label or run.id} has failed {run.failures} times; hydra.sweeper.max_retries={run.failures} tries it again"
        for run in runs if run.state == "failed" and not action(run, retries)
    ]  # fmt: skip
    if errors:
        more = f"; and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise UserError(f"{len(errors)} of the runs failed: {errors[0]}{more}")
