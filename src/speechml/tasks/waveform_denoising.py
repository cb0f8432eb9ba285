"""Training and scoring of networks that take a noisy waveform and give a clean one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechml.config.instantiate import build
from speechml.contracts import Config, DataModule, PairBatch
from speechml.signal.convolution import causal_convolution
from speechml.signal.level import check_waveforms, rms
from speechml.signal.wiener import Wiener
from speechml.tasks.denoising import WHOLE, DenoisingTask, Loss, Reach, choose_loss

# Compared with the Wiener filter of this many taps where the network has no receptive field of its own: lab 2A's FIR.
LAB_TAPS = 81


def snr_loss(estimate: Tensor, clean: Tensor) -> Tensor:
    """Minus the mean SNR in dB; clips count alike whatever their level. Shape: (batch, 1, time) twice -> ()."""
    error, power = (estimate - clean).square().sum(-1), clean.square().sum(-1)
    # The floor, 80 dB below the batch, keeps a silent clip from having no finite loss.
    floor = 1e-8 * power.mean() + torch.finfo(power.dtype).tiny
    return 10 * torch.log10((error + floor) / (power + floor)).mean()


LOSSES: dict[str, Loss | str] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "mse_sum": lambda estimate, clean: F.mse_loss(estimate, clean, reduction="sum"),
    "snr": snr_loss,
    "si_sdr": "si_sdr_loss",  # of `tasks.losses`, which is loaded when it is wanted
    "mr_stft": "mr_stft_loss",
}


class WaveformDenoiser(DenoisingTask[PairBatch]):
    """A waveform denoiser: network, loss, scores beside those of the noisy input and of the Wiener filter.

    Args:
        net: config node of the network, (batch, 1, time) -> (batch, 1, time). It has `receptive_field`, where a sample of
            output depends on that many samples of input up to it, `inf` where on the whole recording; or `samples`, the one
            length that it takes. It may have `lookahead`, samples after it that the output depends on as well, and `hop`,
            the distance of its frames, which are counted from the beginning of what it is given.
        sample_rate: Hz the network works at.
        loss: `l1`, `mse` (both mean per sample), `mse_sum` (sum over the batch), `snr`, `si_sdr` (minus the mean in dB),
            `mr_stft` (`tasks.losses`), or the config node of a module (estimate, clean) -> ().
        normalize: what waveforms are divided by before the network and the loss, and multiplied by behind it: `recording`,
            the RMS of each by itself, so that no level is too high or too low; True, that of the noisy training
            waveforms; False, nothing.
        optimizer, scheduler: config nodes; needed for training only.

    Shape of `forward`: (batch, 1, time) -> (batch, 1, time), any time.
    """

    training_scores = ("loss", "mse")

    def __init__(
        self, net: Config, sample_rate: int, loss: str | Config = "l1", normalize: bool | str = False,
        optimizer: Config | None = None, scheduler: Config | None = None,
    ) -> None:  # fmt: skip
        super().__init__(sample_rate, optimizer, scheduler)
        self.net = build(net, where="model.net", kind=nn.Module)
        self.receptive_field: float | None = getattr(self.net, "receptive_field", None)
        self.record: int | None = None if self.receptive_field else getattr(self.net, "samples", None)
        if self.receptive_field is None and self.record is None:
            raise ValueError(
                f"{type(self.net).__name__} says neither receptive_field (samples of input behind one of output; inf: the "
                "whole recording) nor samples (the one length that it takes)"
            )
        self.criterion = choose_loss(loss, LOSSES)
        self.loss_name, self.normalize = loss if isinstance(loss, str) else type(self.criterion).__name__, normalize
        self.follows_level = normalize == "recording"
        if not normalize:
            self.first_remedy = "set model.normalize=true, "
        self.level: Tensor
        self.register_buffer("level", torch.ones(()))  # RMS of the noisy training waveforms
        self.wiener: Tensor | None = None  # (taps,), fitted to the training items of the run

    def forward(self, noisy: Tensor) -> Tensor:
        check_waveforms(noisy)
        return self.denoise(noisy, self.input_level(noisy))

    def input_level(self, noisy: Tensor) -> Tensor:
        return rms(noisy) if self.follows_level else self.level

    def denoise(self, noisy: Tensor, level: Tensor) -> Tensor:
        return self._by_records(noisy / level) * level

    def _by_records(self, noisy: Tensor) -> Tensor:
        """The network, in records of its own length where it has one; the last is padded with zeros and cut back."""
        batch, channel, time = noisy.shape
        if self.record is not None:
            noisy = F.pad(noisy, (0, -time % self.record)).reshape(-1, channel, self.record)
        out: Tensor = self.net(noisy)
        return out if self.record is None else out.reshape(batch, channel, -1)[..., :time]

    def reach(self) -> Reach:
        if self.receptive_field == math.inf:
            return Reach(WHOLE, WHOLE, 1)
        after, step = (int(getattr(self.net, name, least)) for name, least in (("lookahead", 0), ("hop", 1)))
        return Reach(int(self.receptive_field or 1) - 1, after, self.record or step)

    def prepare(self, data: DataModule) -> None:
        if self.normalize:  # with `recording` it says what the network has learned from
            powers = [batch.noisy.double().square().mean() for batch in self.training_items(data)]
            self.level.fill_(float(torch.stack(powers).mean().sqrt()) or 1.0)

    def training_loss(self, batch: PairBatch) -> tuple[Tensor, dict[str, Tensor]]:
        level = self.input_level(batch.noisy)
        estimate = self._by_records(batch.noisy / level)  # the loss is taken at the network's own level
        loss = self.criterion(estimate.float(), batch.clean / level)
        return loss, {"mse": F.mse_loss(estimate.detach() * level, batch.clean)}

    def batch_weight(self, batch_idx: int) -> float:
        # Ranks and accumulated batches are averaged, so a sum over all of them needs their number back.
        if self.loss_name == "mse_sum":
            return float(self.trainer.world_size * self.trainer.accumulate_grad_batches)
        return super().batch_weight(batch_idx)

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        data = self._data()
        if self.wiener is not None or not data.splits["train"] or getattr(data, "is_foreign", False):
            return  # a filter that is fitted to other recordings would be no reference for this network
        reach = self.reach()
        wiener = Wiener(LAB_TAPS if self.record or reach.after else reach.before + 1)
        for batch in self.training_items(data):
            wiener.add(batch.noisy, batch.clean)
        self.wiener = wiener.solve()

    def denoise_batch(self, batch: PairBatch, testing: bool) -> tuple[dict[str, Tensor], Tensor]:
        waveforms = {"": self(batch.noisy), "_input": batch.noisy}
        if testing and self.wiener is not None:
            taps = self.wiener.to(batch.noisy)[:, None, None]
            # A reference is not rounded to the run's precision.
            with torch.autocast(batch.noisy.device.type, enabled=False):
                waveforms["_wiener"] = causal_convolution(batch.noisy, taps)
        level = self.input_level(batch.noisy)
        loss = self.criterion((waveforms[""] / level).float(), batch.clean / level)
        share = len(batch.indices) if self.loss_name == "mse_sum" else 1  # a sum is reported per recording
        return waveforms, (loss / share).expand(len(batch.indices))
