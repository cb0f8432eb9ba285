"""Does what clusters, networks and strangers do to runs, and says what broke: `python scripts/stress.py --help`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Seed = Annotated[int, typer.Option(help="Of the moments, orders and damages that are drawn.")]


@app.command()
def resume(kills: Annotated[int, typer.Option(help="How often a run is killed in all.")] = 50, seed: Seed = 0) -> None:
    """Kill runs of every task at random moments, continue them, and compare with runs that were left alone."""
    from stress_resume import resume

    raise typer.Exit(min(1, resume(kills, seed)))


@app.command()
def trackers(
    kills: Annotated[int, typer.Option(help="How often a run is killed in all.")] = 200, seed: Seed = 0
) -> None:
    """Kill runs that W&B (offline) and MLflow watch, continue them: each step must stand there once, and none be lost."""
    from stress_trackers import trackers

    raise typer.Exit(min(1, trackers(kills, seed)))


@app.command()
def launch(
    processes: Annotated[int, typer.Option(help="How many launch at once.")] = 8,
    configs: Annotated[int, typer.Option(help="How many different runs there are.")] = 20,
    launches: Annotated[int, typer.Option(help="How many launches of them.")] = 200,
    seed: Seed = 0,
) -> None:
    """Launch the same and different runs at once: each must be trained once, and none overwritten."""
    from stress_launch import launch

    raise typer.Exit(min(1, launch(processes, configs, launches, seed)))


@app.command()
def checkpoints(
    cases: Annotated[int, typer.Option(help="How many damaged or hostile files.")] = 1000, seed: Seed = 0
) -> None:
    """Load damaged and hostile checkpoints: each must be refused in a sentence, and no code of theirs run."""
    from stress_checkpoints import checkpoints

    raise typer.Exit(min(1, checkpoints(cases, seed)))


@app.command()
def inputs(
    cases: Annotated[int, typer.Option(help="How many commands.")] = 500,
    seed: Seed = 0,
    first: Annotated[int, typer.Option(help="Number of the first, to see one case again.")] = 0,
    jobs: Annotated[int, typer.Option(help="How many at a time.")] = os.cpu_count() or 1,
) -> None:
    """Give commands wrong overrides, configs, runs, recordings and features: each must end in success or a sentence."""
    from stress_inputs import inputs

    raise typer.Exit(min(1, inputs(cases, seed, first, jobs)))


@app.command()
def headers(cases: Annotated[int, typer.Option(help="How many damaged files.")] = 3700, seed: Seed = 0) -> None:
    """Read audio files with damaged headers as every command does: no traceback, little memory, and an end."""
    from stress_headers import headers

    raise typer.Exit(min(1, headers(cases, seed)))


@app.command()
def slurm(
    runs: Annotated[int, typer.Option(help="Of the sweep.")] = 12,
    epochs: Annotated[int, typer.Option(help="Of a run; with 60 it is stopped by its time limit as well.")] = 60,
    times: Annotated[int, typer.Option(help="How often each thing happens to a job.")] = 2,
) -> None:
    """End the jobs of a sweep by preemption, kill -9, power loss and scancel, on the sandbox that is up."""
    from stress_slurm import slurm

    raise typer.Exit(min(1, slurm(runs, epochs, times)))


@app.command()
def faults(
    injections: Annotated[int, typer.Option(help="How many calls fail, one in each launch.")] = 1500,
    programs: Annotated[str, typer.Option(help="Which ones, separated by commas.")] = "",
    seed: Seed = 0,
) -> None:
    """Let each open, write, fsync, rename, unlink and mkdir of six programs fail once, then launch them again."""
    from stress_faults import PROGRAMS, faults

    raise typer.Exit(min(1, faults(injections, seed, tuple(filter(None, programs.split(","))) or tuple(PROGRAMS))))


@app.command()
def powercut(
    relaunches: Annotated[int, typer.Option(help="How many of the states are launched again.")] = 60, seed: Seed = 0
) -> None:
    """Replay every prefix of what a run wrote, with what was not synced kept, dropped or torn, and open it."""
    from stress_powercut import powercut

    raise typer.Exit(min(1, powercut(relaunches, seed)))


@app.command()
def fused(
    groupings: Annotated[int, typer.Option(help="How many companies of runs are trained together.")] = 200,
    seed: Seed = 0,
) -> None:
    """Train runs together in random companies, kill some: each must end as it does alone, bit for bit."""
    from stress_fused import fused

    raise typer.Exit(min(1, fused(groupings, seed)))


if __name__ == "__main__":
    app()
