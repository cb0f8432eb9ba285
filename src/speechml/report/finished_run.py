"""A finished run as comparisons and pages read it: its card, its config, and what it scored on each test item."""

from __future__ import annotations

import re
import zipfile
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np

from speechml.contracts import Config
from speechml.errors import UserError
from speechml.metrics.classification import cross_entropy
from speechml.report.summary import score_name
from speechml.runs.card import DAMAGE
from speechml.runs.catalogue import require_card, state_of
from speechml.runs.labels import load_config, result_settings

# Scores of an item by which runs are compared, and whether more is better.
HIGHER_IS_BETTER = {"snr_db": True, "si_sdr_db": True, "pesq": True, "stoi": True, "mse": False, "l1": False}
HIGHER_IS_BETTER |= {"acc": True, "macro_f1": True, "loss": False}
WAVEFORM = ("snr_db", "si_sdr_db", "mse", "l1")  # defined on the same recordings: those whose input has all of them
LOSSES = ("train/loss", "val/loss")
MOMENT = re.compile(r"(.*)/\d+/(\d+)", re.DOTALL)  # a row of music: song, channel, block


class Result:
    """A run that is done.

    Args:
        folder: of the run.

    Raises:
        UserError: no run, one that is not done, or one without predictions.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.card = folder, require_card(folder)
        if (state := state_of(folder, self.card)) != "done":
            raise UserError(f"{folder} is not done but {state}; only finished runs compare")
        self.seed, self.data, self.scores = self.card.seed, self.card.data, self.card.scores
        self.test_set = (self.data.test_fingerprint, self.data.protocol)

    @cached_property
    def config(self) -> Config:
        """Dotted keys that can change a result, without the seed."""
        return result_settings(load_config(self.folder))

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """The columns of predictions.npz, rows in the order of their names."""
        path = self.folder / "predictions.npz"
        if not path.is_file():
            why = "test=false trains without a test"
            raise UserError(f"{self.folder} has no predictions.npz", why=why, fix="train it with a test to compare it")
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = check_columns({name: file[name] for name in file.files})
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, *DAMAGE) as error:
            raise UserError(f"{path} is damaged", why=str(error), fix="train the run again") from error
        rows = np.argsort(columns["name"], kind="stable")
        if "heldout" in columns["name"]:  # of a recording in stretches, the one that was not trained on
            rows = rows[columns["name"][rows] == "heldout"]
        if not len(rows):
            raise UserError(f"{path} holds no test item; train the run again, with a test")
        return {name: column if name == "classes" else column[rows] for name, column in columns.items()}

    @property
    def names(self) -> np.ndarray:
        """The test items, in order."""
        return self.predictions["name"]

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes; None of a denoiser."""
        return [str(name) for name in self.predictions["classes"]] if "logits" in self.predictions else None

    @property
    def split(self) -> str:
        """The split that its test items are of, as the names of scores begin."""
        splits = ("heldout", "test", "train")
        return next((split for split in splits if any(name.startswith(f"{split}/") for name in self.scores)), "test")

    @property
    def groups(self) -> np.ndarray | None:
        """Group of each item: the two channels of a moment of music are one; None: every item by itself. Shape: (items,)."""
        rows = [MOMENT.fullmatch(str(name)) for name in self.names] if self.data.called == "rows" else []
        moments = [f"{row[1]}/{row[2]}" for row in rows if row]
        return np.unique(moments, return_inverse=True)[1] if len(moments) == len(self.names) else None

    @property
    def unit(self) -> str:
        """What is independent of one another, in the plural."""
        return self.data.called if self.groups is None else "moments"

    def values(self, score: str) -> np.ndarray | None:
        """A score of each test item, NaN where it is not defined; None where the score is none of single items."""
        columns = self.predictions
        if self.classes is not None:
            if score == "acc":
                return np.asarray(columns["logits"].argmax(1) == columns["label"], dtype=float)
            return cross_entropy(columns["logits"], columns["label"]) if score == "loss" else None
        if score not in columns or score == "loss":
            return None
        values = columns[score].astype(float)
        needed = [score_name(each, "_input") for each in (WAVEFORM if score in WAVEFORM else (score,))]
        inputs = [np.isfinite(columns[name]) for name in needed if name in columns]
        return np.where(np.all(inputs, axis=0), values, np.nan) if inputs else values


def check_columns(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give columns of predictions back, if they are what a run writes.

    Raises:
        ValueError: they are not.
    """
    if "name" not in columns or any(
        len(column) != len(columns["name"]) for name, column in columns.items() if name != "classes"
    ):
        raise ValueError("columns of unequal length, or no names")
    if "logits" in columns:
        if not {"label", "classes"} <= columns.keys():
            raise ValueError("logits without labels or classes")
        count = len(columns["classes"])
        if columns["logits"].shape != (len(columns["name"]), count):
            raise ValueError("logits of another shape")
        if columns["label"].dtype.kind not in "iu" or columns["logits"].dtype.kind != "f":
            raise ValueError("labels or logits are no numbers")
        if not 0 <= columns["label"].min(initial=0) <= columns["label"].max(initial=0) < count:
            raise ValueError("labels of no class")
    return columns
