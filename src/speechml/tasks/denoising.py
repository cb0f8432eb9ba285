"""What all denoisers share: every recording is scored once, whole, beside its noisy input and beside references."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from speechml.data.pairs import PairDataModule
from speechml.errors import UserError
from speechml.metrics.perceptual import perceptual_scores
from speechml.metrics.waveform import WAVEFORM_SCORES
from speechml.tasks.base import Task, gather_from_ranks
from speechml.tasks.stft_windows import Framing, cut_frames

PERCEPTUAL = ("pesq", "stoi")
PERCEIVED_IN_VALIDATION = 4  # recordings, about: both scores take more time than the network


class DenoisingTask(Task):
    """Base of the denoisers: validation and test on whole recordings.

    Args:
        sample_rate: Hz the network works at.
        optimizer, scheduler: config nodes; needed for training only.

    Shape of `forward`: (batch, 1, time) -> (batch, 1, time), any time.
    """

    headline_scores = ("snr_db", "snr_gain_db", "si_sdr_db", "mse", "l1")  # by which runs are compared in TensorBoard
    framing: Framing | None = None  # what a training item is, where it is not a clip

    def __init__(
        self, sample_rate: int, optimizer: dict[str, Any] | None = None, scheduler: dict[str, Any] | None = None
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.sample_rate = sample_rate

    @classmethod
    def check_data(cls, data: Any) -> None:
        if not isinstance(data, PairDataModule):
            raise UserError(
                f"{cls.__name__} learns from pairs of noisy and clean recordings, which {type(data).__name__} has "
                "not; choose data=spoken_pairs, wav_pairs or another of pairs"
            )

    def setup_for(self, data: Any) -> None:
        self.check_data(data)
        make = self.framing and partial(cut_frames, framing=self.framing, sample_rate=self.sample_rate)
        data.set_training_items(make)

    def evaluate_batch(self, batch: Any, testing: bool) -> tuple[dict[str, Tensor], Tensor]:
        """Waveforms to score (`` the output, `_input` the noisy one, references in a test), and the loss of each recording.

        Shape: batch.noisy (batch, 1, time) -> (batch, 1, time) each, (batch,).
        """
        raise TypeError(f"{type(self).__name__} cannot assess {type(batch).__name__}, testing={testing}")

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 (Lightning's signature)
        self._score(batch, testing=False)

    def test_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        self._score(batch, testing=True)

    def _score(self, batch: Any, testing: bool) -> None:
        estimates, loss = self.evaluate_batch(batch, testing)
        # Scores are taken in float64, which Apple's GPUs lack.
        where = torch.device("cpu") if batch.clean.device.type == "mps" else batch.clean.device
        perceived = ("", "_input") if testing else ("",) if len(self.items) < PERCEIVED_IN_VALIDATION else ()
        columns: dict[str, Tensor] = {}
        for what, estimate in estimates.items():
            waves = estimate.float().to(where), batch.clean.to(where)
            found = {score: function(*waves) for score, function in WAVEFORM_SCORES.items()}
            if what in perceived:
                found |= perceptual_scores(*waves, self.sample_rate)
            columns |= {named(score, what): value for score, value in found.items()}
        columns["loss"] = loss
        table = torch.stack([c.to(where).double() for c in columns.values()], 1).cpu().tolist()
        for index, row in zip(batch.indices.tolist(), table, strict=True):
            self.items[index] = dict(zip(columns, row, strict=True))

    def on_validation_epoch_end(self) -> None:
        # Progress and model selection read these; they are equal on all ranks because every rank has all items.
        self.items = gather_from_ranks(self.items)
        means = means_of("val", [self.items[i] for i in sorted(self.items)])
        self.log_dict({k: v for k, v in means.items() if "_input" not in k}, batch_size=1)

    def on_test_epoch_end(self) -> None:
        self.items = gather_from_ranks(self.items)
        self.scores = {}
        for part, recordings in self._data().scored_items().items():
            rows = [self.items[i] for i in sorted(recordings) if i in self.items]
            if part == "train":  # its loss is the name of the training's own
                rows = [{name: value for name, value in row.items() if name != "loss"} for row in rows]
            if rows:  # a limit of batches may leave a part out
                self.scores |= means_of(part, rows)
        self.log_dict(self.scores, batch_size=1)


def means_of(part: str, rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each score over the recordings on which it is defined for the noisy input, and the gains.

    SNR is not defined on silence, nor where noisy and clean are equal; such recordings are counted and left out of all
    means. PESQ and STOI are not defined without speech, of the output neither where it is silence; these are counted
    on their own. A network's own NaN in another score is no such case and makes the mean NaN.
    """
    given = [row for row in rows if all(math.isfinite(row[named(score, "_input")]) for score in WAVEFORM_SCORES)]
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in given if name in row]
        score = name.split("_")[0]
        if score in PERCEPTUAL:
            asked = [row for row in rows if name in row]
            defined = [row for row in asked if all(math.isfinite(row.get(n, 0.0)) for n in (score, f"{score}_input"))]
            values = [row[name] for row in defined]
            if len(defined) < len(asked):
                found[f"{part}/{score}_undefined"] = float(len(asked) - len(defined))
        found[f"{part}/{name}"] = float(torch.tensor(values, dtype=torch.float64).mean())
    for score in ("snr_db", "si_sdr_db", *PERCEPTUAL):
        if f"{part}/{named(score, '_input')}" in found:
            gain = found[f"{part}/{score}"] - found[f"{part}/{named(score, '_input')}"]
            found[f"{part}/{named(score, '_gain')}"] = gain
    if len(given) < len(rows):
        found[f"{part}/undefined"] = float(len(rows) - len(given))
    return found


def named(score: str, what: str) -> str:
    """`snr_db` of `_input` is `snr_input_db`: the unit stays last."""
    return f"{score.removesuffix('_db')}{what}_db" if score.endswith("_db") else f"{score}{what}"
