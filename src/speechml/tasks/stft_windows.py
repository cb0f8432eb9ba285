"""Training items of magnitude denoisers: single windows out of one spectrogram, or runs of consecutive frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from speechml.contracts import IndexBatch, PairSource
from speechml.errors import UserError
from speechml.signal.level import rms
from speechml.signal.random import key, permutation, uniform
from speechml.signal.stft import STFT, num_frames
from speechml.storage.pack import Pack


def phase_sensitive(noisy: Tensor, clean: Tensor) -> Tensor:
    """|S| cos(angle between S and X), at least 0, the best magnitude to go with the noisy phase.

    Erdogan et al., "Phase-sensitive and recognition-boosted speech separation" (ICASSP 2015). Shape: complex, equal.
    """
    return (clean * torch.sgn(noisy).conj()).real.clamp(min=0)


# Frames whose spectrograms are held at a time: 0.5 GB for 513 bins, 70 minutes at hop 512, 16 kHz.
BLOCK_FRAMES = 1 << 17
EPOCH_RUNS = 500  # of few recordings: an epoch is then long enough to be worth a validation
Target = Callable[[Tensor, Tensor], Tensor]
# The magnitudes that a network is to give, from noisy and clean spectra.
TARGETS: dict[str, Target] = {"magnitude": lambda _, clean: clean.abs(), "phase_sensitive": phase_sensitive}


class Augment(NamedTuple):
    """How runs are varied: a function of (seed, epoch, run), so of no batch and no rank.

    remix: share of the runs whose noise is replaced by that of another run, anywhere in the training split.
    noise_db: remixed noise is louder or softer by up to this.
    gain_db: every run is louder or softer by up to this.
    """

    remix: float = 0.0
    noise_db: float = 0.0
    gain_db: float = 0.0


class Framing(NamedTuple):
    """What a network wants of a recording.

    stft: the transform. frames: of a window. sampling: `windows` or `runs`. run: consecutive windows of an item. passes:
    how often an epoch goes over the recordings, runs only; None: so often that it has EPOCH_RUNS. silence: (frames - 1,
    bins) magnitudes in front of each recording, or None where only whole windows count. target: one of TARGETS. rms: that
    each run is brought to, None for the level that it has.
    """

    stft: STFT
    frames: int
    sampling: str
    run: int
    passes: int | None
    silence: Tensor | None
    target: Target
    augment: Augment
    rms: float | None = None

    @property
    def context(self) -> int:
        """Frames of a window before its last."""
        return self.frames - 1

    @property
    def lead(self) -> int:
        """Frames at the begin of a recording that are the last of no window."""
        return self.context if self.silence is None else 0


class FrameBatch(NamedTuple):
    """noisy: (batch, frames - 1 + run, bins) magnitudes; target: (batch, run, bins); indices: (batch,) items."""

    noisy: Tensor
    target: Tensor
    indices: Tensor


def cut_frames(lengths: dict[int, int], seed: int, framing: Framing, sample_rate: int) -> Windows | Runs:
    """The windows or runs that an epoch trains on.

    Args:
        lengths: samples of each training recording, by its number.
        seed: of their order, and of where runs begin.
        framing: what the network wants.
        sample_rate: Hz.

    Raises:
        UserError: the recordings are shorter than one window.
    """
    items = SAMPLINGS[framing.sampling](lengths, framing, seed)
    if len(items) == 0:
        window = ((framing.frames - 1) * framing.stft.hop + framing.stft.n_fft) / sample_rate
        longest = max(lengths.values()) / sample_rate
        raise UserError(
            f"the training recordings (the longest has {longest:.2f} s) are shorter than one window of "
            f"{framing.frames} frames ({window:.2f} s)",
            fix="give longer ones, or model.padding=silent",
        )
    return items


class Windows:
    """Single windows in random order, out of spectrograms that are held on the device.

    The recordings are put end to end, each behind its silent frames. Where they are more than BLOCK_FRAMES an epoch goes
    through them in blocks of whole recordings, in random order. A batch is a gather by index: of a window nothing is
    kept but its number.
    """

    def __init__(self, lengths: dict[int, int], framing: Framing, seed: int) -> None:
        self.framing, self.seed, self.context = framing, seed, framing.context
        self.recordings = list(lengths)
        self.counts = torch.tensor([num_frames(samples, framing.stft.hop) for samples in lengths.values()])
        self.first = self.counts.cumsum(0) - self.counts  # number of each recording's frame 0
        self.row = torch.repeat_interleave(self.counts)  # the recording of each frame, by its place among all
        self.numbers = (torch.arange(len(self.row)) - self.first[self.row] >= framing.lead).nonzero()[:, 0]
        self._plan: tuple[int, Tensor] | None = None
        self._spectra: tuple[object, Tensor, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def groups(self, epoch: int, size: int) -> list[Tensor]:
        """Batches of item numbers of an epoch; a batch stays within a block."""
        block = self.blocks(epoch)[self.row[self.numbers]]
        groups: list[Tensor] = []
        for place in range(int(block.max()) + 1):
            numbers = self.numbers[block == place]
            groups += numbers[permutation(key("order", self.seed, epoch, place), len(numbers))].split(size)
        return groups

    def blocks(self, epoch: int) -> Tensor:
        """The block of each recording in an epoch. Shape: (recordings,)."""
        if self._plan is None or self._plan[0] != epoch:
            block = torch.zeros_like(self.counts)
            if len(self.row) > BLOCK_FRAMES:
                place = frames = 0
                for row in permutation(key("blocks", self.seed, epoch), len(block)).tolist():
                    count = int(self.counts[row])
                    if frames and frames + count > BLOCK_FRAMES:
                        place, frames = place + 1, 0
                    block[row], frames = place, frames + count
            self._plan = (epoch, block)
        return self._plan[1]

    def load_batch(self, batch: IndexBatch, source: PairSource) -> FrameBatch:
        """The windows of `batch`, on the device of `batch.indices`."""
        numbers = batch.indices.cpu()
        rows = self.row[numbers]
        noisy, target, starts = self._spectra_around(int(rows[0]), batch, source)
        last = (starts[rows] + numbers - self.first[rows]).to(noisy.device)
        window = last[:, None] + torch.arange(-self.context, 1, device=noisy.device)
        return FrameBatch(noisy[window], target[last][:, None], batch.indices)

    def _spectra_around(self, row: int, batch: IndexBatch, source: PairSource) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy magnitudes and targets of the block of a recording, and where frame 0 of each recording lies in them.

        Shape: (time, bins), (time, bins), (recordings,).
        """
        device, block = batch.indices.device, self.blocks(batch.epoch)
        members = (block == block[row]).nonzero()[:, 0].tolist()
        changes = source.changes or len(members) < len(block)
        name = (batch.epoch if changes else None, int(block[row]), device)
        if self._spectra is None or self._spectra[0] != name:
            self._spectra = None  # the old ones go before the new ones come
            stft = self.framing.stft.to(device)
            total = int((self.counts[members] + self.context).sum())
            noisy, target = torch.zeros(2, total, stft.bins, device=device)
            starts = torch.zeros_like(block)
            end = 0
            for member in members:
                starts[member] = begin = end + self.context
                if self.framing.silence is not None:
                    noisy[end:begin] = self.framing.silence.to(device)
                end = begin + int(self.counts[member])
                number = torch.tensor([self.recordings[member]], device=device)
                whole = partial(Pack.whole, files=number)
                waves = source.load(IndexBatch("train", batch.epoch, number), whole)
                spectra = [stft(wave[0, 0].to(device)) for wave in waves]
                noisy[begin:end], target[begin:end] = spectra[0].abs(), self.framing.target(*spectra)
            self._spectra = (name, noisy, target, starts)
        return self._spectra[1:]


