"""The denoising labs' figures: waveforms, spectra, spectrograms, response."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from speechml.callbacks.drawing import Drawings, canvas
from speechml.callbacks.listening import examples, unpaired
from speechml.models import FIR, MIMOCNN
from speechml.signal.stft import STFT

COLUMNS = 1000  # about as many pixels as a figure is wide


class Figures(Drawings):
    """Draws when a denoiser has been tested: waveforms, spectra, spectrograms, loss per epoch."""

    def drawn(self, trainer: pl.Trainer, module: Any) -> dict[str, Any]:
        name, versions = examples(trainer, module, "test", 1)[0]
        waves = {version: waveform.numpy() for version, waveform in versions.items()}
        figures = {
            "waveforms": waveforms(waves, module.sample_rate, name),
            "spectra": spectra(waves, module.sample_rate, name),
        }
        for title, given in [(name, versions), *unpaired(trainer, module)]:
            figures[f"spectrogram_{title.replace('/', '_')}"] = spectrograms(given, module.sample_rate, title)
        if getattr(module, "wiener", None) is not None and module.receptive_field is not None:
            figures["response"] = response(module)
        if layers := layers_of(module.net):
            figures["filters"] = filters(layers, module.sample_rate)
        return figures


def waveforms(waves: dict[str, np.ndarray], sample_rate: int, name: str) -> Any:
    """Noisy below clean, and denoised below clean, against time."""
    figure, axes = canvas(2, sharex=True)
    time = np.arange(len(waves["clean"])) / sample_rate
    for axis, (version, colour) in zip(axes, (("noisy", "tab:gray"), ("denoised", "tab:orange")), strict=True):
        axis.plot(*extremes(time, waves[version]), color=colour, linewidth=0.6, label=version)
        axis.plot(*extremes(time, waves["clean"]), color="tab:blue", linewidth=0.6, label="clean", alpha=0.8)
        axis.set_ylabel("amplitude")
        axis.legend(loc="upper right")
    axes[0].set_title(name)
    axes[1].set_xlabel("time (s)")
    return figure


def extremes(places: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A long curve as what a figure shows of it: its least and greatest value in each of COLUMNS stretches.

    Shape: (points,), (points,) -> the same, or (2 * COLUMNS,) each where that is less.
    """
    each = len(values) // COLUMNS
    if each < 4:
        return places, values
    whole = values[: each * COLUMNS].reshape(COLUMNS, each)
    ends = np.stack([whole.min(1), whole.max(1)], axis=1)
    ends[-1] = min(ends[-1, 0], values[-each:].min()), max(ends[-1, 1], values[-each:].max())
    return np.repeat(places[: each * COLUMNS : each], 2), ends.reshape(-1)


def spectra(waves: dict[str, np.ndarray], sample_rate: int, name: str) -> Any:
    """Magnitudes of the Fourier transform up to half the sample rate."""
    figure, axis = canvas()
    frequency = np.fft.rfftfreq(len(waves["clean"]), 1 / sample_rate) / 1000
    for version, colour in (("noisy", "tab:gray"), ("clean", "tab:blue"), ("denoised", "tab:orange")):
        magnitude = 20 * np.log10(np.abs(np.fft.rfft(waves[version])) + 1e-12)
        axis.plot(*extremes(frequency, magnitude), color=colour, linewidth=0.5, label=version, alpha=0.8)
    top = 20 * np.log10(np.abs(np.fft.rfft(waves["noisy"])).max() + 1e-12)
    axis.set_ylim(top - 120, top + 10)
    axis.set(xlabel="frequency (kHz)", ylabel="|FFT| (dB)", title=name, xlim=(0, sample_rate / 2000))
    axis.legend(loc="upper right")
    return figure


