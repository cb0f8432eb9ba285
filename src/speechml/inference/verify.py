"""Whether what a run left is whole and fits together: checksums, weights, and scores computed again; no data are needed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from speechml.contracts import Config
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.trained import check_trained
from speechml.errors import UserError, echo, printable
from speechml.metrics.classification import class_scores
from speechml.runs.card import RunCard, load_card
from speechml.runs.catalogue import runs_below, state_of
from speechml.runs.folder import LAST, PREVIOUS, checksums
from speechml.runs.labels import load_config
from speechml.runs.test_sets import set_file
from speechml.storage.plain_files import check_plain, plain_files, read_arrays, read_plain
from speechml.tasks.denoising import means_of

TOLERANCE = 1e-6  # relative, between a score and the same computed again: it is a sum of the same float64 numbers
DERIVED = ("scores.txt", "figures", "audio")  # older cards have no checksums of these
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


class Run(NamedTuple):
    """A run that is being checked."""

    folder: Path
    card: RunCard
    state: str
    config: Config
    notes: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether it has come to its end, and was no trial of a few batches, which writes no checkpoints and no table."""
        return self.state == "done" and not self.config["trainer"].get("fast_dev_run")


def verify(places: list[Path]) -> bool:
    """Check runs and all runs in folders of runs, print a line for each and their totals; whether all are well.

    Raises:
        UserError: no such folder, or one without runs.
    """
    folders: dict[Path, None] = {}
    for place in places:
        below = dict.fromkeys(runs_below(place))
        if not below:
            fix = "give a folder of runs, as runs, or one run, as runs/words_tuned/ID"
            raise UserError(f"{place} holds no run", fix=fix)
        folders |= below
    bad = 0
    for folder in tqdm(folders, "verifying", leave=False, disable=None):
        verdict = verify_run(folder)
        bad += bool(verdict.problems)
        echo(verdict, flush=True)
    echo(f"{len(folders)} run{'s' * (len(folders) != 1)}: {len(folders) - bad} ok, {bad} with problems")
    return not bad


def verify_run(folder: Path) -> Verdict:
    """Everything that can be said of a run without its data."""
    try:
        card = load_card(folder)
    except UserError as error:
        return Verdict(folder, [str(error)], [])
    if card is None:
        return Verdict(folder, ["it was removed meanwhile"], [])
    problems: list[str] = []
    run = Run(folder, card, state_of(folder, card), {}, [])
    if run.state != "done":
        run.notes.append(f"{run.state}: what is there was checked")
    if not folder.resolve().name.startswith(card.id):
        run.notes.append(f"a copy of run {card.id}")
    checks = {"the files": check_kinds, **({"the checksums": check_sums} if run.state == "done" else {})}
    try:
        run.config.update(load_config(folder))
        if not {"model", "data", "checkpoint", "trainer", "logger", "test"} <= set(run.config):
            raise UserError(f"{folder / 'config.yaml'} is no config of a run")
        checks |= {"the checkpoints": check_checkpoints, "metrics.csv": check_epochs}
        if run.state == "done":
            checks["predictions.npz"] = check_scores
    except UserError as error:
        problems.append(str(error))
    for what, check in checks.items():
        try:
            problems.extend(check(run))
        except Exception as error:  # readers of damaged files raise whatever comes up: the next file is checked
            problems.append(f"{what} cannot be checked ({type(error).__name__}: {' '.join(str(error).split())})")
    return Verdict(folder, problems, run.notes)


def check_kinds(run: Run) -> Iterator[str]:
    """What is no plain file, and so is not read."""
    try:
        check_plain(run.folder)
    except OSError as error:
        yield str(error.strerror)


def check_sums(run: Run) -> Iterator[str]:
    """Files that are not those the run ended with; older cards have no checksums."""
    if (then := run.card.files) is None:
        return
    now = checksums(run.folder)
    for name in sorted(then.keys() | now.keys()):
        if name not in now:
            yield f"{name} is missing"
        elif name in then and now[name] != then[name]:
            yield f"{name} has changed"
        elif name not in then and name.partition("/")[0] not in DERIVED:
            yield f"{name} was not left by the run"


