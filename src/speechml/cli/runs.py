"""`speechml runs`: list, show, verify and remove runs. Heavy imports stay inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from speechml.errors import UserError

runs = typer.Typer(no_args_is_help=True, help="List, show, verify and remove runs.")
Run = Annotated[Path, typer.Argument(help="Folder of a run.")]


@runs.command("list")
def list_runs(
    folder: Annotated[Path, typer.Argument(envvar="SPEECHML_RUNS", help="Folder with runs at any depth.")] = Path(
        "runs"
    ),
    state: Annotated[
        str | None,
        typer.Option("--state", help="Only runs that are done, stopped, failed, running, 'cut off' or damaged."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """List the runs in a folder: state, epochs, score, overrides."""
    from speechml.runs.catalogue import listed

    print(listed(folder, state, form), end="")


@runs.command()
def show(run: Run) -> None:
    """Show a run: what it was, its scores and files, what can be done next."""
    from speechml.runs.catalogue import description

    print(description(run))


@runs.command()
def verify(
    places: Annotated[
        list[Path] | None,
        typer.Argument(envvar="SPEECHML_RUNS", help="Folders of runs, or of a run each.", metavar="[RUN_OR_FOLDER]..."),
    ] = None,
) -> None:
    """Check that runs are whole: checksums, weights, epochs, and scores computed again. Needs no data.

    The exit code is 1 where a run has problems.
    """
    from speechml.inference.verify import verify

    if not verify(places or [Path("runs")]):
        raise typer.Exit(1)


@runs.command()
def remove(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs.", metavar="RUN...")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete runs, wholly; asks before."""
    from speechml.runs.catalogue import as_size, removable
    from speechml.runs.catalogue import remove as delete

    found = removable(folders)
    for folder, size in found.items():
        print(f"{folder}  {as_size(size)}")
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("there is no terminal to ask on, so nothing was removed; add --yes")
        if not typer.confirm(f"Delete {'this run' if len(found) == 1 else f'these {len(found)} runs'} for good?"):
            print("Nothing was removed.")
            raise typer.Exit(1)
    for folder in found:
        delete(folder)
    print(f"{len(found)} run{'s' * (len(found) != 1)} removed, {as_size(sum(found.values()))}")
