"""Whether the two waveforms of a pair belong together: delay, polarity, level and partner, by one cross-correlation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from speechml.storage.audio import Samples

Wave = NDArray[np.float64]
MEASURING = 2  # raise it when `measure` gives other results: what is kept of it is then measured anew
LONGEST = 1 << 20  # samples that are compared, from the middle of a recording: a minute at 16 kHz
SHORTEST = 1024  # below which nothing is said
CELLS = 32  # bands, and stretches of time, of equal clean energy, whose agreement tells a pair from a chance likeness
CERTAIN = 6.0  # standard errors
NEAR = 64  # samples to both sides of a lag, in which a filter shows itself
OFF_LEVEL_DB = 1.0  # from which a level is another
ALIGNED_S = 0.5  # longest delay that is taken out on request


class Fit(NamedTuple):
    """What noisy = gain * clean, `delay` samples later, + noise comes to; a true pair has 0 and 1.

    flaw: `partner` (nothing of the clean waveform is in the noisy one) or `silent` (the noisy one is, the clean one is not);
    delay and gain say nothing then. mirrored: whether the noisy waveform is the weaker one, and clean = noisy + noise.
    shift, cut: samples of delay that were taken out, and by which the longer of the two was cut.
    """

    delay: int = 0
    gain: float = 1.0
    flaw: str = ""
    mirrored: bool = False
    shift: int = 0
    cut: int = 0


def measure(noisy: Samples, clean: Samples) -> Fit:
    """How a noisy waveform fits its clean one; where noise or a filter hides the answer, that it fits.

    Shape: (time,) twice, of one rate.

    Raises:
        ValueError: they differ in length.
    """
    if len(noisy) != len(clean):
        raise ValueError(f"waveforms must be of one length, not {len(noisy)} and {len(clean)}")
    x, s = (_middle(wave) for wave in (noisy, clean))
    power, clean_power = float(x @ x), float(s @ s)
    if len(s) < SHORTEST or not clean_power:
        return Fit()
    if not power:
        return Fit(flaw="silent")
    scale = float(np.sqrt(power / clean_power))  # of amplitudes
    spectra = Spectra.of(x / np.sqrt(power), s / np.sqrt(clean_power))
    likeness = spectra.at(0)  # a correlation coefficient, as all below; times `scale` it is a gain
    mirrored = scale < 0.99 and abs(likeness / scale - 1) < 0.1
    lag = spectra.best_lag()
    if lag == 0 and abs(level_db(likeness * scale)) < OFF_LEVEL_DB and likeness > 0:
        return Fit(mirrored=mirrored)
    error = spectra.error_at(lag)
    if not spectra.surpasses(lag, error):
        lag = 0
    likeness = spectra.at(lag) / spectra.overlap(lag)
    noise = float(np.sqrt(np.mean(error**2)))  # standard error of the likeness
    strong = abs(likeness) > 0.1 or abs(likeness * scale) > 0.5
    is_found = abs(likeness) > CERTAIN * noise
    if strong and is_found and spectra.agreement(lag) > CERTAIN:
        gain = likeness * scale
        if (gain < 0 or 0 < abs(lag) <= NEAR) and spectra.is_smeared(lag, error):  # so it is no delay and no polarity
            return Fit(mirrored=mirrored)
        is_off = abs(level_db(gain)) > OFF_LEVEL_DB and abs(abs(gain) - 1) > CERTAIN * noise * scale
        return Fit(lag, gain if is_off else float(np.sign(gain)), "", mirrored)
    # The most that chance allows the two to have in common is less than half of what a true pair has.
    is_stranger = not is_found and (abs(likeness) + CERTAIN * noise) * scale < 0.5
    return Fit(flaw="partner" if is_stranger else "", mirrored=mirrored)


def _middle(waveform: Samples) -> Wave:
    """At most LONGEST samples, in [-1, 1), without their mean."""
    first = max(0, (len(waveform) - LONGEST) // 2)
    wave = as_float(waveform[first : first + LONGEST]).astype(np.float64)
    return wave - wave.mean() if len(wave) else wave


def as_float(waveform: Samples) -> NDArray[np.float32]:
    """Samples in [-1, 1), whatever `audio.load` gives."""
    return (waveform / 32768 if waveform.dtype == np.int16 else waveform).astype(np.float32, copy=False)


def level_db(gain: float) -> float:
    """A gain in dB, whatever its sign."""
    return float(20 * np.log10(max(abs(gain), 1e-9)))


class Spectra(NamedTuple):
    """Two waveforms of energy 1, their spectra, correlation r(l) = sum x(n + l) s(n), and energies of s up to each sample."""

    x: Wave
    s: Wave
    cross: NDArray[np.complex128]
    power: Wave
    r: Wave
    energy: Wave

    @classmethod
    def of(cls, x: Wave, s: Wave) -> Spectra:
        """Those of a noisy and a clean waveform of energy 1. Shape: (time,) twice."""
        size = 1 << (2 * len(s) - 1).bit_length()
        clean = np.fft.rfft(s, size)
        cross = np.fft.rfft(x, size) * clean.conj()
        return cls(x, s, cross, np.abs(clean) ** 2, np.fft.irfft(cross, size), np.r_[0.0, np.cumsum(s**2)])

    @property
    def lags(self) -> NDArray[np.int64]:
        """Delays that are looked at, in samples. Shape: (lags,)."""
        half = len(self.s) // 2
        return np.arange(-half, half + 1)

    def at(self, lag: int) -> float:
        """The correlation at a lag in samples."""
        return float(self.r[lag])

    def overlap(self, lag: int) -> float:
        """Energy of the clean waveform that lies within the noisy one at a lag."""
        end = len(self.s) - max(lag, 0)
        return float(self.energy[end] - self.energy[max(-lag, 0)])

    def best_lag(self) -> int:
        """Where the correlation is largest for the clean energy that overlaps."""
        lags = self.lags
        inside = self.energy[len(self.s) - np.maximum(lags, 0)] - self.energy[np.maximum(-lags, 0)]
        strength = np.where(inside > 0.25, np.abs(self.r[lags]) / np.sqrt(np.maximum(inside, 1e-9)), 0)
        return int(lags[strength.argmax()])

    def error_at(self, lag: int) -> Wave:
        """What is left of r(l) when the clean waveform has been taken out at a lag. Shape: (lags,)."""
        size = len(self.r)
        turn = np.exp(-2j * np.pi * lag / size * np.arange(len(self.power)))
        left = np.fft.irfft(self.cross - self.at(lag) * self.power * turn, size)
        return np.asarray(left[self.lags])

    def surpasses(self, lag: int, error: Wave) -> bool:
        """Whether the correlation at a lag is larger than at 0 by more than noise explains."""
        if lag == 0:
            return False
        size = abs(lag)
        spread = float(np.sqrt(np.mean((error[size:] - error[:-size]) ** 2))) if size < len(error) else 0.0
        more = abs(self.at(lag)) / np.sqrt(self.overlap(lag)) - abs(self.at(0))
        return bool(more > CERTAIN * spread + 1e-4 * abs(self.at(lag)))

    def is_smeared(self, lag: int, error: Wave) -> bool:
        """Whether more than noise is left around a lag, as where a filter or a room has spread the clean waveform in time."""
        left = np.abs(error[np.abs(self.lags - lag) <= NEAR]).max()
        return bool(left > 0.2 * abs(self.at(lag)) + 3 * float(np.sqrt(np.mean(error**2))))

    def agreement(self, lag: int) -> float:
        """Gain at a lag in its standard errors, by how alike it is in bands and in stretches of time, whichever is less."""
        turn = np.exp(2j * np.pi * lag / len(self.r) * np.arange(len(self.power)))
        shifted = np.zeros_like(self.x)
        begin, end = max(-lag, 0), len(self.s) - max(lag, 0)
        shifted[begin:end] = self.x[begin + lag : end + lag]
        return min(_steadiness((self.cross * turn).real, self.power), _steadiness(shifted * self.s, self.s**2))


def _steadiness(products: Wave, energies: Wave) -> float:
    """Their ratio in standard errors, as CELLS of equal energy give it. Shape: (places,) twice."""
    share = np.cumsum(energies)
    edges = np.searchsorted(share, share[-1] * np.arange(1, CELLS) / CELLS)
    starts = np.unique(np.r_[0, edges[edges < len(energies)]])
    own, energy = np.add.reduceat(products, starts), np.add.reduceat(energies, starts)
    ratio = own.sum() / energy.sum()
    deviation = np.sqrt(((own - ratio * energy) ** 2).sum() * len(starts) / max(len(starts) - 1, 1)) / energy.sum()
    return float(abs(ratio) / deviation) if deviation > 0 else np.inf


def fit_notes(names: Sequence[str], fits: Sequence[Fit], rate: int, can_align: bool) -> list[str]:
    """A sentence for each way in which pairs do not fit: how many, and which one is the worst.

    Args:
        names: of the pairs.
        fits: of each.
        rate: Hz.
        can_align: whether `data.align` would take delays out.
    """
    total, notes = len(fits), list[str]()

    def add(text: str, size: Callable[[Fit], float]) -> None:
        """A note on the pairs of which `size` is not 0; `text` takes the worst of them."""
        if found := [(size(fit), name, fit) for name, fit in zip(names, fits, strict=True) if size(fit)]:
            _, name, fit = max(found, key=lambda one: one[0])
            how = f"{len(found)} of {total} pairs: " if total > 1 else ""
            notes.append(how + text.format(name=f" (worst: {name})" if total > 1 else "", **_figures(found, fit, rate)))

    fix = "; data.align=true takes it out" if can_align else ""
    if any(abs(fit.delay) > ALIGNED_S * rate for fit in fits):
        fix = f"; data.align takes out {ALIGNED_S:g} s at most"
    add(f"noisy and clean are not at the same time: noisy is {{delay}}{{name}}{fix}", lambda fit: abs(fit.delay))
    add("the noisy recording is inverted against the clean one{name}", lambda fit: fit.gain < 0)
    add("speech is {level} in the noisy recording than in the clean one{name}",
        lambda fit: abs(level_db(fit.gain)))  # fmt: skip
    add(
        "nothing of the clean recording is found in the noisy one: a wrong partner?{name}",
        lambda fit: fit.flaw == "partner",
    )
    add("the noisy recording is silent and the clean one is not{name}", lambda fit: fit.flaw == "silent")
    add("the noisy recording was shifted by its delay, {shift} at most{name}", lambda fit: abs(fit.shift))
    add("noisy and clean differed in length, by {cut} at most, and were cut to the shorter{name}", lambda fit: fit.cut)
    if sum(fit.mirrored for fit in fits) > 0.9 * total:
        notes.append(
            "the noisy recordings are weaker than the clean ones and have no noise of their own: are the two swapped?"
        )
    return notes


def _figures(found: Sequence[tuple[float, str, Fit]], worst: Fit, rate: int) -> dict[str, str]:
    """What notes say of the worst pair, and of delays whether all are the same."""
    sizes, late = {fit.delay for _, _, fit in found}, "late" if worst.delay > 0 else "early"
    delay = f"{abs(worst.delay)} samples ({1000 * abs(worst.delay) / rate:.1f} ms) {late}"
    db = level_db(worst.gain)
    return {
        "delay": delay if len(sizes) == 1 else f"up to {delay}", "level": f"{abs(db):.1f} dB {'louder' if db > 0 else 'weaker'}",
        "shift": count_samples(worst.shift), "cut": count_samples(worst.cut),
    }  # fmt: skip


def count_samples(count: int) -> str:
    """A number of samples in words, whatever its sign."""
    return f"{abs(count)} sample{'s' * (abs(count) != 1)}"