def spectrograms(versions: dict[str, torch.Tensor], sample_rate: int, name: str) -> Any:
    """Noisy, denoised and, where there is one, clean, one above the other: dB below the loudest, frames of 1024 samples."""
    order = [version for version in ("noisy", "denoised", "clean") if version in versions]
    figure, axes = canvas(len(order), sharex=True)
    levels = {v: 20 * torch.log10(STFT()(versions[v]).abs() + 1e-9).T.numpy() for v in order}
    top = max(float(level.max()) for level in levels.values())
    for axis, version in zip(np.atleast_1d(axes), order, strict=True):
        seconds = len(versions[version]) / sample_rate
        axis.grid(False)
        image = axis.imshow(
            levels[version], origin="lower", aspect="auto", vmin=top - 80, vmax=top, cmap="magma",
            extent=(0, seconds, 0, sample_rate / 2000),
        )  # fmt: skip
        axis.set_ylabel(f"{version}\nfrequency (kHz)")
    axes[0].set_title(name)
    axes[-1].set_xlabel("time (s)")
    figure.colorbar(image, ax=list(axes), label="dB")
    return figure


def layers_of(net: Any) -> list[np.ndarray]:
    """The learned filters of each layer of a network that is made of them, (tap, feature out, feature in) each."""
    found = list(net.filters) if isinstance(net, MIMOCNN) else [net.taps] if isinstance(net, FIR) else []
    return [taps.detach().float().cpu().numpy() for taps in found]


def filters(layers: list[np.ndarray], sample_rate: int) -> Any:
    """Gain against frequency of every filter, a panel for each layer. Shape: (tap, feature out, feature in) each.

    A feature between two layers has one colour, in front of the filters that it goes through and behind those it comes from.
    """
    figure, axes = canvas(len(layers), sharex=True)
    axes = np.atleast_1d(axes)
    for number, (axis, taps) in enumerate(zip(axes, layers, strict=True), 1):
        last = number == len(layers) and number > 1
        for out, into in np.ndindex(*taps.shape[1:]):
            hertz, gain = gain_db(taps[:, out, into], sample_rate)
            axis.plot(hertz / 1000, gain, linewidth=0.8, color=f"C{into if last else out}")
        count = taps.shape[1] * taps.shape[2]
        what = "1 filter" if count == 1 else f"{count} filters (a colour for each feature)"
        axis.set(ylabel="gain (dB)", title=f"layer {number}: {what} of {len(taps)} taps")
    axes[-1].set(xlabel="frequency (kHz)", xlim=(0, sample_rate / 2000))
    return figure


def gain_db(taps: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz up to half the sample rate, and the gain in dB of a filter at each. Shape: (tap,) -> (bins,) twice."""
    size = max(1024, 1 << (len(taps) - 1).bit_length() + 2)
    gain = 20 * np.log10(np.abs(np.fft.rfft(taps, size)) + 1e-6)
    return np.fft.rfftfreq(size, 1 / sample_rate), gain


def response(module: Any) -> Any:
    """Gain against frequency of the network around silence, beside the Wiener filter of the same length."""
    figure, axis = canvas()
    size = 8192
    taps = module.receptive_field
    with torch.no_grad():
        # A step small against the recordings finds the linear part of the network, tanh'(0) = 1.
        step = 1e-3 * float(module.level)
        impulse = torch.zeros(1, 1, taps, device=module.device)
        impulse[..., 0] = step
        own = (module(impulse) - module(torch.zeros_like(impulse)))[0, 0].cpu().double().numpy() / step
    frequency = np.fft.rfftfreq(size, 1 / module.sample_rate) / 1000
    for label, filter_ in (
        (f"Wiener filter, {len(module.wiener)} taps", module.wiener.cpu().numpy()),
        ("network", own),
    ):
        axis.plot(frequency, 20 * np.log10(np.abs(np.fft.rfft(filter_, size)) + 1e-6), linewidth=0.9, label=label)
    axis.set(xlabel="frequency (kHz)", ylabel="gain (dB)", title="response to a small impulse", ylim=(-100, 20))
    axis.legend()
    return figure
