"""What all denoisers share: every recording is scored once, whole, beside its noisy input and beside references."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from speechml.config.instantiate import build
from speechml.contracts import Config, DataModule, ItemKind, PairBatch, TrainingItems
from speechml.errors import choose
from speechml.metrics.perceptual import available, perceptual_scores
from speechml.metrics.waveform import WAVEFORM_SCORES, waveform_scores
from speechml.tasks.base import Batch, Row, Task, TrainBatch

if TYPE_CHECKING:
    from speechml.metrics.custom import CustomMetrics
    from speechml.tasks.streaming import Stream

PERCEPTUAL = ("pesq", "stoi")
NEAR_SILENCE_DB = 1.0  # SNR; chosen here
# SNR below that of the input; lab 2A's network, which hardly moves from its first weights, ends 40 below. Chosen here.
DIVERGED_DB = 100.0
WHOLE = 2**40  # samples, more than any recording has
# Recordings, about: both scores take more time than the network.
PERCEIVED_IN_VALIDATION = 4
PERCEIVED_IN_TRAINING = 10  # more of the training set are scored without

# The items of an epoch, from the length in samples of each training recording by its number, and the seed of their order.
Loss = Callable[[Tensor, Tensor], Tensor]  # of an estimate and what it should be, to a scalar
MakeItems = Callable[[dict[int, int], int], TrainingItems]


class Reach(NamedTuple):
    """The samples of input that a sample of output depends on, beside the record or frame that it lies in.

    before, after: samples. step: length of a record, or distance of frames, in samples.
    """

    before: int
    after: int
    step: int


def choose_loss(loss: str | Config, named: Mapping[str, Loss | str]) -> Loss:
    """A loss by its name, or by the config node of its class. Raises ValueError or UserError where it is none of them."""
    chosen = choose("loss", loss, named) if isinstance(loss, str) else build(loss, where="model.loss", kind=nn.Module)
    return getattr(import_module("speechml.tasks.losses"), chosen) if isinstance(chosen, str) else chosen


class PairData(DataModule, Protocol):
    """What denoisers ask of a data module besides."""

    def set_training_items(self, make: MakeItems | None) -> None:
        """Train on what a task makes of the recordings from now on, or on clips where `make` is None."""

    def batches(self, split: str) -> Iterator[Batch]:
        """Every training item of epoch 0, or recording of `val` or `test`, on the CPU."""


class DenoisingTask(Task[TrainBatch, PairBatch]):
    """Base of the denoisers: validation and test on whole recordings.

    Args:
        sample_rate: Hz the network works at.
        optimizer, scheduler: config nodes; needed for training only.

    Shape of `forward`: (batch, 1, time) -> (batch, 1, time), any time.
    """

    kind = ItemKind.PAIRS
    data_choices = "data=spoken_pairs, wav_pairs or another of pairs"
    headline_scores = ("snr_db", "snr_gain_db", "si_sdr_db", "mse", "l1")
    own_scores = (*WAVEFORM_SCORES, *PERCEPTUAL, "loss")
    test_only = "_input"
    first_remedy = ""  # and a comma, where a level is what mostly goes wrong
    make_items: MakeItems | None = None  # what a training item is, where it is not a clip
    level_score = "snr_db"
    follows_level = False  # whether each recording is brought to the level of training first, and back

    def __init__(self, sample_rate: int, optimizer: Config | None = None, scheduler: Config | None = None) -> None:
        super().__init__(optimizer, scheduler)
        self.sample_rate = sample_rate
        self._unperceived: set[int] = set()  # training recordings, where they are many

    def setup_for(self, data: DataModule) -> None:
        super().setup_for(data)
        cast("PairData", data).set_training_items(self.make_items)
        loss = getattr(self, "criterion", None)
        if isinstance(loss, nn.Module) and not getattr(data, "is_foreign", False):
            from speechml.tasks.losses import check_loss

            wanted = cast("tuple[Tensor, ...]", next(self.training_items(data)))[
                1
            ]  # whose shape estimates have as well
            check_loss(loss, wanted, wanted)

    def training_items(self, data: DataModule) -> Iterator[TrainBatch]:
        """Every training item of epoch 0, on the CPU."""
        return cast("Iterator[TrainBatch]", cast("PairData", data).batches("train"))

    def validation_scores(self) -> tuple[str, ...]:
        return (*WAVEFORM_SCORES, "snr_gain_db", "si_sdr_gain_db", *available(), "loss")

    def reach(self) -> Reach:
        """The samples of input that a sample of output depends on."""
        raise NotImplementedError

    @property
    def usual_rms(self) -> Tensor | float:
        """The RMS of a recording whose `input_level` is 1, of a model that follows it."""
        return 1.0

    def input_level(self, noisy: Tensor) -> Tensor:
        """What the network's input is divided by: the RMS of each recording, of training, or 1. Shape: (batch, 1, time)
        -> (batch, 1, 1) or ()."""
        raise NotImplementedError

    def denoise(self, noisy: Tensor, level: Tensor) -> Tensor:
        """Denoise waveforms whose level is known, as `input_level` gives it. Shape: (batch, 1, time) -> the same."""
        raise NotImplementedError

    def stream(self, channels: int, level: Tensor | None = None) -> Stream:
        """The model as something that is fed a signal piece by piece.

        Args:
            channels: of the signal, denoised one by one.
            level: RMS of each channel of the whole signal, (channels,), for a model that follows it; None: that of what was
                heard so far.
        """
        from speechml.tasks.streaming import Stream

        if not self.follows_level:
            return Stream(lambda noisy, _: self(noisy), channels, self.reach())
        return Stream(lambda noisy, rms: self.denoise(noisy, rms / self.usual_rms), channels, self.reach(), level)

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        training = self._data().scored_items().get("train", [])
        self._unperceived = set(training) if len(training) > PERCEIVED_IN_TRAINING else set()

    def denoise_batch(self, batch: PairBatch, testing: bool) -> tuple[dict[str, Tensor], Tensor]:
        """Waveforms to score (`` the output, `_input` the noisy one, references in a test), and the loss of each recording.

        Shape: batch.noisy (batch, 1, time) -> (batch, 1, time) each, (batch,).
        """
        raise NotImplementedError

    def evaluate_batch(self, batch: PairBatch, testing: bool) -> dict[str, Tensor]:
        estimates, loss = self.denoise_batch(batch, testing)
        # Scores are taken in float64, which Apple's GPUs lack.
        where = torch.device("cpu") if batch.clean.device.type == "mps" else batch.clean.device
        perceived = ("", "_input") if testing else ("",) if len(self.items) < PERCEIVED_IN_VALIDATION else ()
        if testing and int(batch.indices[0]) in self._unperceived:
            perceived = ()
        columns: dict[str, Tensor] = {}
        for what, estimate in estimates.items():
            waves = estimate.float().to(where), batch.clean.to(where)
            found = waveform_scores(*waves)
            if what in perceived:
                found |= perceptual_scores(*waves, self.sample_rate)
            columns |= {score_name(score, what): value for score, value in found.items()}
        if self.metrics is not None:
            self._count(batch, estimates[""].float(), testing)
        return columns | {"loss": loss}

    def _count(self, batch: PairBatch, estimate: Tensor, testing: bool) -> None:
        """Give the metrics of the config each recording by itself, so that one without a score leaves out no other."""
        scored = self._data().scored_items() if testing else {"val": batch.indices.tolist()}
        for split, numbers in scored.items():
            for place, number in enumerate(batch.indices.tolist()):
                if number in numbers and self.metrics is not None:
                    self.metrics.update(split, estimate[place], batch.clean[place])

    def waveforms(self, batch: PairBatch) -> Tensor:
        """The noisy recordings. Shape: (batch, 1, time)."""
        return batch.noisy

    def level_scores(self, batch: PairBatch, gain: Tensor) -> Tensor:
        """SNR in dB of recordings multiplied by `gain`, (batch, 1, 1). Shape: (batch,)."""
        return waveform_scores(self(batch.noisy * gain).float().cpu(), (batch.clean * gain).cpu())["snr_db"]

    def weak_scores(self) -> list[str]:
        lines = []
        for split in self._data().scored_items():
            gain = self.scores.get(f"{split}/snr_gain_db", math.inf)
            if not gain > 0:
                how = f"{-gain:.1f} dB worse than" if gain < -0.05 else "no better than"
                how = how if math.isfinite(gain) else "no number beside"
                lines.append(f"{split}: the output is {how} the noisy input in SNR; {self._reason(gain)}")
            elif (snr := self.scores.get(f"{split}/snr_db", math.inf)) < NEAR_SILENCE_DB:
                how = f"{-snr:.1f} dB worse" if snr < -0.05 else "hardly better"
                how += " than silence, which has 0 dB SNR"
                lines.append(f"{split}: the output is {how}, though better than its input")
            if all(self.scores.get(f"{split}/{name}_gain", 0.0) < 0 < gain for name in PERCEPTUAL):
                lines.append(f"{split}: PESQ and STOI are below those of the noisy input: it does not sound better")
        return lines

    def _reason(self, gain: float) -> str:
        """Why the SNR of the output is not above that of its input, by a gain in dB, and what may help."""
        if getattr(self._data(), "is_foreign", False):
            return "the network does not fit these recordings"
        if gain < -DIVERGED_DB:
            return f"the training diverged ({self.first_remedy}lower optimizer.lr)"
        return f"the network has learned nothing of use ({self.first_remedy}train longer, or with another optimizer.lr)"

    def build_metrics(self, nodes: Config) -> CustomMetrics:
        from speechml.metrics.custom import CustomMetrics

        clean = torch.randn(1, self.sample_rate, generator=torch.Generator().manual_seed(0))
        return CustomMetrics(nodes, {"fs": self.sample_rate}, (0.5 * clean, clean), gathered=False)

    def compute_scores(self, split: str, rows: list[Row]) -> dict[str, float]:
        return means_of(split, rows)


def means_of(split: str, rows: list[Row]) -> dict[str, float]:
    """Mean of each score over the recordings on which it is defined for the noisy input, and the gains.

    SNR is not defined on silence, nor where noisy and clean are equal; such recordings are counted and left out of all
    means. PESQ and STOI are not defined without speech, of the output neither where it is silence; these are counted
    on their own. A network's own NaN in another score is no such case and makes the mean NaN.
    """
    given = [row for row in rows if all(math.isfinite(row[score_name(score, "_input")]) for score in WAVEFORM_SCORES)]
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        if split == "train" and name == "loss":  # the name of the training's own
            continue
        values = [row[name] for row in given if name in row]
        score = name.split("_")[0]
        if score in PERCEPTUAL:
            asked = [row for row in rows if name in row]
            defined = [row for row in asked if all(math.isfinite(row.get(n, 0.0)) for n in (score, f"{score}_input"))]
            values = [row[name] for row in defined]
            if len(defined) < len(asked):
                found[f"{split}/{score}_undefined"] = float(len(asked) - len(defined))
        found[f"{split}/{name}"] = float(torch.tensor(values, dtype=torch.float64).mean())
    for score in ("snr_db", "si_sdr_db", *PERCEPTUAL):
        if f"{split}/{score_name(score, '_input')}" in found:
            gain = found[f"{split}/{score}"] - found[f"{split}/{score_name(score, '_input')}"]
            found[f"{split}/{score_name(score, '_gain')}"] = gain
    if len(given) < len(rows):
        found[f"{split}/undefined"] = float(len(rows) - len(given))
    return found


def score_name(score: str, what: str) -> str:
    """`snr_db` of `_input` is `snr_input_db`: the unit stays last."""
    return f"{score.removesuffix('_db')}{what}_db" if score.endswith("_db") else f"{score}{what}"
