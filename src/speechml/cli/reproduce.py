"""`speechml reproduce`: the labs' experiments, run where they have not been, and their figures beside the published ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from speechml.config.refusals import translate_hydra_errors
from speechml.errors import UserError
from speechml.report.published import (
    LABS,
    PublishedFigure,
    figure_rows,
    missing_row,
    public_card,
    readme_table,
    text_table,
)
from speechml.runs.card import PublishedCard, RunCard, load_card
from speechml.runs.catalogue import state_of
from speechml.storage.files import write_json, write_text
from speechml.sweep.grid_plan import PlannedRun, plan_sweep

DEPTH = 2  # folders below the given one, in which data sets are looked for
LAUNCHERS = ("basic", "local", "slurm")
PLACE = ".sweeps/reproduction"  # below the folder of runs


class Source(NamedTuple):
    """The data that an experiment is run on, as overrides; or why there are none."""

    overrides: list[str]
    missing: str = ""


def reproduce(words: list[str], folder: Path | None, launcher: str, read_only: bool) -> tuple[str, bool]:
    """Run what is missing of the experiments; the table, which is written beside the sweeps, too, and whether all were done.

    Args:
        words: experiments (none: those of the labs) and overrides for all of them.
        folder: in which the labs' data sets are looked for; null: none.
        launcher: one of LAUNCHERS.
        read_only: only finished runs are read.

    Raises:
        UserError: no such experiment, launcher or folder, or overrides that do not fit.
    """
    overrides = [word for word in words if "=" in word]
    experiments = [word for word in words if "=" not in word] or list(LABS)
    if launcher not in LAUNCHERS:
        raise UserError(f"--launcher is {launcher}; it can be {', '.join(LAUNCHERS)}")
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one that holds the labs' data sets")
    keys = {word.lstrip("+").partition("=")[0] for word in overrides}
    if "experiment" in keys:
        raise UserError("experiments are given by their names, without experiment=")
    sources = {name: Source([]) if "data" in keys else source_of(name, folder) for name in dict.fromkeys(experiments)}
    commands = {
        name: [f"experiment={name}", *source.overrides, *overrides]
        for name, source in sources.items()
        if not source.missing
    }
    with translate_hydra_errors():
        plans = {name: plan_sweep(command)[0] for name, command in commands.items()}
    if swept := sorted({key for runs in plans.values() for run in runs for key in run.swept} - {"seed"}):
        raise UserError(f"{swept[0]} has several values; a figure is the mean over seeds, so only seed may have")
    succeeded = True
    if not read_only:
        succeeded = _run(
            {name: commands[name] for name, runs in plans.items() if any(run.state != "done" for run in runs)}, launcher
        )
    figures: list[PublishedFigure] = []
    for name, source in sources.items():
        mine = _finished_cards(plans.get(name, []))
        if mine:
            figures += figure_rows(name, published_figures(name), mine)
        else:
            figures += missing_row(name, source.missing or _unfinished(plans[name]))
    place = _write(plans.values(), figures)
    return text_table(figures) + (f"\nWritten: {place}/table.md, cards/" if place else ""), succeeded


def published_figures(experiment: str) -> PublishedCard:
    """What the config of an experiment says of its published figures.

    Raises:
        UserError: no such experiment.
    """
    from omegaconf import OmegaConf

    from speechml.config.compose import compose_app

    return PublishedCard.from_config(
        OmegaConf.to_container(compose_app("train", [f"experiment={experiment}"]).published)
    )


def _run(commands: dict[str, list[str]], launcher: str) -> bool:
    """Each experiment as a sweep; a cluster is given all of them at once. Whether none failed."""
    hydra = [] if launcher == "basic" else [f"hydra/launcher={launcher}"]
    processes = []
    for number, (name, words) in enumerate(commands.items(), 1):
        print(f"experiment {number}/{len(commands)}: {name}", file=sys.stderr, flush=True)
        processes.append(
            subprocess.Popen([sys.executable, "-m", "speechml.train", "-m", *hydra, *words], stdout=subprocess.DEVNULL)
        )
        if launcher != "slurm":
            _wait(processes)
    _wait(processes)
    return all(process.returncode == 0 for process in processes)


def _wait(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait; a signal reaches the processes as well, which save and end, and with them so does this one."""
    for process in processes:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            code = process.wait()
        if code in (75, -2, -15):
            raise UserError("stopped; the same command goes on")


