"""`speechml sweep`: plan, status, wait, cancel. Heavy imports stay inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechml.errors import echo

sweep = typer.Typer(no_args_is_help=True, help="Plan sweeps, and look after those that are being computed.")
Folder = Annotated[
    Path, typer.Argument(help="Folder of a sweep (runs/.sweeps/EXPERIMENT/ID), or of runs.", envvar="SPEECHML_RUNS")
]
RUNS = Path("runs")


@sweep.command(context_settings={"ignore_unknown_options": True})
def plan(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="What would follow speechml-train -m.", metavar="[OVERRIDE]...")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Train one of them for some batches: what runs take in memory and time.")
    ] = False,
) -> None:
    """Show what a sweep would compute: its runs, their ids, and what is done already."""
    from speechml.config.compose import adapt_overrides
    from speechml.config.refusals import translate_hydra_errors
    from speechml.sweep.grid import plan_report

    with translate_hydra_errors():
        words = [word for word in overrides or [] if word not in ("-m", "--multirun")]
        echo(plan_report(adapt_overrides(words, is_sweep=True), measure))


@sweep.command()
def status(folder: Folder = RUNS) -> None:
    """Show the runs of a sweep: states, scores, times, and the command that goes on with each that has no end."""
    from speechml.sweep.status import status_report

    echo(status_report(folder))


@sweep.command()
def wait(folder: Folder = RUNS) -> None:
    """Wait until no run of a sweep is being computed or queued; the exit code is 1 where one is not done."""
    from speechml.sweep.status import wait_for

    if not wait_for(folder):
        raise typer.Exit(1)


@sweep.command()
def cancel(folder: Annotated[Path, typer.Argument(help="Folder of a sweep (runs/.sweeps/EXPERIMENT/ID).")]) -> None:
    """End a sweep's jobs, or the process that computes it: what is trained now is saved, and the sweep can go on."""
    from speechml.sweep.status import cancel_sweep

    echo(cancel_sweep(folder))
