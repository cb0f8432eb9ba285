"""A finished run as comparisons and pages read it: its card, its config, and what it scored on each test item."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from speechml.contracts import Config
from speechml.errors import UserError, reason
from speechml.metrics.classification import cross_entropy, macro_f1
from speechml.report.summary import score_name
from speechml.runs.card import DAMAGE, RunCard
from speechml.runs.catalogue import require_card, state_of
from speechml.runs.labels import load_config, result_settings
from speechml.storage.plain_files import read_arrays

# Scores of an item by which runs are compared, and whether more is better.
HIGHER_IS_BETTER = {"snr_db": True, "si_sdr_db": True, "pesq": True, "stoi": True, "mse": False, "l1": False}
HIGHER_IS_BETTER |= {"acc": True, "macro_f1": True, "loss": False}
WAVEFORM = ("snr_db", "si_sdr_db", "mse", "l1")  # defined on the same recordings: those whose input has all of them
LOSSES = ("train/loss", "val/loss")
MOMENT = re.compile(r"(.*)/\d+/(\d+)", re.DOTALL)  # a row of music: song, channel, block


def require_done(folder: Path) -> RunCard:
    """The card of a run that is done. Raises UserError where it is not, is none, or its card is damaged."""
    card = require_card(folder)
    if (state := state_of(folder, card)) != "done":
        raise UserError(f"{folder} is not done but {state}; only finished runs have a report and compare")
    return card


class Result:
    """A run that is done, with its predictions. Raises UserError where there is none, or one without predictions."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.card = folder, require_done(folder)
        self.data, self.columns, self.is_whole = self.card.data, load_predictions(folder / "predictions.npz"), True
        splits = ("heldout", "test", "train")
        self.split = next((s for s in splits if any(name.startswith(f"{s}/") for name in self.card.scores)), "test")

    @cached_property
    def config(self) -> Config:
        """Dotted keys that can change a result, without the seed."""
        return result_settings(load_config(self.folder))

    @property
    def names(self) -> np.ndarray:
        """The test items, in order."""
        return self.columns["name"]

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes; None of a denoiser."""
        return self.columns["classes"].tolist() if "logits" in self.columns else None

    @property
    def unit(self) -> str:
        """What is independent of one another, in the plural: test items, or moments of music, of two channels each."""
        is_music = self.data.called == "rows" and all(map(MOMENT.fullmatch, self.names.tolist()))
        return "moments" if is_music else self.data.called

    @property
    def groups(self) -> np.ndarray:
        """Which unit each item belongs to, numbered from 0. Shape: (items,)."""
        names = self.names.tolist()
        units = [MOMENT.sub(r"\1/\2", name) for name in names] if self.unit == "moments" else names
        return np.unique(units, return_inverse=True)[1]

    @property
    def scores(self) -> list[str]:
        """Scores that the predictions give."""
        known = ("acc", "macro_f1", "loss") if self.classes else self.columns.keys() - {"loss"}
        return [score for score in HIGHER_IS_BETTER if score in known]

    def align(self, names: np.ndarray, classes: Sequence[str] | None) -> None:
        """Keep these items only, of equal names the first, and put the classes into this order."""
        if len(names) < len(self.names):
            rows, self.is_whole = np.searchsorted(self.names, names), False
            self.columns = {key: column if key == "classes" else column[rows] for key, column in self.columns.items()}
        if self.classes and classes:
            order = [self.classes.index(name) for name in classes]
            self.columns |= {
                "classes": np.array(classes), "logits": self.columns["logits"][:, order],
                "label": np.argsort(order)[self.columns["label"]],
            }  # fmt: skip

    def values(self, score: str) -> np.ndarray:
        """One of `scores` of each test item, NaN where it is not defined; macro F1 is a score of no single item."""
        columns = self.columns
        if score == "acc":
            return np.asarray(columns["logits"].argmax(1) == columns["label"], dtype=float)
        if score == "loss":
            return cross_entropy(columns["logits"], columns["label"])
        needed = [score_name(each, "_input") for each in (WAVEFORM if score in WAVEFORM else (score,))]
        inputs = [np.isfinite(columns[name]) for name in needed if name in columns]
        return np.where(np.all(inputs, axis=0), columns[score].astype(float), np.nan)

    def score(self, score: str) -> float:
        """One of `scores` on all test items, NaN where it is not defined on any."""
        if score == "macro_f1":
            return float(macro_f1(self.columns["logits"], self.columns["label"], np.ones((1, len(self.names))))[0])
        values = self.values(score)
        return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else np.nan


def load_predictions(path: Path) -> dict[str, np.ndarray]:
    """The columns of predictions.npz, rows in the order of their names; of a recording in stretches, the held-out one.

    Raises UserError where there is no such file, or it is damaged or empty.
    """
    if not path.exists():
        why, fix = "test=false trains without a test", "train it with a test to compare it"
        raise UserError(f"{path.parent} has no {path.name}", why, fix)
    try:
        columns = read_arrays(path.parent, path.name)
        count = len(columns["name"])
        if any(len(column) != count for name, column in columns.items() if name != "classes"):
            raise ValueError("columns of unequal length")
        if "logits" in columns:
            label, logits, classes = columns["label"], columns["logits"], len(columns["classes"])
            if label.dtype.kind not in "iu" or logits.dtype.kind != "f" or logits.shape != (count, classes):
                raise ValueError("labels or logits of another kind or shape")
            if not 0 <= label.min(initial=0) <= label.max(initial=0) < classes:
                raise ValueError("labels of no class")
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, *DAMAGE) as error:
        raise UserError(f"{path} is damaged", reason(error), fix="train the run again") from error
    rows = np.argsort(columns["name"], kind="stable")
    if "heldout" in columns["name"]:
        rows = rows[columns["name"][rows] == "heldout"]
    if not len(rows):
        raise UserError(f"{path} holds no test item; train the run again, with a test")
    return {name: column if name == "classes" else column[rows] for name, column in columns.items()}