def _finished_cards(runs: list[PlannedRun]) -> list[RunCard]:
    return [card for run in runs if (card := _finished_card(run.folder)) is not None]


def _finished_card(folder: Path) -> RunCard | None:
    card = load_card(folder)
    return card if card is not None and state_of(folder, card) == "done" else None


def _unfinished(runs: list[PlannedRun]) -> str:
    states = sorted({_state(run) for run in runs})
    return f"no finished run ({', '.join(states)})"


def _state(run: PlannedRun) -> str:
    card = load_card(run.folder)
    return "not begun" if card is None else state_of(run.folder, card)


def _write(plans: Iterable[list[PlannedRun]], figures: list[PublishedFigure]) -> Path | None:
    """Keep the table, and the cards that it was made of, beside the sweeps."""
    folders = [run.folder for runs in plans for run in runs]
    if not any(figure.cards for figure in figures):
        return None
    place = folders[0].parents[1] / PLACE
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / "table.md", readme_table(figures) + "\n")
    (place / "cards").mkdir(exist_ok=True)
    for folder in folders:
        if kept := _finished_card(folder):
            write_json(place / "cards" / f"{folder.parent.name}-{folder.name}.json", public_card(kept))
    return place


def source_of(experiment: str, folder: Path | None) -> Source:
    """The labs' own data where they are in a folder, else their stand-in, else none."""
    if experiment not in LABS:  # ours, which choose their data themselves
        return Source([])
    lab = next(lab for lab in FINDERS if experiment.startswith(lab))
    places = [] if folder is None else sorted(_below(folder, DEPTH))
    return FINDERS[lab](places)


def _below(folder: Path, depth: int) -> Iterable[Path]:
    yield folder
    if depth:
        for entry in os.scandir(folder):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _below(Path(entry.path), depth - 1)


def _pairs(name: str) -> Callable[[list[Path]], Source]:
    def find(places: list[Path]) -> Source:
        file = next((place / name for place in places if (place / name).is_file()), None)
        return Source([] if file is None else ["data=lab_pairs", f"data.root={file}"])

    return find


def _recording(places: list[Path]) -> Source:
    both = ("train_clean*.wav", "train_dirty*.wav")
    place = next((place for place in places if all(any(place.glob(name)) for name in both)), None)
    return Source([] if place is None else [f"data.root={place}"])


def _words(places: list[Path]) -> Source:
    from speechml.data.spoken_words import WORDS

    place = next((place for place in places if all((place / word).is_dir() for word in WORDS)), None)
    if place is None:
        return Source(["data=spoken_words", "data.split=random"])
    words = ",".join(json.dumps(word) for word in WORDS)
    return Source([f"data.root={place}", f"data.words=[{words}]"])


def _features(places: list[Path]) -> Source:
    import numpy as np

    for file in (file for place in places for file in sorted(place.glob("*.npz"))):
        try:
            with np.load(file, allow_pickle=False) as found:
                if {"Xdata", "Ydata"} <= set(found.files):
                    return Source([f"data.root={file}"])
        except (OSError, ValueError):
            continue
    return Source([], "no data at hand: --data FOLDER, with the .npz of the exercise in it")


FINDERS: dict[str, Callable[[list[Path]], Source]] = {
    "lab2a": _pairs("data_lab_2A.pt"), "lab2b": _pairs("data_lab_2B.pt"), "hw2": _recording, "words": _words, "genre": _features,
}  # fmt: skip
