"""Whether what a run left is whole and fits together: checksums, weights, and scores computed again; no data are needed."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf

from speechml.engine.checkpoint import build_task, check_weights, nonfinite_names, read_checkpoint
from speechml.errors import UserError
from speechml.metrics.classification import class_scores
from speechml.runs.card import RunCard, load_card
from speechml.runs.catalogue import checksums, printable, runs_below, state_of
from speechml.runs.folder import LAST, PREVIOUS
from speechml.storage.progress import progress
from speechml.tasks.denoising import means_of

TOLERANCE = 1e-6  # relative, between a score and the same computed again: it is a sum of the same float64 numbers
BY_NAME = ("train", "heldout")  # parts that are one stretch of a recording each, named so in predictions.npz


class Verdict(NamedTuple):
    """What is wrong with a run, and what a reader should know besides."""

    folder: Path
    problems: list[str]
    notes: list[str]

    def __str__(self) -> str:
        told = f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)}" if self.problems else "ok"
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return "\n  ".join(printable(line) for line in (f"{self.folder}  {told}{notes}", *self.problems))


def verify(places: list[Path]) -> bool:
    """Check runs and all runs in folders of runs, print a line for each and their totals; whether all are well.

    Raises:
        UserError: no such folder, or one without runs.
    """
    folders: dict[Path, None] = {}
    for place in places:
        found = list(runs_below(place))
        if not found:
            raise UserError(
                f"{place} holds no run; give a folder of runs, as in runs, or one run, as in runs/words_tuned/ID"
            )
        folders |= dict.fromkeys(found)
    bad = 0
    for folder in progress(list(folders), len(folders), "verifying"):
        verdict = verified(folder)
        bad += bool(verdict.problems)
        print(verdict, flush=True)
    print(f"{len(folders)} run{'s' * (len(folders) != 1)}: {len(folders) - bad} ok, {bad} with problems")
    return not bad


def verified(folder: Path) -> Verdict:
    """Everything that can be said of a run without its data."""
    try:
        card = load_card(folder)
    except UserError as error:
        return Verdict(folder, [str(error)], [])
    if card is None:
        return Verdict(folder, ["it was removed meanwhile"], [])
    state = state_of(folder, card)
    problems: list[str] = []
    notes = [] if state == "done" else [f"{state}: what is there was checked"]
    checks: dict[str, Callable[[], list[str]]] = {
        "the config": lambda: wrong_config(folder, card, notes),
        "the checksums": lambda: wrong_sums(folder, card) if state == "done" else [],
        "the checkpoints": lambda: wrong_checkpoints(folder, card, state),
        "metrics.csv": lambda: wrong_epochs(folder, card, state),
        "predictions.npz": lambda: wrong_scores(folder, card, notes) if state == "done" else [],
    }
    for what, check in checks.items():
        try:
            problems += check()
        except Exception as error:  # readers of damaged files raise whatever comes up: it is told, the next is checked
            problems.append(f"{what} cannot be checked ({type(error).__name__}: {' '.join(str(error).split())})")
    return Verdict(folder, problems, notes)


def config_of(folder: Path) -> dict[str, Any]:
    """The config of a run as plain containers."""
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    if not isinstance(config, dict) or not {"model", "data", "checkpoint", "logger", "test"} <= set(config):
        raise ValueError("config.yaml is no config of a run")
    return {str(key): value for key, value in config.items()}


def wrong_config(folder: Path, card: RunCard, notes: list[str]) -> list[str]:
    """A config that cannot be read; a folder that is not called as the run in it is noted."""
    config_of(folder)
    if not folder.resolve().name.startswith(card.id):
        notes.append(f"a copy of run {card.id}")
    return []


def wrong_sums(folder: Path, card: RunCard) -> list[str]:
    """Files that are not those the run ended with; older cards have no checksums."""
    if card.files is None:
        return []
    there, known = checksums(folder), card.files
    found = [f"{name} is missing" for name in sorted(known.keys() - there.keys())]
    found += [f"{name} was not left by the run" for name in sorted(there.keys() - known.keys())]
    return found + [f"{name} has changed" for name in sorted(known.keys() & there) if known[name] != there[name]]


def wrong_checkpoints(folder: Path, card: RunCard, state: str) -> list[str]:
    """Checkpoints that cannot be read or used, or are of another run."""
    paths = sorted((folder / "checkpoints").glob("*.ckpt"))
    if state == "running":  # it is replaced again and again
        paths = [path for path in paths if path.name not in (LAST, PREVIOUS)]
    found = []
    needed = folder / "checkpoints" / f"{card.test_weights}.ckpt"
    config = config_of(folder)
    if state == "done" and needed not in paths and not config["trainer"].get("fast_dev_run"):
        found.append(f"checkpoints/{needed.name} is missing")
    for path in paths:
        try:
            content = read_checkpoint(path)
            of = content["speechml"]
            check_weights(build_task(of["config"], str(path)), content["state_dict"], path)
        except UserError as error:
            found.append(str(error))
            continue
        found += [
            f"{path} holds weights that are NaN or infinite ({name})"
            for name in nonfinite_names(content["state_dict"])[:1]
        ]
        same = as_json(of["config"]["model"]) == as_json(config["model"])
        if not same or of.get("data") != card.data.fingerprint:
            found.append(
                f"{path} is of another run: its {'data are not those' if same else 'model is not that'} of the card"
            )
    return found


def as_json(value: Any) -> str:
    """Plain containers as text that is equal where they are, whatever order their keys have."""
    return json.dumps(value, sort_keys=True, default=str)


def wrong_epochs(folder: Path, card: RunCard, state: str) -> list[str]:
    """A table that lacks an epoch, has one twice, or whose steps do not rise."""
    config = config_of(folder)
    path = folder / "metrics.csv"
    if not path.exists():
        expected = state == "done" and config["logger"]["csv"] and not config["trainer"].get("fast_dev_run")
        return ["metrics.csv is missing"] if expected else []
    rows = list(csv.DictReader(io.StringIO(path.read_text()), strict=True))
    epochs, steps = ([int(row[key]) for row in rows] for key in ("epoch", "step"))
    found = []
    if epochs != list(range(len(epochs))):
        found.append("metrics.csv has not each epoch once, in order")
    if any(after <= before for before, after in itertools.pairwise(steps)):
        found.append("metrics.csv has steps that do not rise")
    if state == "done" and len(rows) != card.epochs:
        found.append(f"metrics.csv has {len(rows)} epochs and the card {card.epochs}")
    return found


def wrong_scores(folder: Path, card: RunCard, notes: list[str]) -> list[str]:
    """Scores of the card that its predictions do not give; parts that predictions say nothing of are put into `notes`."""
    path = folder / "predictions.npz"
    if not path.exists():
        return ["predictions.npz is missing"] if config_of(folder)["test"] else []
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    scores = card.scores
    of_test = any(name.startswith("test/") for name in scores)
    count = len(columns["name"])
    found = []
    if of_test and count != card.scored:
        found.append(f"predictions.npz has {count} rows and {card.scored} were scored")
    again = recomputed(columns, ["test"] if of_test else [part for part in BY_NAME if part in columns["name"]])
    differing = [name for name, value in again.items() if not same_score(scores.get(name), value)]
    # A part called train has scores of the training itself, which are no means over items.
    parts = {name.split("/")[0] for name in again}
    strange = [name for name in scores if name.split("/")[0] in parts - {"train"} and name not in again]
    custom = tuple(config_of(folder).get("metrics") or ())  # of torchmetrics, which need more than the predictions
    strange = [name for name in strange if not name.split("/")[-1].startswith(custom)]
    if differing:
        name = differing[0]
        others = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        found.append(f"predictions.npz gives {name} {again[name]:.9g} and the card {scores.get(name)}{others}")
    found += [f"{name} of the card cannot be computed from predictions.npz" for name in strange[:1]]
    if left := sorted({name.split("/")[0] for name in scores} - parts):
        notes.append(f"not computed again: {', '.join(left)} scores")
    return found


def recomputed(columns: dict[str, np.ndarray], parts: list[str]) -> dict[str, float]:
    """The scores of `parts`, by name, from the columns of predictions.npz."""
    if "logits" in columns:
        logits, labels = (torch.from_numpy(columns[key]) for key in ("logits", "label"))
        given = class_scores(logits, labels, [str(name) for name in columns["classes"]])
        return {f"test/{name}": value for name, value in given.items()} if parts == ["test"] else {}
    names = columns.pop("name")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    found: dict[str, float] = {}
    for part in parts:
        own = [row for row, name in zip(rows, names, strict=True) if part == "test" or name == part]
        if part == "train":  # its loss is the name of the training's own
            own = [{name: value for name, value in row.items() if name != "loss"} for row in own]
        found |= means_of(part, own)
    return found


def same_score(given: float | None, again: float) -> bool:
    """Whether a score of a card is the one that was computed again; JSON has null for what is not finite."""
    if given is None:
        return not math.isfinite(again)
    return math.isclose(given, again, rel_tol=TOLERANCE, abs_tol=1e-12)
