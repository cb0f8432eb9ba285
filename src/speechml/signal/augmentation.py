"""Variations of training clips, each drawn as a function of a key and the clip's number, whatever batch it is in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from speechml.signal.random import key, uniform


class Augmentation(NamedTuple):
    """How far clips are varied; nothing by default. Every range is symmetric about no change.

    shift_s: in time, zeros follow. speed: of playing, as a share; pitch changes with it. gain_db: of the clip, noise and all.
    noise: share of clips that background noise is added to, at snr_db, uniform in dB.
    time_masks, frequency_masks: stretches of a spectrogram that are set to its mean, each up to time_mask frames or
    frequency_mask bins long ("SpecAugment", Park et al. 2019). mix: share of clips whose spectrogram and label are mixed
    with another clip's ("mixup", Zhang et al. 2018), the weight being Beta(1/2, 1/2). ramp_epochs: see `at`.
    """

    shift_s: float = 0.0
    speed: float = 0.0
    gain_db: float = 0.0
    noise: float = 0.0
    snr_db: tuple[float, float] = (0.0, 20.0)
    time_masks: int = 0
    time_mask: int = 20
    frequency_masks: int = 0
    frequency_mask: int = 10
    mix: float = 0.0
    ramp_epochs: int = 0

    def at(self, epoch: int) -> Augmentation:
        """What is left of it in an epoch: of what hides a clip (noise, masks, mix) the share epoch / ramp_epochs, up to 1.

        That is chances and lengths of masks. Clips are learned before they are hidden, and a training of few passes over
        them, which cannot overfit, hardly hides them. What else varies is of a clip that stays as easy to tell.
        """
        if epoch >= self.ramp_epochs:
            return self
        share = epoch / self.ramp_epochs
        time_mask, frequency_mask = round(share * self.time_mask), round(share * self.frequency_mask)
        return self._replace(
            noise=share * self.noise, time_mask=time_mask, frequency_mask=frequency_mask, mix=share * self.mix
        )

    def waveforms(
        self, clips: Tensor, sample_rate: int, seed: int, epoch: int, numbers: Tensor, noise: Tensor | None
    ) -> Tensor:
        """Shift, speed, noise and gain.

        Shape: clips, noise (batch, 1, time), numbers (batch,) -> (batch, 1, time); the noise is that of `noise_chances`.
        """
        draws = uniform(key("waveform", seed, epoch), numbers, 8)
        both_ways = 2 * draws - 1
        if self.shift_s or self.speed:
            clips = move_clips(clips, 1 + self.speed * both_ways[:, 0], self.shift_s * sample_rate * both_ways[:, 1])
        if self.noise:
            if noise is None:
                raise ValueError(
                    "noise is to be added and the batch has none; the data module gives it when asked for it"
                )
            low, high = self.snr_db
            chosen = draws[:, 4] < self.noise
            mixed = at_snr(clips, noise, low + (high - low) * draws[:, 5])
            clips = torch.where(chosen[:, None, None], mixed, clips)
        return clips * 10 ** (self.gain_db * both_ways[:, 6] / 20)[:, None, None] if self.gain_db else clips

    def weights(self, seed: int, epoch: int, numbers: Tensor) -> Tensor:
        """The weight of each clip in its mixture with its partner. Shape: numbers (batch,) -> (batch,)."""
        draws = uniform(key("mix", seed, epoch), numbers, 3)
        weight = torch.sin(torch.pi / 2 * draws[:, 1]).square()  # the inverse of Beta(1/2, 1/2)'s distribution function
        return torch.where(draws[:, 2] < self.mix, weight, torch.ones_like(weight))

    def spectrograms(self, spectrograms: Tensor, seed: int, epoch: int, numbers: Tensor) -> Tensor:
        """Masks. Shape: spectrograms (batch, channel, bins, frames), numbers (batch,) -> the same."""
        for what, count, longest, axis in (
            ("time", self.time_masks, self.time_mask, 3), ("frequency", self.frequency_masks, self.frequency_mask, 2),
        ):  # fmt: skip
            if count:
                draws = uniform(key(f"{what} masks", seed, epoch), numbers, 2 * count).view(-1, count, 2)
                spectrograms = mask_stretches(spectrograms, draws, longest, axis)
        return spectrograms


def noise_chances(seed: int, epoch: int, numbers: Tensor) -> Tensor:
    """Which noise is added to each clip. Shape: numbers (batch,) -> (batch, 2) in [0, 1): recording and place in it."""
    return uniform(key("waveform", seed, epoch), numbers, 8)[:, 2:4]


def partner_places(seed: int, epoch: int, numbers: Tensor, count: int) -> Tensor:
    """Which of `count` training clips each is mixed with. Shape: numbers (batch,) -> (batch,)."""
    return (uniform(key("mix", seed, epoch), numbers, 3)[:, 0] * count).long()


def partner_seed(seed: int) -> int:
    """The seed by which a partner is varied, apart from that of the clip that it is mixed with."""
    return key("partner", seed)


def move_clips(clips: Tensor, speed: Tensor, shift: Tensor) -> Tensor:
    """Clips played faster by `speed` about their middle, and later by `shift` samples; zeros beyond their ends.

    Between samples the value is interpolated linearly. Shape: clips (batch, 1, time), speed, shift (batch,).
    """
    time = clips.shape[-1]
    middle = (time - 1) / 2
    place = (torch.arange(time, device=clips.device) - middle - shift[:, None]) * speed[:, None] + middle
    before = place.floor()
    part = place - before
    index = before.long()
    waves = clips[:, 0]
    inside = (index >= 0) & (index < time), (index + 1 >= 0) & (index + 1 < time)
    left = waves.gather(1, index.clamp(0, time - 1)) * inside[0]
    right = waves.gather(1, (index + 1).clamp(0, time - 1)) * inside[1]
    return torch.lerp(left, right, part)[:, None]


def without_mean(waveforms: Tensor) -> Tensor:
    """Waveforms without what cannot be heard of them, their mean; what is constant becomes exactly 0. Shape: (batch, 1, time)."""
    centred = waveforms - waveforms.mean(-1, keepdim=True)
    return torch.where((waveforms == waveforms[..., :1]).all(-1, keepdim=True), torch.zeros_like(centred), centred)


def at_snr(clips: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Clips with noise added at `snr_db` of what can be heard, means taken out; silent clips, and silent noise, are left alone.

    Shape: clips, noise (batch, 1, time), snr_db (batch,) -> (batch, 1, time).
    """
    noise = without_mean(noise)
    power, other = (x.square().mean((1, 2)) for x in (without_mean(clips), noise))
    ratio = power / other / 10 ** (snr_db / 10)
    gain = torch.where((power > 0) & torch.isfinite(ratio), ratio, torch.zeros_like(ratio)).sqrt()
    return clips + gain[:, None, None] * noise


def mask_stretches(spectrograms: Tensor, draws: Tensor, longest: int, axis: int) -> Tensor:
    """Stretches along an axis set to the mean of each spectrogram.

    Shape: spectrograms (batch, channel, bins, frames), draws (batch, masks, 2) in [0, 1): length and place.
    """
    size = spectrograms.shape[axis]
    length = (draws[..., 0] * (min(longest, size) + 1)).floor()
    first = (draws[..., 1] * (size - length + 1)).floor()
    place = torch.arange(size, device=draws.device)
    hidden = ((place >= first[..., None]) & (place < (first + length)[..., None])).any(1)  # (batch, size)
    shape = [len(spectrograms), 1, 1, 1]
    shape[axis] = size
    return torch.where(hidden.view(shape), spectrograms.mean((1, 2, 3), keepdim=True), spectrograms)
