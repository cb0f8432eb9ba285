"""Training and scoring of networks that clean STFT magnitudes; the waveform comes back with the noisy phase."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechml.config.instantiate import build
from speechml.contracts import Config, DataModule, PairBatch
from speechml.errors import choose
from speechml.models.stft_network import STFTNetwork
from speechml.signal.level import SPEECH_RMS, check_waveforms, rms
from speechml.signal.random import key, uniform
from speechml.signal.stft import STFT, phase, valid_length
from speechml.tasks.denoising import DenoisingTask, Loss, Reach, choose_loss
from speechml.tasks.stft_windows import SAMPLINGS, TARGETS, Augment, FrameBatch, Framing, cut_frames

SILENCE = 1e-5  # largest magnitude of a silent frame: well below the rounding of 16 bits (1.7e-4 for n_fft 1024)
BLOCK_FRAMES = 4096  # computed together, of one recording: 131 s at hop 512, 16 kHz
ROOT_FLOOR = 1e-3  # in units of the clean RMS: 60 dB below it, where the slope of a root must end
MAGNITUDE_SHARE = 0.1  # of the compressed loss: chosen by validation, less loses SNR and more loses PESQ
SAMPLED_FRAMES = 20_000  # of the training split, for the mean and deviation of the inputs


def compressed_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """The error of square roots of magnitudes, where soft sounds count as the ear minds them, and SHARE of that of magnitudes.

    Shape: (batch, time, bins) twice -> ().
    """
    roots = F.mse_loss((estimate + ROOT_FLOOR).sqrt(), (target + ROOT_FLOOR).sqrt())
    return roots + MAGNITUDE_SHARE * F.mse_loss(estimate, target)


LOSSES: dict[str, Loss] = {"mse": F.mse_loss, "l1": F.l1_loss, "compressed": compressed_loss}


class MagnitudeDenoiser(DenoisingTask[FrameBatch]):
    """A denoiser of STFT magnitudes: network, loss on magnitudes, scores on waveforms.

    Args:
        net: config node of the network; windows (batch, 1, [frames,] bins) -> (batch, bins).
        sample_rate: Hz the network works at.
        n_fft, hop: of the STFT, in samples.
        loss: `mse`, `l1`, `compressed` (see `compressed_loss`), or the config node of a module (estimate, clean) -> (), of
            magnitudes in units of the RMS of the clean training magnitudes.
        target: `magnitude` of the clean frame, or `phase_sensitive` (see `tasks.stft_windows.TARGETS`).
        sampling: `windows`, single and shuffled, or `runs` of consecutive ones, computed together.
        run: windows of a run.
        passes: how often an epoch goes over the recordings, with other runs each time; None: few recordings more often.
        padding: `silent` puts frames - 1 silent frames before each recording, so that every frame is the last of a window;
            `none` leaves the first frames of a recording as they are.
        normalize: `recording` brings each recording to the RMS of the noisy training recordings first, and back behind the
            network; `runs` does so with each run of the training, too, so that the network knows one level only; False leaves
            the levels as they are.
        augment: `remix`, `noise_db`, `gain_db` of `tasks.stft_windows.Augment`; for runs.
        seed: of the silent frames.
        optimizer, scheduler: config nodes; needed for training only.

    Shape of `forward`: (batch, 1, time) -> (batch, 1, time), any time.
    """

    headline_scores = ("snr_db", "snr_gain_db", "si_sdr_db", "pesq", "stoi")
    net: STFTNetwork

    def __init__(
        self, net: Config, sample_rate: int, n_fft: int = 1024, hop: int = 512, loss: str | Config = "mse",
        target: str = "magnitude", sampling: str = "windows", run: int = 64, passes: int | None = 1, padding: str = "silent",
        normalize: str | bool = False, augment: dict[str, float] | None = None, seed: int = 0, optimizer: Config | None = None,
        scheduler: Config | None = None,
    ) -> None:  # fmt: skip
        super().__init__(sample_rate, optimizer, scheduler)
        variation = Augment(**{name: float(value) for name, value in (augment or {}).items()})
        if sampling == "windows" and any(variation):
            raise ValueError("augment varies runs; give sampling=runs, or leave it out")
        if sampling == "windows" and normalize == "runs":
            raise ValueError("normalize=runs needs runs; give sampling=runs, or normalize=recording")
        self.stft = STFT(n_fft, hop)
        self.net = build(net, where="model.net", kind=nn.Module)
        if not isinstance(self.net, STFTNetwork):
            why = "give STFTTCN, STFTCNN1d, STFTCNN2d or a class of yours that inherits speechml.models.STFTNetwork as net"
            raise ValueError(f"{type(self.net).__name__} takes no STFT frames; {why}")
        if self.net.bins != self.stft.bins:
            raise ValueError(
                f"the network has {self.net.bins} bins and n_fft {n_fft} gives {self.stft.bins}; set net.bins"
            )
        choose("sampling", sampling, SAMPLINGS)
        self.criterion = choose_loss(loss, LOSSES)
        self.loss_name = loss if isinstance(loss, str) else type(self.criterion).__name__
        self.target_of = choose("target", target, TARGETS)
        self.context = self.net.frames - 1
        self.silence: Tensor
        draws = uniform(key("silence", seed), torch.arange(self.context), self.stft.bins)
        self.register_buffer("silence", SILENCE * draws)
        self.opening = choose(
            "padding", padding, {"silent": self.context, "none": 0}
        )  # silent frames before a recording
        self.level: Tensor
        self.register_buffer("level", torch.ones(()))  # RMS of the training targets
        self.follows_level = normalize in ("recording", "runs")
        self.noisy_rms: Tensor
        if self.follows_level:
            self.register_buffer("noisy_rms", torch.ones(()))  # of the noisy training waveforms
        self.framing = Framing(  # with a transform of its own, which goes where the recordings are
            STFT(n_fft, hop), self.net.frames, sampling, 1 if sampling == "windows" else run, passes,
            self.silence if self.opening == self.context else None, self.target_of, variation,
            SPEECH_RMS if normalize == "runs" else None,
        )  # fmt: skip
        self.make_items = partial(cut_frames, framing=self.framing, sample_rate=sample_rate)

    def describe(self) -> str:
        return self.net.describe()

    def forward(self, noisy: Tensor) -> Tensor:
        check_waveforms(noisy)
        return self.denoise(noisy, self.input_level(noisy))

    @property
    def usual_rms(self) -> Tensor:
        return self.noisy_rms

    def input_level(self, noisy: Tensor) -> Tensor:
        return rms(noisy) / self.noisy_rms if self.follows_level else torch.ones((), device=noisy.device)

    def denoise(self, noisy: Tensor, level: Tensor) -> Tensor:
        return self._waveform(self._cleaned(self._spectrum(noisy / level)), noisy.shape[-1]) * level

    def reach(self) -> Reach:
        # The frames over a sample, those before them in their windows, and what these are transforms of.
        return Reach(self.stft.n_fft + self.context * self.stft.hop, self.stft.n_fft, self.stft.hop)

    def _cleaned(self, spectrum: Tensor) -> Tensor:
        """Clean magnitudes on the noisy phase, of whole recordings.

        Shape: (batch, time, bins), complex -> the same.
        """
        opening = self.silence[: self.opening].to(torch.complex64).expand(len(spectrum), -1, -1)
        spectrum = torch.cat([opening, spectrum], 1)
        parts = [spectrum[:, : self.context]]
        # What is scored or heard is not rounded to the training's precision, and no recording is too long for memory.
        with torch.autocast(spectrum.device.type, enabled=False):
            for begin in range(self.context, spectrum.shape[1], BLOCK_FRAMES):
                block = spectrum[:, begin - self.context : begin + BLOCK_FRAMES]
                parts.append(self.net.all_windows(block.abs()) * phase(block[:, self.context :]))
        return torch.cat(parts, 1)[:, self.opening :]

    def _spectrum(self, waveform: Tensor) -> Tensor:
        """Shape: (batch, 1, time) -> (batch, frames, bins), complex."""
        time = waveform.shape[-1]
        out: Tensor = self.stft(F.pad(waveform[:, 0].float(), (0, valid_length(time, self.stft.hop) - time)))
        return out

    def _waveform(self, spectrum: Tensor, time: int) -> Tensor:
        """Shape: (batch, frames, bins), complex -> (batch, 1, time)."""
        return self.stft.inverse(spectrum)[:, None, :time]

    def prepare(self, data: DataModule) -> None:
        magnitudes, targets, count = [], [], 0
        for batch in self.training_items(data):
            # Copied: a view would keep all of the batch.
            magnitudes.append(batch.noisy[:, self.context :].flatten(0, 1).clone())
            targets.append(batch.target.flatten(0, 1))
            count += len(targets[-1])
            if count >= SAMPLED_FRAMES:
                break
        self.net.fit_inputs(torch.cat(magnitudes).to(self.device))
        if self.follows_level:
            self.noisy_rms.fill_(self.stft.rms(torch.cat(magnitudes)) or 1.0)
        self.level.fill_(float(torch.cat(targets).double().square().mean().sqrt()) or 1.0)

    def training_loss(self, batch: FrameBatch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.framing.run == 1:
            window = batch.noisy if self.context else batch.noisy[:, 0]
            estimate = self.net(window[:, None])[:, None]
        else:
            estimate = self.net.all_windows(batch.noisy)
        return self.criterion(estimate / self.level, batch.target / self.level), {}

    def denoise_batch(self, batch: PairBatch, testing: bool) -> tuple[dict[str, Tensor], Tensor]:
        time = batch.noisy.shape[-1]
        level = self.input_level(batch.noisy)
        noisy, clean = self._spectrum(batch.noisy / level), self._spectrum(batch.clean / level)
        cleaned = self._cleaned(noisy)
        waveforms = {"": self._waveform(cleaned, time) * level, "_input": batch.noisy}
        if testing:
            waveforms["_clean_magnitude"] = self._waveform(clean.abs() * phase(noisy), time) * level
            waveforms["_binary_mask"] = self._waveform(noisy * (clean.abs() > (noisy - clean).abs()), time) * level
        pairs = zip(cleaned.abs() / self.level, self.target_of(noisy, clean) / self.level, strict=True)
        return waveforms, torch.stack([self.criterion(*pair) for pair in pairs])
