"""Training and scoring of networks that clean STFT magnitudes; the waveform comes back with the noisy phase."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from speechml.config.instantiate import build
from speechml.contracts import Config, DataModule, PairBatch
from speechml.models import STFTCNN2d
from speechml.signal.random import key, uniform
from speechml.signal.stft import ISTFT, STFT, phase, valid_length
from speechml.tasks.denoising import DenoisingTask
from speechml.tasks.stft_windows import TARGETS, Augment, FrameBatch, Framing, cut_frames, target_of
from speechml.tasks.streaming import FrameStream, Stream

SAMPLINGS = ("windows", "runs")
PADDINGS = ("silent", "none")
SILENCE = 1e-5  # largest magnitude of a silent frame: well below the rounding of 16 bits (1.7e-4 for n_fft 1024)
BLOCK_FRAMES = 4096  # computed together, of one recording: 131 s at hop 512, 16 kHz
SAMPLED_FRAMES = 20_000  # of the training part, for the mean and deviation of the inputs

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "l1": F.l1_loss}


class MagnitudeDenoiser(DenoisingTask[FrameBatch]):
    """A denoiser of STFT magnitudes: network, loss on magnitudes, scores on waveforms.

    Args:
        net: config node of the network; windows (batch, 1, [frames,] bins) -> (batch, bins).
        sample_rate: Hz the network works at.
        n_fft, hop: of the STFT, in samples.
        loss: `mse` or `l1`, of magnitudes in units of the RMS of the clean training magnitudes.
        target: `magnitude` of the clean frame, or `phase_sensitive` (see `tasks.stft_windows.Framing`).
        sampling: `windows`, single and shuffled, or `runs` of consecutive ones, computed together.
        run: windows of a run.
        passes: how often an epoch goes over the recordings, with other runs each time.
        padding: `silent` puts frames - 1 silent frames before each recording, so that every frame is the last of a window;
            `none` leaves the first frames of a recording as they are.
        augment: `remix`, `noise_db`, `gain_db` of `tasks.stft_windows.Augment`; for runs.
        seed: of the silent frames.
        optimizer, scheduler: config nodes; needed for training only.

    Shape of `forward`: (batch, 1, time) -> (batch, 1, time), any time.
    """

    headline_scores = ("snr_db", "snr_gain_db", "si_sdr_db", "pesq", "stoi")
    net: STFTCNN2d

    def __init__(
        self, net: Config, sample_rate: int, n_fft: int = 1024, hop: int = 512, loss: str = "mse",
        target: str = "magnitude", sampling: str = "windows", run: int = 64, passes: int = 1, padding: str = "silent",
        augment: dict[str, float] | None = None, seed: int = 0, optimizer: Config | None = None,
        scheduler: Config | None = None,
    ) -> None:  # fmt: skip
        super().__init__(sample_rate, optimizer, scheduler)
        for name, value, known in (
            ("loss", loss, tuple(LOSSES)), ("target", target, TARGETS), ("sampling", sampling, SAMPLINGS),
            ("padding", padding, PADDINGS),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name} is {value!r}; it can be {', '.join(known)}")
        if run < 1 or passes < 1:
            raise ValueError(f"run is {run} and passes {passes}; both must be at least 1")
        variation = Augment(**{name: float(value) for name, value in (augment or {}).items()})
        if not 0 <= variation.remix <= 1 or min(variation) < 0:
            raise ValueError(
                f"augment is {dict(augment or {})}; remix is a share from 0 to 1, noise_db and gain_db at least 0"
            )
        if sampling == "windows" and any(variation):
            raise ValueError("augment varies runs; give sampling=runs, or leave it out")
        self.stft, self.istft = STFT(n_fft, hop), ISTFT(n_fft, hop)
        self.net = build(net, where="model.net")
        if not isinstance(self.net, STFTCNN2d):
            raise ValueError(f"{type(self.net).__name__} takes no STFT frames; give STFTCNN1d or STFTCNN2d as net")
        if self.net.bins != self.stft.bins:
            raise ValueError(
                f"the network has {self.net.bins} bins and n_fft {n_fft} gives {self.stft.bins}; set net.bins"
            )
        self.loss_name, self.target, self.context = loss, target, self.net.frames - 1
        self.silence: Tensor
        draws = uniform(key("silence", seed), torch.arange(self.context), self.stft.bins)
        self.register_buffer("silence", SILENCE * draws)
        self.padding = padding
        self.level: Tensor
        self.register_buffer("level", torch.ones(()))  # RMS of the training targets
        self.framing = Framing(  # with a transform of its own, which goes where the recordings are
            STFT(n_fft, hop), self.net.frames, sampling, 1 if sampling == "windows" else run, passes,
            self.silence if padding == "silent" else None, target, variation,
        )  # fmt: skip
        self.make_items = partial(cut_frames, framing=self.framing, sample_rate=sample_rate)

    def describe(self) -> str:
        return self.net.describe()

    def forward(self, noisy: Tensor) -> Tensor:
        if noisy.dim() != 3 or noisy.shape[1] != 1:
            raise ValueError(f"waveforms must be (batch, 1, time), not {tuple(noisy.shape)}")
        return self._waveform(self._cleaned_whole(self._spectrum(noisy)), noisy.shape[-1])

    def stream(self, channels: int) -> Stream:
        return FrameStream(self, channels)

    def opening(self, batch: int) -> Tensor:
        """The silent frames before a recording, none where `padding` is. Shape: (batch, context or 0, bins), complex."""
        frames = self.silence if self.padding == "silent" else self.silence[:0]
        return frames.to(torch.complex64).expand(batch, -1, -1)

    def cleaned(self, spectrum: Tensor) -> Tensor:
        """Clean magnitudes on the noisy phase; the first `context` frames stay as they are.

        Shape: (batch, time, bins), complex -> the same.
        """
        if spectrum.shape[1] <= self.context:
            return spectrum
        parts = [spectrum[:, : self.context]]
        # What is scored or heard is not rounded to the training's precision, and no recording is too long for memory.
        with torch.autocast(spectrum.device.type, enabled=False):
            for begin in range(self.context, spectrum.shape[1], BLOCK_FRAMES):
                block = spectrum[:, begin - self.context : begin + BLOCK_FRAMES]
                parts.append(self.net.all_windows(block.abs()) * phase(block[:, self.context :]))
        return torch.cat(parts, 1)

    def _cleaned_whole(self, spectrum: Tensor) -> Tensor:
        """As `cleaned`, of whole recordings without their silent frames."""
        opening = self.opening(len(spectrum))
        return self.cleaned(torch.cat([opening, spectrum], 1))[:, opening.shape[1] :]

    def _spectrum(self, waveform: Tensor) -> Tensor:
        """Shape: (batch, 1, time) -> (batch, frames, bins), complex."""
        time = waveform.shape[-1]
        out: Tensor = self.stft(F.pad(waveform[:, 0].float(), (0, valid_length(time, self.stft.hop) - time)))
        return out

    def _waveform(self, spectrum: Tensor, time: int) -> Tensor:
        """Shape: (batch, frames, bins), complex -> (batch, 1, time)."""
        out: Tensor = self.istft(spectrum)[:, None, :time]
        return out

    def prepare(self, data: DataModule) -> None:
        magnitudes, targets, seen = [], [], 0
        for batch in self.training_items(data):
            magnitudes.append(
                batch.noisy[:, self.context :].flatten(0, 1).clone()
            )  # a view would keep all of the batch
            targets.append(batch.target.flatten(0, 1))
            seen += len(targets[-1])
            if seen >= SAMPLED_FRAMES:
                break
        self.net.fit_inputs(torch.cat(magnitudes).to(self.device))
        self.level.fill_(float(torch.cat(targets).double().square().mean().sqrt()) or 1.0)

    def training_loss(self, batch: FrameBatch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.framing.run == 1:
            window = batch.noisy if self.context else batch.noisy[:, 0]
            estimate = self.net(window[:, None])[:, None]
        else:
            estimate = self.net.all_windows(batch.noisy)
        return LOSSES[self.loss_name](estimate / self.level, batch.target / self.level), {}

    def denoise_batch(self, batch: PairBatch, testing: bool) -> tuple[dict[str, Tensor], Tensor]:
        time = batch.noisy.shape[-1]
        noisy, clean = self._spectrum(batch.noisy), self._spectrum(batch.clean)
        cleaned = self._cleaned_whole(noisy)
        found = {"": self._waveform(cleaned, time), "_input": batch.noisy}
        if testing:
            found["_clean_magnitude"] = self._waveform(clean.abs() * phase(noisy), time)
            found["_binary_mask"] = self._waveform(noisy * (clean.abs() > (noisy - clean).abs()), time)
        loss = LOSSES[self.loss_name]
        pairs = zip(cleaned.abs() / self.level, target_of(noisy, clean, self.target) / self.level, strict=True)
        return found, torch.stack([loss(*pair) for pair in pairs])