def check_checkpoints(run: Run) -> Iterator[str]:
    """Checkpoints that cannot be read or used, or are of another run."""
    paths = [run.folder / name for name in plain_files(run.folder, "checkpoints/*.ckpt")]
    if run.state == "running":  # these are replaced again and again
        paths = [path for path in paths if path.name not in (LAST, PREVIOUS)]
    needed = run.folder / "checkpoints" / f"{run.card.test_weights}.ckpt"
    if run.is_whole and needed not in paths:
        yield f"checkpoints/{needed.name} is missing"
    for path in paths:
        try:
            content = read_checkpoint(path)
            record, weights = content["speechml"], content["state_dict"]
            check_trained(record["config"], weights, path)
        except UserError as error:
            yield str(error)
            continue
        if canonical(record["config"]["model"]) != canonical(run.config["model"]):
            yield f"{path} is of another run: its model is not that of the card"
        elif record.get("data") != run.card.data.fingerprint:
            yield f"{path} is of another run: its data are not those of the card"


def canonical(config: Config) -> str:
    """A config as text that is equal where configs are, whatever order their keys have."""
    return json.dumps(config, sort_keys=True, default=str)


def check_epochs(run: Run) -> Iterator[str]:
    """What is wrong with a table that should have each epoch once, with steps that rise."""
    path = run.folder / "metrics.csv"
    if not path.exists():
        if run.is_whole and run.config["logger"]["csv"]:
            yield "metrics.csv is missing"
        return
    rows = list(csv.DictReader(io.StringIO(read_plain(run.folder, path.name).decode()), strict=True))
    epochs, steps = ([int(row[key]) for row in rows] for key in ("epoch", "step"))
    if epochs != list(range(len(epochs))):
        yield "metrics.csv has not each epoch once, in order"
    if any(after <= before for before, after in pairwise(steps)):
        yield "metrics.csv has steps that do not rise"
    if run.state == "done" and len(rows) != run.card.epochs:
        yield f"metrics.csv has {len(rows)} epochs and the card {run.card.epochs}"


def check_scores(run: Run) -> Iterator[str]:
    """Scores of the card that its predictions do not give; parts that predictions say nothing of are noted."""
    path, scores = run.folder / "predictions.npz", run.card.scores
    if not path.exists():
        if run.card.scored is None and run.is_whole:
            run.notes.append("no scores of single items, which its module does not say")
        elif run.config["test"]:
            yield "predictions.npz is missing"
        return
    columns = read_arrays(run.folder, path.name)
    of_test, count = any(name.startswith("test/") for name in scores), len(columns["name"])
    if of_test and count != run.card.scored:
        yield f"predictions.npz has {count} rows and {run.card.scored} were scored"
    again = recompute(columns, ["test"] if of_test else [part for part in BY_NAME if part in columns["name"]])
    if differing := [name for name, value in again.items() if not is_same(scores.get(name), value)]:
        name, *others = differing
        more = f" and {len(others)} more" if others else ""
        yield f"predictions.npz gives {name} {again[name]:.9g} and the card {scores.get(name)}{more}"
    # A part called train has scores of the training itself, which are no means over items.
    parts = {name.split("/")[0] for name in again}
    custom = tuple(run.config.get("metrics") or ())  # of torchmetrics, which need more than the predictions
    unknown = [name for name in scores if name.split("/")[0] in parts - {"train"} and name not in again]
    for name in [name for name in unknown if not name.split("/")[-1].startswith(custom)][:1]:
        yield f"{name} of the card cannot be computed from predictions.npz"
    for name in sorted(run.card.test_sets or ()):
        if (run.folder / set_file(name)).exists():
            given = recompute(read_arrays(run.folder, set_file(name)), ["test"])
            own = {score.replace("test/", f"{name}/", 1): value for score, value in given.items()}
            yield from (f"{set_file(name)} gives another {score} than the card"
                        for score, value in own.items() if not is_same(scores.get(score), value))  # fmt: skip
            parts.add(name)
    if left := sorted({name.split("/")[0] for name in scores} - parts):
        run.notes.append(f"not computed again: {', '.join(left)} scores")


def recompute(columns: dict[str, np.ndarray], parts: list[str]) -> dict[str, float]:
    """The scores of `parts`, by name, from the columns of predictions.npz."""
    if "logits" in columns:
        logits, labels = (torch.from_numpy(columns[key]) for key in ("logits", "label"))
        given = class_scores(logits, labels, [str(name) for name in columns["classes"]])
        return {f"test/{name}": value for name, value in given.items()} if parts == ["test"] else {}
    names, columns = columns["name"], {name: column for name, column in columns.items() if column.dtype.kind == "f"}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    scores: dict[str, float] = {}
    for part in parts:
        scores |= means_of(part, [row for row, name in zip(rows, names, strict=True) if part in ("test", name)])
    return scores


def is_same(given: float | None, again: float) -> bool:
    """Whether a score of a card is the one that was computed again; JSON has null for what is not finite."""
    if given is None:
        return not math.isfinite(again)
    return math.isclose(given, again, rel_tol=TOLERANCE, abs_tol=1e-12)
