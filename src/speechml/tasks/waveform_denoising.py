"""Training and scoring of networks that take a noisy waveform and give a clean one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from speechml.build import build
from speechml.signal.convolution import causal_convolution
from speechml.signal.scores import WAVEFORM_SCORES
from speechml.signal.wiener import Wiener
from speechml.tasks.optimizers import configured

# Compared with the Wiener filter of this many taps where the network has no receptive field of its own: lab 2A's FIR.
LAB_TAPS = 81


def snr_loss(estimate: Tensor, clean: Tensor) -> Tensor:
    """Minus the mean SNR in dB; clips count alike whatever their level. Shape: (batch, 1, time) twice -> ()."""
    error, power = (estimate - clean).square().sum(-1), clean.square().sum(-1)
    # The floor, 80 dB below the batch, keeps a silent clip from having no finite loss.
    floor = 1e-8 * power.mean() + torch.finfo(power.dtype).tiny
    return 10 * torch.log10((error + floor) / (power + floor)).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "mse_sum": lambda estimate, clean: F.mse_loss(estimate, clean, reduction="sum"),
    "snr": snr_loss,
}


class WaveformDenoiser(pl.LightningModule):
    """A waveform denoiser: network, loss, scores beside those of the noisy input and of the Wiener filter.

    Args:
        net: config node of the network, (batch, 1, time) -> (batch, 1, time).
        sample_rate: Hz the network works at.
        loss: `l1`, `mse` (both mean per sample), `mse_sum` (sum over the batch), `snr` (minus the mean SNR in dB).
        normalize: divide by the RMS of the noisy training waveforms before the network and the loss, so that the
            nonlinearities and the learning rate do not depend on the level of the recordings.
        optimizer, scheduler: config nodes; needed for training only.

    Shape of `forward`: (batch, 1, time) -> (batch, 1, time), any time.
    """

    headline_scores = ("snr_db", "snr_gain_db", "si_sdr_db", "mse", "l1")  # by which runs are compared in TensorBoard

    def __init__(
        self,
        net: dict[str, Any],
        sample_rate: int,
        loss: str = "l1",
        normalize: bool = False,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; it can be {', '.join(LOSSES)}")
        self.net = build(net, where="model.net")
        self.sample_rate, self.loss_name, self.normalize = sample_rate, loss, normalize
        self.optimizer_node, self.scheduler_node = optimizer or {}, scheduler
        self.level: Tensor
        self.register_buffer("level", torch.ones(()))  # RMS of the noisy training waveforms
        self.items: dict[int, dict[str, float]] = {}  # scores of each recording of the part being scored
        self.scores: dict[str, float] = {}  # what the last test gave
        self.wiener: Tensor | None = None  # (taps,)

    @property
    def receptive_field(self) -> int | None:
        """Samples of input behind one sample of output; None where the network takes records of one length."""
        return getattr(self.net, "receptive_field", None)

    def forward(self, noisy: Tensor) -> Tensor:
        if noisy.dim() != 3 or noisy.shape[1] != 1:
            raise ValueError(f"waveforms must be (batch, 1, time), not {tuple(noisy.shape)}")
        out: Tensor = self._by_records(noisy / self.level) * self.level
        return out

    def _by_records(self, noisy: Tensor) -> Tensor:
        """The network, in records of its own length where it has one; the last is padded with zeros and cut back."""
        if self.receptive_field is not None:
            out: Tensor = self.net(noisy)
            return out
        batch, channel, time = noisy.shape
        length = self.net.samples
        records = F.pad(noisy, (0, -time % length)).reshape(-1, channel, length)
        return self.net(records).reshape(batch, channel, -1)[..., :time]

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return configured(self.parameters(), self.optimizer_node, self.scheduler_node, steps)

    def on_fit_start(self) -> None:
        if self.normalize and self.trainer.global_step == 0:
            powers = [batch.noisy.double().square().mean() for batch in self._data().batches("train")]
            self.level.fill_(float(torch.stack(powers).mean().sqrt()) or 1.0)

    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def loss(self, noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, at the network's own level, and the estimate at the recordings'."""
        estimate = self._by_records(noisy / self.level)
        return LOSSES[self.loss_name](estimate, clean / self.level), estimate * self.level

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002 (Lightning's signature)
        loss, estimate = self.loss(batch.noisy, batch.clean)
        size = len(batch.numbers)
        mse = F.mse_loss(estimate.detach(), batch.clean)
        self.log_dict(
            {"train/loss": loss.detach(), "train/mse": mse},
            on_step=False,
            on_epoch=True,
            batch_size=size,
            sync_dist=True,
        )
        # Ranks average their gradients, so a sum over the batch needs their number back.
        return loss * self.trainer.world_size if self.loss_name == "mse_sum" else loss

    # -- scoring: every recording on its own, each exactly once ---------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self.items = {}

    def on_test_epoch_start(self) -> None:
        self.items = {}
        wiener = Wiener(self.receptive_field or LAB_TAPS)
        for batch in self._data().batches("train"):
            wiener.add(batch.noisy, batch.clean)
        self.wiener = wiener.solve()

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        self._score(batch, {"": self(batch.noisy), "_input": batch.noisy})

    def test_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        assert self.wiener is not None
        taps = self.wiener.to(batch.noisy)[:, None, None]
        with torch.autocast(
            batch.noisy.device.type, enabled=False
        ):  # a reference is not rounded to the run's precision
            filtered = causal_convolution(batch.noisy, taps)
        self._score(batch, {"": self(batch.noisy), "_input": batch.noisy, "_wiener": filtered})

    def _score(self, batch: Any, estimates: dict[str, Tensor]) -> None:
        # Scores are taken in float64, which Apple's GPUs lack.
        where = torch.device("cpu") if batch.clean.device.type == "mps" else batch.clean.device
        columns = {
            named(score, what): function(estimate.float().to(where), batch.clean.to(where))
            for what, estimate in estimates.items()
            for score, function in WAVEFORM_SCORES.items()
        }
        loss = LOSSES[self.loss_name](estimates[""] / self.level, batch.clean / self.level)
        share = len(batch.numbers) if self.loss_name == "mse_sum" else 1  # a sum is reported per recording
        columns["loss"] = (loss / share).to(where).expand(len(batch.numbers))
        table = torch.stack([c.double() for c in columns.values()], 1).cpu().tolist()
        for index, row in zip(batch.numbers.tolist(), table, strict=True):
            self.items[index] = dict(zip(columns, row, strict=True))

    def on_validation_epoch_end(self) -> None:
        # Progress and model selection read these; they are equal on all ranks because every rank has all items.
        self.log_dict({k: v for k, v in self._means("val").items() if "_input" not in k}, batch_size=1)

    def on_test_epoch_end(self) -> None:
        self.scores = self._means("test")
        self.log_dict(self.scores, batch_size=1)

    def _means(self, part: str) -> dict[str, float]:
        """Mean of each score over the recordings on which the noisy input has finite ones, and the gains.

        SNR is not defined on silence, nor where noisy and clean are equal; such recordings are counted. A network's own
        NaN is no such case and makes the mean NaN.
        """
        self.items = _of_all_ranks(self.items)
        rows = [self.items[index] for index in sorted(self.items)]
        table = torch.tensor([list(row.values()) for row in rows], dtype=torch.float64)
        given = [i for i, name in enumerate(rows[0]) if "_input" in name]
        defined = table[:, given].isfinite().all(1)
        means = dict(zip(rows[0], table[defined].mean(0).tolist(), strict=True))
        for score in ("snr_db", "si_sdr_db"):
            means[named(score, "_gain")] = means[score] - means[named(score, "_input")]
        undefined = int((~defined).sum())
        found = {f"{part}/{name}": value for name, value in means.items()}
        return {**found, f"{part}/undefined": float(undefined)} if undefined else found


def named(score: str, what: str) -> str:
    """`snr_db` of `_input` is `snr_input_db`: the unit stays last."""
    return f"{score.removesuffix('_db')}{what}_db" if score.endswith("_db") else f"{score}{what}"


def _of_all_ranks(items: dict[int, dict[str, float]]) -> dict[int, dict[str, float]]:
    """The items of every rank together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return items
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, items)
    return {index: scores for share in shares for index, scores in share.items()}
