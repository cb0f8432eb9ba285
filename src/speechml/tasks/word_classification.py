"""Training and scoring of networks that name the word of a clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechml.config.instantiate import build, import_class, parameters
from speechml.contracts import ClipBatch, Config, DataModule, ItemKind, Stretch
from speechml.errors import UserError
from speechml.signal.augmentation import Augmentation, partner_seed
from speechml.signal.front_ends import FrontEnd
from speechml.signal.level import SPEECH_RMS, check_waveforms, rms
from speechml.tasks.classification import Classification


class WordData(DataModule, Protocol):
    """What a classifier of clips asks of a data module besides."""

    def request_mixing(self, seed: int, noise: bool, partners: bool) -> None:
        """Put background noise, and partners to mix with, into the training batches, drawn by (seed, epoch, clip)."""


class Classifier(Classification[ClipBatch]):
    """A classifier of clips: front end, network, loss; every item is scored once.

    Args:
        net: config node of the network, (batch, channel, bins, time) -> (batch, classes), or of what the front end gives.
        classes: names in the order of the outputs; null: those of the data, filled in when a run begins.
        front_end: arguments of `signal.front_ends.FrontEnd`, or config node of a module, (batch, 1, time) -> (batch, ...);
            it is given `sample_rate` where it takes that.
        sample_rate: Hz of the clips.
        normalize: `recording` brings each clip to the RMS `signal.level.SPEECH_RMS` first; False leaves the levels as they are.
        augment: figures of `signal.augmentation.Augmentation`; null: none.
        label_smoothing: share of the target that all classes have in common.
        seed: of the augmentation.
        optimizer, scheduler: config nodes; needed for training only.
        loss: see `tasks.classification.Classification`.

    Shape of `forward`: (batch, 1, time) -> (batch, classes) logits.
    """

    kind = ItemKind.CLIPS
    data_choices = "data=speech_commands or data=spoken_words"
    level_score = "acc"

    def __init__(
        self, net: Config, front_end: Config, sample_rate: int, classes: list[str] | None = None,
        normalize: str | bool = False, augment: Config | None = None, label_smoothing: float = 0.0, seed: int = 0,
        optimizer: Config | None = None, scheduler: Config | None = None, loss: Config | None = None,
    ) -> None:  # fmt: skip
        super().__init__(classes, label_smoothing, optimizer, scheduler, loss)
        self.front_end = build_front_end(front_end, sample_rate)
        self.net = build(net, where="model.net", kind=nn.Module, classes=len(self.classes))
        # 1.3 to 2 times faster than channels first, on processors and GPUs.
        self.net = self.net.to(memory_format=torch.channels_last)
        self.sample_rate, self.seed, self.follows_level = sample_rate, seed, normalize == "recording"
        figures: Config = {k: tuple(v) if k == "snr_db" else v for k, v in (augment or {}).items()}
        self.augmentation = Augmentation(**figures)
        self.mixes = self.augmentation.mix > 0
        self._probe()

    def _probe(self) -> None:
        """Raises ValueError where the network does not take what the front end gives, or masks have nothing to hide."""
        training = self.training
        shape = self.eval()._shape()
        if len(shape) != 3 and (self.augmentation.time_masks or self.augmentation.frequency_masks):
            raise ValueError("augment masks parts of spectrograms, and model.front_end gives none; set "
                             "model.augment.time_masks=0 and model.augment.frequency_masks=0")  # fmt: skip
        what = {3: "spectrograms of {} (channels, bins, frames)"}.get(len(shape), "items of {}")
        try:
            self.net(torch.zeros(1, *shape))
        except RuntimeError as error:
            raise ValueError(
                f"{type(self.net).__name__} does not take {what.format(' x '.join(map(str, shape)))}, which model.front_end "
                f"gives ({str(error).splitlines()[0]})"
            ) from error
        self.train(training)

    def _shape(self) -> tuple[int, ...]:
        """What the front end makes of a second. Raises ValueError where it does not take it."""
        if isinstance(self.front_end, FrontEnd):
            return self.front_end.shape(self.sample_rate)
        try:
            return tuple(self.front_end(torch.zeros(1, 1, self.sample_rate)).shape[1:])
        except Exception as error:  # whatever a class of the user's own says
            raise ValueError(
                f"front_end {type(self.front_end).__name__} does not take waveforms of 1 x 1 x {self.sample_rate} (batch, 1, "
                f"samples) ({type(error).__name__}: {' '.join(str(error).split())})"
            ) from error

    def setup_for(self, data: DataModule) -> None:
        super().setup_for(data)
        if data.spec.sample_rate != self.sample_rate:
            raise UserError(f"the model works at {self.sample_rate} Hz and the data at {data.spec.sample_rate} Hz")
        noise, partners = self.augmentation.noise > 0, self.augmentation.mix > 0
        cast("WordData", data).request_mixing(self.seed, noise, partners)

    def network_input(self, batch: ClipBatch) -> Tensor:
        return batch.waveform

    def waveforms(self, batch: ClipBatch) -> Tensor:
        return batch.waveform

    def level_scores(self, batch: ClipBatch, gain: Tensor) -> Tensor:
        return (self(batch.waveform * gain).argmax(1) == self.labels(batch)).double()

    def stretches(self, file: Path) -> Iterator[Stretch]:
        """Windows as long as the clips of training, along a recording."""
        from speechml.tasks.word_windows import read_windows

        return read_windows(file, self.sample_rate)

    def forward(self, waveform: Tensor) -> Tensor:
        check_waveforms(waveform)
        return self._logits(self._features(waveform))

    def _logits(self, features: Tensor) -> Tensor:
        """Shape: as the front end gives them -> (batch, classes)."""
        if features.dim() == 4:
            features = features.contiguous(memory_format=torch.channels_last)
        out: Tensor = self.net(features)
        return out

    def _features(self, waveform: Tensor) -> Tensor:
        """What the front end gives, in float32 whatever the precision of the network."""
        with torch.autocast(waveform.device.type, enabled=False):
            if self.follows_level:
                waveform = waveform * (SPEECH_RMS / rms(waveform))
            out: Tensor = self.front_end(waveform)
        return out

    def training_loss(self, batch: ClipBatch) -> tuple[Tensor, dict[str, Tensor]]:
        augmentation = self.augmentation.at(batch.epoch)
        features, label = self._varied(augmentation, batch, self.seed, batch.indices), self.labels(batch)
        wanted = F.one_hot(label, len(self.classes)).float()
        if augmentation.mix:
            if batch.partner is None:
                raise ValueError(
                    "clips are to be mixed and have no partners; the data module gives them when asked for them"
                )
            weight = augmentation.weights(self.seed, batch.epoch, batch.indices)
            # Drawn for the clip that is mixed with, under another seed: the partner may be in the batch itself.
            partner = self._varied(augmentation, batch.partner, partner_seed(self.seed), batch.indices)
            features = torch.lerp(partner, features, weight.view(-1, *[1] * (features.dim() - 1)))
            other = F.one_hot(self.labels(batch.partner), len(self.classes)).float()
            wanted = torch.lerp(other, wanted, weight[:, None])
        logits = self._logits(features).float()
        return self.loss_of(logits, wanted), {"acc": (logits.argmax(1) == label).float().mean()}

    def _varied(self, augmentation: Augmentation, batch: ClipBatch, seed: int, numbers: Tensor) -> Tensor:
        """What the front end gives of varied clips; draws are by `numbers`, which are those of the clips or of what they join."""
        where = (seed, batch.epoch, numbers)
        waveform = augmentation.waveforms(batch.waveform, self.sample_rate, *where, batch.noise)
        return augmentation.spectrograms(self._features(waveform), *where)


def build_front_end(node: Config, sample_rate: int) -> nn.Module:
    """Build the front end of a config. Raises UserError, or ValueError, where it is refused."""
    if "_target_" not in node:
        return FrontEnd(**node, sample_rate=sample_rate)
    takes = "sample_rate" in parameters(import_class(node["_target_"], "model.front_end."))
    rate = {"sample_rate": sample_rate} if takes and "sample_rate" not in node else {}
    module: nn.Module = build(node, where="model.front_end", kind=nn.Module, **rate)
    return module