class Runs:
    """Runs of consecutive windows from anywhere in the training recordings, new ones in every epoch.

    Begins are spread evenly over each recording and moved at random, by single samples, so that frames never fall on the
    same samples twice. Every draw is a function of (seed, epoch, run).
    """

    def __init__(self, lengths: dict[int, int], framing: Framing, seed: int) -> None:
        self.framing, self.seed, self.context = framing, seed, framing.context
        hop, lead = framing.stft.hop, framing.lead
        windows = {recording: num_frames(samples, hop) - lead for recording, samples in lengths.items()}
        once = {recording: max(1, round(count / framing.run)) for recording, count in windows.items() if count > 0}
        passes = framing.passes or -(-EPOCH_RUNS // max(1, sum(once.values())))
        recordings, begins, rooms = [], [], []
        for recording, runs in once.items():
            samples, slots = lengths[recording], runs * passes
            free = max(0, samples - (framing.run - 1 + lead) * hop)  # begins that keep the run inside the recording
            recordings += [recording] * slots
            begins += [lead * hop + free * i // slots for i in range(slots)]
            rooms += [free // slots] * slots
        self._of = torch.tensor(recordings, dtype=torch.int64)
        self._begin = torch.tensor(begins, dtype=torch.int64)
        self._room = torch.tensor(rooms, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._of)

    def groups(self, epoch: int, size: int) -> list[Tensor]:
        """Batches of run numbers of an epoch."""
        return list(permutation(key("order", self.seed, epoch), len(self)).split(size))

    def load_batch(self, batch: IndexBatch, source: PairSource) -> FrameBatch:
        """The runs of `batch`, augmented, on the device of `batch.indices`."""
        augment, device = self.framing.augment, batch.indices.device
        numbers = batch.indices
        draws = uniform(key("run", self.seed, batch.epoch), numbers, 6)
        begin = self._begins(numbers, draws[:, 0])
        noisy, clean = self._cut(numbers, begin, batch.epoch, source)
        if augment.remix:
            other = (draws[:, 1] * len(self)).long().clamp(max=len(self) - 1)
            others_noisy, others_clean = self._cut(other, self._begins(other, draws[:, 2]), batch.epoch, source)
            gain = decibels(augment.noise_db * (2 * draws[:, 3] - 1))
            mixed = clean + gain[:, None] * (others_noisy - others_clean)
            noisy = torch.where((draws[:, 4] < augment.remix)[:, None], mixed, noisy)
        gain = decibels(augment.gain_db * (2 * draws[:, 5] - 1))[:, None]
        if self.framing.rms is not None:
            gain = gain * self.framing.rms / rms(noisy[:, self.context * self.framing.stft.hop :])
        stft = self.framing.stft.to(device)
        spectrum = stft.transform(noisy * gain)
        clean_spectrum = stft.transform(clean[:, self.context * stft.hop :] * gain)
        target = self.framing.target(spectrum[:, self.context :], clean_spectrum)
        return FrameBatch(self._silenced(spectrum.abs(), begin), target, numbers)

    def _begins(self, numbers: Tensor, draw: Tensor) -> Tensor:
        """The sample under the middle of each run's first window's last frame."""
        begin, room = (table.to(numbers.device)[numbers] for table in (self._begin, self._room))
        return begin + (room * draw).long()

    def _cut(self, numbers: Tensor, begin: Tensor, epoch: int, source: PairSource) -> tuple[Tensor, Tensor]:
        """Noisy and clean samples under the frames of runs, zeros beyond the recordings. Shape: (batch, time) twice."""
        stft = self.framing.stft
        length = (self.context + self.framing.run - 1) * stft.hop + stft.n_fft
        first = begin - self.context * stft.hop - stft.n_fft // 2
        batch = IndexBatch("train", epoch, numbers)
        recordings = self._of.to(numbers.device)[numbers]
        noisy, clean = source.load(batch, lambda pack: pack.stretches(recordings, first, length))
        return noisy[:, 0].to(numbers.device), clean[:, 0].to(numbers.device)

    def _silenced(self, magnitudes: Tensor, begin: Tensor) -> Tensor:
        """Frames whose middle lies before the recording become its silent frames."""
        silence, context = self.framing.silence, self.context
        if silence is None or context == 0:
            return magnitudes
        hop = self.framing.stft.hop
        step = torch.arange(-context, 0, device=begin.device)
        # In frames, negative before the start.
        middle = torch.div(begin[:, None] + step * hop, hop, rounding_mode="floor")
        silent = silence.to(magnitudes)[(context + middle).clamp(0, context - 1)]
        magnitudes = magnitudes.clone()
        magnitudes[:, :context] = torch.where((middle < 0)[..., None], silent, magnitudes[:, :context])
        return magnitudes


def decibels(level: Tensor) -> Tensor:
    """A level in dB as a factor of amplitude."""
    return 10 ** (level / 20)


SAMPLINGS: dict[str, type[Windows | Runs]] = {"windows": Windows, "runs": Runs}
