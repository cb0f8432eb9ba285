"""`speechml reproduce`: the labs' experiments, run where they have not been, and their figures beside the published ones."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from speechml.config.refusals import translate_hydra_errors
from speechml.data.word_schema import WORDS
from speechml.errors import UserError, echo
from speechml.report.published import (
    LABS,
    PublishedFigure,
    add_intervals,
    figure_rows,
    missing_row,
    public_card,
    readme_table,
    text_table,
)
from speechml.runs.card import PublishedCard, RunCard, load_card
from speechml.runs.tables import check_choice
from speechml.storage.files import write_json, write_text
from speechml.sweep.grid import PlannedRun, plan_sweep

LAUNCHERS = ("basic", "local", "slurm")
PLACE = ".sweeps/reproduction"  # below the folder of runs


class LabData(NamedTuple):
    """The data of a lab: what lies in one folder of them, and the overrides that choose it, or a stand-in."""

    contents: tuple[str, ...]
    chosen: tuple[str, ...]  # {place} is that folder, {file} the first of its contents
    stand_in: tuple[str, ...] | None = ()  # None: there is none


PAIRS = ("data=lab_pairs", "data.root={file}")
LAB_DATA = {
    "lab2a": LabData(("data_lab_2A.pt",), PAIRS),
    "lab2b": LabData(("data_lab_2B.pt",), PAIRS),
    "hw2": LabData(("train_clean*.wav", "train_dirty*.wav"), ("data.root={place}",)),
    "words": LabData(
        tuple(WORDS), ("data.root={place}", f"data.words=[{','.join(map(json.dumps, WORDS))}]"),
        ("data=spoken_words", "data.split=random"),
    ),
    "genre": LabData(("*.npz",), ("data.root={file}",), None),
}  # fmt: skip


def reproduce(words: list[str], folder: Path | None, launcher: str, read_only: bool) -> tuple[str, bool]:
    """Run what is missing of the experiments; the table, which is written beside the sweeps, too, and whether all are done.

    Args:
        words: experiments (none: those of the labs) and overrides for all of them.
        folder: in which the labs' data sets are looked for; null: none.
        launcher: one of LAUNCHERS.
        read_only: only finished runs are read, and what is missing counts as done.

    Raises:
        UserError: no such experiment, launcher or folder, or overrides that do not fit.
    """
    check_choice("--launcher", launcher, LAUNCHERS)
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one that holds the labs' data sets")
    overrides = [word for word in words if "=" in word]
    keys = {word.lstrip("+").partition("=")[0] for word in overrides}
    if "experiment" in keys:
        raise UserError("experiments are given by their names, without experiment=")
    commands: dict[str, list[str] | None] = {}  # of a sweep each; None where there are no data
    for name in dict.fromkeys([word for word in words if "=" not in word] or LABS):
        data = [] if "data" in keys else data_overrides(name, folder)
        commands[name] = None if data is None else [f"experiment={name}", *data, *overrides]
    plans = plan(commands)
    if not read_only:
        unfinished = [name for name, runs in plans.items() if any(run.state != "done" for run in runs)]
        run_all({name: commands[name] or [] for name in unfinished}, launcher)
        plans = plan(commands)
    figures: list[PublishedFigure] = []
    cards: dict[Path, RunCard] = {}
    for name, runs in plans.items():
        mine = {run.folder: card for run in runs if run.state == "done" and (card := load_card(run.folder))}
        cards |= mine
        for run, card in mine.items():
            add_intervals(card, run / "predictions.npz")
        if mine:
            figures += figure_rows(name, published_figures(name), list(mine.values()))
        else:
            states = sorted({"not begun" if run.state == "new" else run.state for run in runs})
            no_data = "no data at hand: --data FOLDER, with the .npz of the exercise in it"
            figures += missing_row(name, f"no finished run ({', '.join(states)})" if runs else no_data)
    text = text_table(figures)
    if cards:
        place = next(iter(cards)).parents[1] / PLACE
        write_tables(place, figures, cards)
        text += f"\nWritten: {place}/table.md, cards/"
    return text, read_only or all(run.state == "done" for runs in plans.values() for run in runs)


def plan(commands: dict[str, list[str] | None]) -> dict[str, list[PlannedRun]]:
    """The runs of each experiment, none where it has no data.

    Raises:
        UserError: a sweep over something else than seeds.
    """
    with translate_hydra_errors():
        plans = {name: plan_sweep(command)[0] if command else [] for name, command in commands.items()}
    if swept := sorted({key for runs in plans.values() for run in runs for key in run.swept} - {"seed"}):
        raise UserError(f"{swept[0]} has several values; a figure is the mean over seeds, so only seed may have")
    return plans


def published_figures(experiment: str) -> PublishedCard:
    """What the config of an experiment says of its published figures.

    Raises:
        UserError: no such experiment.
    """
    from omegaconf import OmegaConf

    from speechml.config.compose_app import compose_app

    return PublishedCard.from_config(
        OmegaConf.to_container(compose_app("train", [f"experiment={experiment}"]).published)
    )


def run_all(commands: dict[str, list[str]], launcher: str) -> None:
    """Each experiment as a sweep; a cluster is given all of them at once."""
    hydra = [] if launcher == "basic" else [f"hydra/launcher={launcher}"]
    processes = []
    for number, (name, words) in enumerate(commands.items(), 1):
        echo(f"experiment {number}/{len(commands)}: {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "speechml.train", "-m", *hydra, *words]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        if launcher != "slurm":
            wait(processes[-1:])
    wait(processes)


def wait(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait; a signal reaches the processes as well, which save and end, and with them so does this one."""
    for process in processes:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            code = process.wait()
        if code in (75, -2, -15):
            raise UserError("stopped; the same command goes on")


def write_tables(place: Path, figures: list[PublishedFigure], cards: dict[Path, RunCard]) -> None:
    """Keep the table, and the cards that it was made of, by the folders of their runs."""
    (place / "cards").mkdir(parents=True, exist_ok=True)
    write_text(place / "table.md", readme_table(figures) + "\n")
    for folder, card in cards.items():
        write_json(place / "cards" / f"{folder.parent.name}-{folder.name}.json", public_card(card))


def data_overrides(experiment: str, folder: Path | None) -> list[str] | None:
    """The overrides for a lab's own data where they lie in a folder, or two below, else for their stand-in; None: no data."""
    if experiment not in LABS:  # ours, which choose their data themselves
        return []
    data = LAB_DATA[next(lab for lab in LAB_DATA if experiment.startswith(lab))]
    places = [] if folder is None else [folder, *sorted(folder.glob("*/")), *sorted(folder.glob("*/*/"))]
    for place in places:
        files = [next(_usable(place.glob(pattern)), None) for pattern in data.contents]
        if not any(part.startswith(".") for part in place.relative_to(folder or place).parts) and None not in files:
            return [word.format(place=place, file=files[0]) for word in data.chosen]
    return None if data.stand_in is None else list(data.stand_in)


def _usable(files: Iterable[Path]) -> Iterator[Path]:
    """Without those .npz files that are not the exercise's."""
    for file in sorted(files):
        try:
            if file.suffix != ".npz" or "Xdata.npy" in zipfile.ZipFile(file).namelist():
                yield file
        except (OSError, zipfile.BadZipFile):
            continue
