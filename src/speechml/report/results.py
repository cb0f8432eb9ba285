"""A finished run as comparisons and reports read it: its card, its config, and what it scored on each test item."""

from __future__ import annotations

import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from speechml.errors import UserError
from speechml.metrics.classification import cross_entropy
from speechml.report import class_summary, summary
from speechml.runs.catalogue import require_card, state_of
from speechml.runs.settings import load_config, result_settings

# Scores of a recording, whether more is better.
HIGHER = {"snr_db": True, "si_sdr_db": True, "pesq": True, "stoi": True, "mse": False, "l1": False}
HIGHER |= {"acc": True, "macro_f1": True, "loss": False}
# How a person reads the scores; the units stand beside.
TITLES = {**summary.ROWS, **class_summary.ROWS, "loss": "loss"}  # a denoiser's is another than a classifier's
WAVEFORM = ("snr_db", "si_sdr_db", "mse", "l1")  # defined on the same recordings: those whose input has all of them
TRAINING = ("train/loss", "val/loss")


class Result:
    """A run that is done.

    Args:
        folder: of the run.

    Raises:
        UserError: no run, one that is not done, or one without predictions.
    """

    def __init__(self, folder: Path) -> None:
        card = require_card(folder)
        self.folder, self.card = folder, card
        if (state := state_of(folder, card)) != "done":
            raise UserError(f"{folder} is not done but {state}; only finished runs compare")
        self.experiment, self.id, self.seed = card.experiment, card.id, card.seed
        self.data, self.scores, self.called = card.data, card.scores, card.data.called
        self.test_set = (self.data.test_fingerprint, self.data.protocol)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Dotted keys that can change a result, without the seed."""
        return result_settings(load_config(self.folder))

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """The columns of predictions.npz, rows in the order of their names."""
        path = self.folder / "predictions.npz"
        if not path.is_file():
            raise UserError(
                f"{self.folder} has no predictions.npz (test=false trains without a test); nothing compares"
            )
        try:
            with np.load(path, allow_pickle=False) as found:
                columns = {name: found[name] for name in found.files}
            rows = np.argsort(columns["name"], kind="stable")
            if "heldout" in columns["name"]:  # of a recording in parts, the one that was not trained on
                rows = rows[columns["name"][rows] == "heldout"]
            ordered = {name: column[rows] for name, column in columns.items() if name != "classes"}
            if "logits" in columns:
                ordered["classes"] = columns["classes"]
                if columns["logits"].shape != (len(columns["name"]), len(columns["classes"])):
                    raise ValueError("logits of another shape")
                if (
                    not 0
                    <= columns["label"].min(initial=0)
                    <= columns["label"].max(initial=0)
                    < len(columns["classes"])
                ):
                    raise ValueError("labels of no class")
        except (OSError, zipfile.BadZipFile, EOFError, LookupError, ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); train the run again") from error
        if not len(rows):
            raise UserError(f"{path} holds no test item; train the run again, with a test")
        return ordered

    @property
    def names(self) -> np.ndarray:
        """The test items, in order."""
        return self.predictions["name"]

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes; None of a denoiser."""
        return [str(name) for name in self.predictions["classes"]] if "logits" in self.predictions else None

    @property
    def part(self) -> str:
        """The part that its test items are of, as the names of scores begin."""
        parts = ("heldout", "test", "train")
        return next((part for part in parts if any(name.startswith(f"{part}/") for name in self.scores)), "test")

    @property
    def groups(self) -> np.ndarray | None:
        """What belongs together: the two channels of a moment of music are one; None: every item by itself."""
        if self.data.data != "GenreFeatures":
            return None
        moments = ["/".join((song, block)) for song, _, block in (str(n).rsplit("/", 2) for n in self.names)]
        return np.unique(moments, return_inverse=True)[1]

    @property
    def right(self) -> np.ndarray:
        """Whether each item was named rightly. Shape: (items,)."""
        return np.asarray(self.predictions["logits"].argmax(1) == self.predictions["label"])

    def values(self, score: str) -> np.ndarray | None:
        """A score of each test item, NaN where it is not defined; None where the score is none of single items."""
        columns = self.predictions
        if self.classes is not None:
            if score == "acc":
                return self.right.astype(float)
            return cross_entropy(columns["logits"], columns["label"]) if score == "loss" else None
        if score not in columns or score == "loss":
            return None
        values = columns[score].astype(float)
        asked = WAVEFORM if score in WAVEFORM else (score,)
        inputs = [columns[name] for name in map(of_input, asked) if name in columns]
        return (
            np.where(np.all([np.isfinite(column) for column in inputs], axis=0), values, np.nan) if inputs else values
        )


def of_input(score: str) -> str:
    """`snr_db` of the noisy input is `snr_input_db`."""
    return f"{score.removesuffix('_db')}_input_db" if score.endswith("_db") else f"{score}_input"
