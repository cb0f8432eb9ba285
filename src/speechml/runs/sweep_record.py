"""sweep.json, what a sweep or search says of itself: read in this one place."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speechml.config.compose import simplify_overrides, without_secrets
from speechml.errors import UserError, reason
from speechml.process import user_name
from speechml.runs.card import DAMAGE, RunCard
from speechml.runs.catalogue import runs_below
from speechml.storage.files import write_json
from speechml.storage.plain_files import read_json

RECORD = "sweep.json"


class SweepRun(NamedTuple):
    """A run that a sweep has named, whether or not it has begun."""

    folder: Path
    overrides: tuple[str, ...] = ()  # that it was launched with
    label: str = ""  # what tells it from the others of its sweep
    error: str = ""  # why it has not begun
    objective: str = ""  # of its search


class SweepRecord(NamedTuple):
    """What a sweep says of itself: the command that goes on with it, the process that computes it, and its runs in order."""

    command: str
    process: int | None
    runs: list[SweepRun]


def words_again(folder: Path, overrides: Sequence[str], card: RunCard | None) -> list[str]:
    """The words that go on with a run, here: without redo=true, and with the folder of runs where that is another now.

    A run that was moved, or put aside, is gone on with nowhere: its words alone train it anew.
    """
    words = [word for word in overrides if word.lstrip("+").partition("=")[0] != "redo"]
    place, runs = folder.resolve(), folder.resolve().parent.parent
    is_moved = card is not None and (place.parent.name, place.name) != (card.experiment, card.id)
    is_elsewhere = runs != runs_folder() and not any(word.lstrip("+").startswith("paths.runs=") for word in words)
    if words and is_elsewhere and not is_moved:
        words.append(f"paths.runs={runs}")
    return words


def runs_folder() -> Path:
    """Where runs are made unless a command says otherwise."""
    return Path(os.environ.get("SPEECHML_RUNS", "runs")).resolve()


def is_sweep(folder: Path) -> bool:
    """Whether a folder is one of a sweep."""
    return (folder / RECORD).is_file()


def sweeps_below(folder: Path) -> list[Path]:
    """The folders of sweeps whose runs lie in a folder: itself, or those that are kept beside the runs."""
    if is_sweep(folder):
        return [folder]
    return [path.parent for path in sorted(folder.glob(f".sweeps/*/*/{RECORD}"))]


def load_sweep(folder: Path) -> SweepRecord:
    """The record in the folder of a sweep.

    Raises:
        UserError: it is damaged.
    """
    path = folder / RECORD
    try:
        content: Any = read_json(folder, RECORD)
        if "runs" in content:
            runs = [_read_run(run) for run in content["runs"]]
        else:  # of a search
            goal = str(content.get("objective") or "")
            runs = [SweepRun(Path(run), objective=goal) for trial in content["trials"] for run in trial.get("runs", [])]
        _check_places(folder, runs)
        process = content.get("process")
        return SweepRecord(str(content.get("command") or ""), None if process is None else int(process), runs)
    except (OSError, *DAMAGE) as error:
        raise UserError(
            f"{path} cannot be read", reason(error), "launch the sweep again to have it written anew"
        ) from error


def _check_places(folder: Path, runs: list[SweepRun]) -> None:
    """Raises ValueError where a sweep names runs that lie neither beside it nor in the user's own folder of runs."""
    path = folder.resolve()
    beside = path.parents[2] if path.parts[-3:-2] == (".sweeps",) else path.parent
    places = (beside, runs_folder())
    for run in runs:
        if not any(run.folder.resolve().is_relative_to(place) for place in places):
            raise ValueError(f"it names {run.folder}, which lies elsewhere; SPEECHML_RUNS may name its place")


def _read_run(run: dict[str, object]) -> SweepRun:
    swept, overrides = run["swept"], run["overrides"]
    if not isinstance(swept, dict) or not isinstance(overrides, list):
        raise ValueError("a run lacks its overrides")
    words = tuple(str(word) for word in overrides)
    label = " ".join(f"{key}={value}" for key, value in swept.items()) or " ".join(words)
    return SweepRun(Path(str(run["folder"])), words, label, str(run.get("error") or ""))


def save_sweep(folder: Path, content: Mapping[str, object]) -> None:
    """Replace the record of a sweep, whole and without secrets."""
    write_json(folder / RECORD, without_secrets(content))


def list_runs(folder: Path) -> list[SweepRun]:
    """The runs of a sweep's folder, as sweep.json names them, or all below another folder.

    Raises:
        UserError: no such folder, or nothing in it.
    """
    if is_sweep(folder):
        return load_sweep(folder).runs
    runs = [SweepRun(run) for run in runs_below(folder)]
    if not runs:
        raise UserError(
            f"there is no run in {folder}", fix="give a folder of runs, or of a sweep (runs/.sweeps/EXPERIMENT/ID)"
        )
    return runs


def describe_client() -> dict[str, object]:
    """What sweep.json keeps of the command and process that compute a sweep."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *simplify_overrides(sys.argv[1:])]), "user": user_name(),
        "host": socket.gethostname(), "process": os.getpid(), "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }  # fmt: skip
