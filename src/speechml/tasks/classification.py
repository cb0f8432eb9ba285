"""Training and scoring of networks that name one of several classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechml.build import build
from speechml.data.clips import ClipsData
from speechml.errors import BadInput
from speechml.signal.augmentation import Augmentation
from speechml.signal.class_scores import class_scores
from speechml.signal.front_ends import FrontEnd
from speechml.signal.random import key
from speechml.tasks.task import Task, of_all_ranks


class Classifier(Task):
    """A classifier of clips: front end, network, cross entropy; every item is scored once.

    Args:
        net: config node of the network, (batch, channel, bins, time) -> (batch, classes).
        classes: names in the order of the outputs; null: those of the data, filled in when a run begins.
        front_end: arguments of `signal.front_ends.FrontEnd`.
        sample_rate: Hz of the clips.
        augment: figures of `signal.augmentation.Augmentation`; null: none.
        label_smoothing: share of the target that all classes have in common.
        seed: of the augmentation.
        optimizer, scheduler: config nodes; needed for training only.

    Shape of `forward`: (batch, 1, time) -> (batch, classes) logits.
    """

    headline_scores = ("acc", "macro_f1", "loss")
    loss_name = "cross entropy"

    def __init__(
        self, net: dict[str, Any], front_end: dict[str, Any], sample_rate: int, classes: list[str] | None = None,
        augment: dict[str, Any] | None = None, label_smoothing: float = 0.0, seed: int = 0,
        optimizer: dict[str, Any] | None = None, scheduler: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(optimizer, scheduler)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; it is a share, at least 0 and below 1")
        self.front_end = FrontEnd(**front_end, sample_rate=sample_rate)
        self.classes = list(classes or ("", ""))
        self.net = build(net, where="model.net", classes=len(self.classes))
        # 1.3 to 2 times faster than channels first, on processors and GPUs.
        self.net = self.net.to(memory_format=torch.channels_last)
        self.sample_rate, self.label_smoothing, self.seed = sample_rate, label_smoothing, seed
        figures: dict[str, Any] = {k: tuple(v) if k == "snr_db" else v for k, v in (augment or {}).items()}
        self.augmentation = Augmentation(**figures)
        self.augmentation.refuse_nonsense()
        self.outputs: Tensor  # numbers of the outputs that the classes of the data are
        self.register_buffer("outputs", torch.arange(len(self.classes)), persistent=False)
        self._probe()

    def _probe(self) -> None:
        """Raises ValueError where the network does not take what the front end gives."""
        shape = (1, self.front_end.channels, self.front_end.bins, self.front_end.frames(self.sample_rate))
        training = self.net.training
        try:
            self.net.eval()(torch.zeros(shape))
        except RuntimeError as error:
            raise ValueError(
                f"{type(self.net).__name__} does not take spectrograms of {' x '.join(map(str, shape[1:]))} (channels, "
                f"bins, frames), which model.front_end gives ({str(error).splitlines()[0]})"
            ) from error
        self.net.train(training)

    @classmethod
    def refuse_strange(cls, data: Any) -> None:
        if not isinstance(data, ClipsData):
            raise BadInput(
                f"{cls.__name__} learns from clips with a word each, which {type(data).__name__} has not; choose "
                "data=speech_commands or data=spoken_words"
            )

    def attach(self, data: Any) -> None:
        self.refuse_strange(data)
        strange = [name for name in data.classes if name not in self.classes]
        if strange:
            raise BadInput(f"the model knows no class {', '.join(strange)}; it knows {', '.join(self.classes)}")
        if data.sample_rate != self.sample_rate:
            raise BadInput(f"the model works at {self.sample_rate} Hz and the data at {data.sample_rate} Hz")
        self.outputs = torch.tensor([self.classes.index(name) for name in data.classes], device=self.outputs.device)

    def describe(self) -> str:
        return f"{super().describe()}, {len(self.classes)} classes: {', '.join(self.classes)}"

    def forward(self, waveform: Tensor) -> Tensor:
        if waveform.dim() != 3 or waveform.shape[1] != 1:
            raise ValueError(f"waveforms must be (batch, 1, time), not {tuple(waveform.shape)}")
        out: Tensor = self.net(self._seen(waveform).contiguous(memory_format=torch.channels_last))
        return out

    def _seen(self, waveform: Tensor) -> Tensor:
        """The spectrograms, in float32 whatever the precision of the network."""
        with torch.autocast(waveform.device.type, enabled=False):
            out: Tensor = self.front_end(waveform)
        return out

    def labels(self, batch: Any) -> Tensor:
        """Numbers of the outputs that are right. Shape: (batch,)."""
        return self.outputs[batch.label]

    def training_loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        spectrogram, label = self._varied(batch, self.seed), self.labels(batch)
        wanted = F.one_hot(label, len(self.classes)).float()
        if self.augmentation.mix:
            count = batch.data.items
            places, weight = self.augmentation.partners(self.seed, batch.epoch, batch.numbers, count)
            other = batch.data.others(places, batch.epoch)
            # Drawn for the clip that is mixed with, under another seed: the partner may be in the batch itself.
            partner = self._varied(other._replace(numbers=batch.numbers), key("partner", self.seed))
            spectrogram = torch.lerp(partner, spectrogram, weight[:, None, None, None])
            wanted = torch.lerp(F.one_hot(self.labels(other), len(self.classes)).float(), wanted, weight[:, None])
        logits = self.net(spectrogram.contiguous(memory_format=torch.channels_last)).float()
        loss = F.cross_entropy(logits, wanted, label_smoothing=self.label_smoothing)
        return loss, {"acc": (logits.argmax(1) == label).float().mean()}

    def _varied(self, batch: Any, seed: int) -> Tensor:
        """The spectrograms of varied clips."""
        where = (seed, batch.epoch, batch.numbers)
        waveform = self.augmentation.waveforms(batch.waveform, self.sample_rate, *where, batch.data.noise)
        return self.augmentation.spectrograms(self._seen(waveform), *where)

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 (Lightning's signature)
        self._score(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        self._score(batch)

    def _score(self, batch: Any) -> None:
        # Scores are not rounded to the precision of training.
        with torch.autocast(batch.waveform.device.type, enabled=False):
            logits = self(batch.waveform).float().cpu().numpy()
        labels = self.labels(batch).tolist()
        for number, row, label in zip(batch.numbers.tolist(), logits, labels, strict=True):
            self.items[number] = {"logits": row, "label": label}

    def on_validation_epoch_end(self) -> None:
        self.items = of_all_ranks(self.items)
        found = self._scores("val", sorted(self.items))
        self.log_dict({k: v for k, v in found.items() if "recall" not in k}, batch_size=1)

    def on_test_epoch_end(self) -> None:
        self.items = of_all_ranks(self.items)
        self.scores = {}
        for part, numbers in self._data().scored().items():
            self.scores |= self._scores(part, [number for number in sorted(numbers) if number in self.items])
        self.log_dict(self.scores, batch_size=1)

    def _scores(self, part: str, numbers: list[int]) -> dict[str, float]:
        if not numbers:  # a limit of batches may leave a part out
            return {}
        logits = torch.from_numpy(np.stack([self.items[number]["logits"] for number in numbers]))
        labels = torch.tensor([self.items[number]["label"] for number in numbers])
        return {f"{part}/{name}": value for name, value in class_scores(logits, labels, self.classes).items()}

    def predicted(self) -> dict[str, np.ndarray]:
        return {"classes": np.array(self.classes, dtype=str)}
