"""Whether what a run left is whole and fits together: checksums, weights, and scores computed again; no data are needed."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from speechml.contracts import Config
from speechml.engine.checkpoint import build_task, check_weights, nonfinite_names, read_checkpoint
from speechml.errors import UserError
from speechml.metrics.classification import class_scores
from speechml.runs.card import RunCard, load_card
from speechml.runs.catalogue import runs_below, state_of
from speechml.runs.folder import LAST, PREVIOUS, checksums
from speechml.runs.labels import load_config
from speechml.runs.tables import printable
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
        result = f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)}" if self.problems else "ok"
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return "\n  ".join(printable(line) for line in (f"{self.folder}  {result}{notes}", *self.problems))


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
                f"{place} holds no run", fix="give a folder of runs, as runs, or one run, as runs/words_tuned/ID"
            )
        folders |= dict.fromkeys(found)
    bad = 0
    for folder in progress(list(folders), len(folders), "verifying"):
        verdict = verify_run(folder)
        bad += bool(verdict.problems)
        print(verdict, flush=True)
    print(f"{len(folders)} run{'s' * (len(folders) != 1)}: {len(folders) - bad} ok, {bad} with problems")
    return not bad


def verify_run(folder: Path) -> Verdict:
    """Everything that can be said of a run without its data."""
    try:
        card = load_card(folder)
    except UserError as error:
        return Verdict(folder, [str(error)], [])
    if card is None:
        return Verdict(folder, ["it was removed meanwhile"], [])
    run = Checked(folder, card, state_of(folder, card))
    problems: list[str] = []
    for what, check in run.checks().items():
        try:
            problems += check()
        except Exception as error:  # readers of damaged files raise whatever comes up: the next file is checked
            problems.append(f"{what} cannot be checked ({type(error).__name__}: {' '.join(str(error).split())})")
    return Verdict(folder, problems, run.notes)


class Checked:
    """A run that is being checked: each check gives the problems that it finds."""

    def __init__(self, folder: Path, card: RunCard, state: str) -> None:
        self.folder, self.card, self.state = folder, card, state
        self.notes = [] if state == "done" else [f"{state}: what is there was checked"]

    def checks(self) -> dict[str, Callable[[], list[str]]]:
        """The checks that apply, by what they check."""
        found = {
            "the config": self.check_config,
            "the checkpoints": self.check_checkpoints,
            "metrics.csv": self.check_epochs,
        }
        if self.state == "done":
            found |= {"the checksums": self.check_sums, "predictions.npz": self.check_scores}
        return found

    @cached_property
    def config(self) -> Config:
        """The config of the run. Raises ValueError or UserError where it is none."""
        config = load_config(self.folder)
        if not {"model", "data", "checkpoint", "logger", "test"} <= set(config):
            raise ValueError("config.yaml is no config of a run")
        return config

    def check_config(self) -> list[str]:
        """A config that can be read; a folder that is not called as the run in it is noted."""
        assert self.config
        if not self.folder.resolve().name.startswith(self.card.id):
            self.notes.append(f"a copy of run {self.card.id}")
        return []

    def check_sums(self) -> list[str]:
        """Files that are those the run ended with; older cards have no checksums."""
        if self.card.files is None:
            return []
        now, then = checksums(self.folder), self.card.files
        found = [f"{name} is missing" for name in sorted(then.keys() - now.keys())]
        found += [f"{name} was not left by the run" for name in sorted(now.keys() - then.keys())]
        return found + [f"{name} has changed" for name in sorted(then.keys() & now) if then[name] != now[name]]

    def check_checkpoints(self) -> list[str]:
        """Checkpoints that can be read and used, and are of this run."""
        paths = sorted((self.folder / "checkpoints").glob("*.ckpt"))
        if self.state == "running":  # it is replaced again and again
            paths = [path for path in paths if path.name not in (LAST, PREVIOUS)]
        needed = self.folder / "checkpoints" / f"{self.card.test_weights}.ckpt"
        is_missing = self.state == "done" and needed not in paths and not self.config["trainer"].get("fast_dev_run")
        found = [f"checkpoints/{needed.name} is missing"] if is_missing else []
        for path in paths:
            try:
                found += self._check_checkpoint(path)
            except UserError as error:
                found.append(str(error))
        return found

    def _check_checkpoint(self, path: Path) -> list[str]:
        content = read_checkpoint(path)
        record, weights = content["speechml"], content["state_dict"]
        check_weights(build_task(record["config"], str(path)), weights, path)
        found = [f"{path} holds weights that are NaN or infinite ({name})" for name in nonfinite_names(weights)[:1]]
        if _canonical(record["config"]["model"]) != _canonical(self.config["model"]):
            found.append(f"{path} is of another run: its model is not that of the card")
        elif record.get("data") != self.card.data.fingerprint:
            found.append(f"{path} is of another run: its data are not those of the card")
        return found

    def check_epochs(self) -> list[str]:
        """A table that has each epoch once, with steps that rise."""
        path, is_done = self.folder / "metrics.csv", self.state == "done"
        if not path.exists():
            expected = is_done and self.config["logger"]["csv"] and not self.config["trainer"].get("fast_dev_run")
            return ["metrics.csv is missing"] if expected else []
        rows = list(csv.DictReader(io.StringIO(path.read_text()), strict=True))
        epochs, steps = ([int(row[key]) for row in rows] for key in ("epoch", "step"))
        found = []
        if epochs != list(range(len(epochs))):
            found.append("metrics.csv has not each epoch once, in order")
        if any(after <= before for before, after in itertools.pairwise(steps)):
            found.append("metrics.csv has steps that do not rise")
        if is_done and len(rows) != self.card.epochs:
            found.append(f"metrics.csv has {len(rows)} epochs and the card {self.card.epochs}")
        return found

    def check_scores(self) -> list[str]:
        """Scores of the card that its predictions give; parts that predictions say nothing of are noted."""
        path = self.folder / "predictions.npz"
        if not path.exists():
            return ["predictions.npz is missing"] if self.config["test"] else []
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        scores = self.card.scores
        of_test = any(name.startswith("test/") for name in scores)
        count = len(columns["name"])
        found = []
        if of_test and count != self.card.scored:
            found.append(f"predictions.npz has {count} rows and {self.card.scored} were scored")
        again = recomputed(columns, ["test"] if of_test else [part for part in BY_NAME if part in columns["name"]])
        differing = [name for name, value in again.items() if not same_score(scores.get(name), value)]
        if differing:
            name = differing[0]
            others = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            found.append(f"predictions.npz gives {name} {again[name]:.9g} and the card {scores.get(name)}{others}")
        # A part called train has scores of the training itself, which are no means over items.
        parts = {name.split("/")[0] for name in again}
        custom = tuple(self.config.get("metrics") or ())  # of torchmetrics, which need more than the predictions
        unknown = [name for name in scores if name.split("/")[0] in parts - {"train"} and name not in again]
        unknown = [name for name in unknown if not name.split("/")[-1].startswith(custom)]
        found += [f"{name} of the card cannot be computed from predictions.npz" for name in unknown[:1]]
        if left := sorted({name.split("/")[0] for name in scores} - parts):
            self.notes.append(f"not computed again: {', '.join(left)} scores")
        return found


def _canonical(config: Config) -> str:
    """A config as text that is equal where configs are, whatever order their keys have."""
    return json.dumps(config, sort_keys=True, default=str)


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
