"""A finished run as comparisons and pages read it: its card, its config, and what it scored on each test item."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property, reduce
from pathlib import Path

import numpy as np

from speechml.contracts import HIGHER_IS_BETTER, Config
from speechml.data.provenance import Clusters, cluster_rows
from speechml.errors import UserError
from speechml.metrics.classification import cross_entropy, macro_f1
from speechml.report.summary import COLUMNS, WAVEFORM_SCORES, other_scores, score_name
from speechml.runs.card import RunCard
from speechml.runs.catalogue import require_card, state_of
from speechml.runs.labels import load_config, result_settings
from speechml.runs.predictions import load_predictions

WAVEFORM = ("snr_db", "si_sdr_db", "mse", "l1")  # defined on the same recordings: those whose input has all of them
CLASS_SCORES = ("acc", "macro_f1", "loss")
LOSSES = ("train/loss", "val/loss")


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
        self.clusters: Clusters = cluster_rows(
            self.columns
        )  # which test items belong together, as those of a speaker do
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
        """What is taken as independent of one another, in the plural: speakers, songs, or test items."""
        kind = self.clusters.kind
        return f"{kind}s" if kind else self.data.called

    @property
    def scores(self) -> Sequence[str]:
        """Scores that the predictions give, and the run's own metrics, which are of all test items or none."""
        known = CLASS_SCORES if self.classes else self.columns.keys() - {"loss"}
        return [*(score for score in HIGHER_IS_BETTER if score in known), *(self._own if self.is_whole else ())]

    @cached_property
    def _own(self) -> Collection[str]:
        """Names of the run's own metrics, which are known of the whole test only."""
        return other_scores(self.card.scores, self.split, CLASS_SCORES if self.classes else WAVEFORM_SCORES)

    def align(self, names: np.ndarray, classes: Sequence[str] | None) -> None:
        """Keep these items only, of equal names the first, and put the classes into this order."""
        if len(names) < len(self.names):
            rows, self.is_whole = np.searchsorted(self.names, names), False
            self.columns = {key: column if key == "classes" else column[rows] for key, column in self.columns.items()}
            self.clusters = cluster_rows(self.columns)
        if self.classes and classes:
            order = [self.classes.index(name) for name in classes]
            self.columns |= {
                "classes": np.array(classes), "logits": self.columns["logits"][:, order],
                "label": np.argsort(order)[self.columns["label"]],
            }  # fmt: skip

    def values(self, score: str) -> np.ndarray:
        """One of `scores` of each test item, NaN where it is not defined; macro F1 is a score of no single item."""
        columns = self.columns
        if score in self._own:
            return np.full(len(self.names), np.nan)
        if score == "acc":
            return np.asarray(columns["logits"].argmax(1) == columns["label"], dtype=float)
        if score == "loss":
            return cross_entropy(columns["logits"], columns["label"])
        own = reduce(lambda name, part: name.replace(part, ""), filter(None, COLUMNS), score)
        needed = [score_name(each, "_input") for each in (WAVEFORM if own in WAVEFORM else (own,))]
        inputs = [np.isfinite(columns[name]) for name in needed if name in columns]
        return np.where(np.all(inputs, axis=0), columns[score].astype(float), np.nan)

    def score(self, score: str) -> float:
        """One of `scores` on all test items, NaN where it is not defined on any."""
        if score == "macro_f1":
            return float(macro_f1(self.columns["logits"], self.columns["label"], np.ones((1, len(self.names))))[0])
        if score in self._own:
            value = self.card.scores[f"{self.split}/{score}"]
            return np.nan if value is None else value
        values = self.values(score)
        return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else np.nan


class ScoresOnly(Result):
    """A run that is done, of a module that says nothing of its items: it has the scores that were logged, and no others."""

    def __init__(self, folder: Path, card: RunCard) -> None:
        self.folder, self.card, self.data, self.is_whole, self.split = folder, card, card.data, True, "test"
        self.columns = {"name": np.array(["the test set"])}
        self.clusters = Clusters("", np.zeros(1, np.int64), [])

    @property
    def scores(self) -> Sequence[str]:
        """Scores of the test."""
        return [name.removeprefix("test/") for name in self.card.scores if name.startswith("test/")]

    def values(self, score: str) -> np.ndarray:  # noqa: ARG002 (of any)
        """Not known of an item."""
        return np.array([np.nan])

    def score(self, score: str) -> float:
        """What was logged."""
        value = self.card.scores[f"test/{score}"]
        return np.nan if value is None else value


def read_result(folder: Path) -> Result:
    """A run that is done. Raises UserError where there is none, or one without scores of a test."""
    card = require_done(folder)
    return ScoresOnly(folder, card) if has_scores_only(folder, card) else Result(folder)


def has_scores_only(folder: Path, card: RunCard) -> bool:
    """Whether a run was tested by a module that says nothing of its items."""
    is_plain = card.scored is None and not (folder / "predictions.npz").exists()
    return is_plain and any(name.startswith("test/") for name in card.scores)
