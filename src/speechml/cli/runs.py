"""`speechml runs`: list, show, verify and remove runs. Heavy imports stay inside the commands."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechml.errors import UserError, echo, printable

if TYPE_CHECKING:
    from speechml.runs.card import RunCard

runs = typer.Typer(no_args_is_help=True, help="List, show, verify and remove runs.")
Folder = Annotated[Path, typer.Argument(envvar="SPEECHML_RUNS", help="Folder with runs at any depth.")]
STATES = ("done", "stopped", "failed", "running", "'cut off'", "damaged")
Run = Annotated[Path, typer.Argument(help="Folder of a run.")]


@runs.command("list")
def list_runs(
    folder: Folder = Path("runs"),
    state: Annotated[str | None, typer.Option("--state", help=f"Only runs of this state: {', '.join(STATES)}.")] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Only runs with this tag; several: with all.")] = None,
    note: Annotated[str, typer.Option("--note", help="Only runs whose note has this in it.")] = "",
) -> None:
    """List the runs in a folder: state, epochs, score, overrides, tags."""
    from speechml.runs.catalogue import format_list

    echo(format_list(folder, state, form, tags or (), note), end="", exact=form == "csv")


@runs.command()
def show(run: Run) -> None:
    """Show a run: what it was, its scores and files, what can be done next."""
    echo(description(run))


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
    from speechml.runs.catalogue import check_removable
    from speechml.runs.catalogue import remove as delete
    from speechml.runs.tables import format_size

    found = check_removable(folders)
    for folder, size in found.items():
        echo(f"{folder}  {format_size(size)}")
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("there is no terminal to ask on, so nothing was removed", fix="add --yes")
        if not typer.confirm(f"Delete {'this run' if len(found) == 1 else f'these {len(found)} runs'} for good?"):
            echo("Nothing was removed.")
            raise typer.Exit(1)
    for folder in found:
        delete(folder)
    echo(f"{len(found)} run{'s' * (len(found) != 1)} removed, {format_size(sum(found.values()))}")


def description(folder: Path) -> str:
    """What is known of a run: facts of its card, scores, files, and what can be done next.

    Raises:
        UserError: no run, or one whose card is damaged.
    """
    from speechml.report.summary import summary_text
    from speechml.runs.card import explain_damage
    from speechml.runs.catalogue import file_sizes, require_card, state_of
    from speechml.runs.choosing import validation_score
    from speechml.runs.tables import format_size, table

    card = require_card(folder)
    state, code = state_of(folder, card), card.code
    chosen = validation_score(card)
    facts = {
        "experiment": card.experiment, "id": card.id, "state": state, "started": card.started,
        "validation": chosen and f"{chosen}, to choose by; test scores are for the end",
        "code": f"{code.version}, commit {code.commit}{' with changes' * bool(code.dirty)}",
        "weights": f"{card.test_weights}.ckpt is what is tested, loaded and exported",
        "machine": f"{card.hardware.get('host')}, {card.hardware.get('processor')}",
        "tags": ", ".join(card.tags or []), "note": card.note,
        "ended": card.ended, "stopped": card.stopped, "pruned": card.pruned, "error": card.error, "command": card.command,
    }  # fmt: skip
    lines = [f"{name:<10}  {printable(str(value))}" for name, value in facts.items() if value]
    with explain_damage(folder):
        scores = summary_text(folder, card) if card.scores else "\nno scores yet"
    files = [[name, format_size(size)] for name, size in file_sizes(folder).items() if name != ".lock"]
    return "\n".join(
        [*lines, scores, "", table(["file", "size"], files), "", f"Next: {what_next(folder, card, state)}"]
    )


def what_next(folder: Path, card: RunCard, state: str) -> str:
    """What a person can do with a run: use it, or the command that goes on with it."""
    from speechml.runs.card import NOT_SAID
    from speechml.runs.catalogue import lock_owner
    from speechml.runs.sweep_record import words_again

    if state == "running":
        return f"wait: it is being trained by {lock_owner(folder)}"
    if state == "done":
        if not any((folder / "checkpoints").glob("*.ckpt")):
            return "nothing: it kept no checkpoint"
        if card.data.protocol == NOT_SAID:  # of a module of the user's, which may be anything
            return f"speechml-evaluate run={folder}"
        if "test/acc" in card.scores:
            return f"speechml classify {folder} RECORDINGS"
        return f"speechml denoise {folder} RECORDINGS -o FOLDER"
    goes_on = "tries it again" if state == "failed" else "goes on with it"
    return f"{printable(shlex.join(['speechml-train', *words_again(folder, card.overrides, card)]))}    {goes_on}"
