"""The denoising labs' figures: waveforms, spectra, spectrograms, response, filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from speechml.callbacks.figure_callback import FigureCallback
from speechml.callbacks.listening import denoise_recordings
from speechml.contracts import ItemKind
from speechml.models import FIR, MIMOCNN
from speechml.report.drawing import COLOURS, HOP, N_FFT, draw_spectra, draw_spectrograms, draw_waveforms, make_axes
from speechml.tasks.waveform_denoising import WaveformDenoiser

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from speechml.tasks.denoising import DenoisingTask

VERSIONS = ("noisy", "denoised", "clean")  # from top to bottom


class Figures(FigureCallback):
    """Draws when a denoiser has been tested: waveforms, spectra, spectrograms, loss per epoch."""

    item_kind = ItemKind.PAIRS

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Figure]:
        task = cast("DenoisingTask", module)
        recordings = [
            (name, {version: versions[version].numpy() for version in VERSIONS if version in versions})
            for name, versions in denoise_recordings(trainer, module, "test", 1)
        ]
        rate, (n_fft, hop) = task.sample_rate, frames_of(task)
        name, waves = recordings[0]
        figures = {"waveforms": draw_waveforms(waves, rate, name), "spectra": draw_spectra(waves, rate, name, n_fft)}
        for name, waves in recordings:
            figures[f"spectrogram_{name.replace('/', '_')}"] = draw_spectrograms(waves, rate, name, n_fft, hop)
        if isinstance(task, WaveformDenoiser) and task.wiener is not None and task.record is None:
            before, after, _ = task.reach()
            if not after:  # of a network that looks ahead no impulse at the first sample shows all
                figures["response"] = draw_response(task, task.wiener, before + 1)
        if layers := layers_of(task.net):
            figures["filters"] = draw_filters(layers, task.sample_rate)
        return figures


def frames_of(task: nn.Module) -> tuple[int, int]:
    """Length and distance of the frames that a network sees, in samples; those of our pictures where it sees none."""
    own = [(part.n_fft, part.hop) for part in task.modules() if hasattr(part, "n_fft") and hasattr(part, "hop")]
    return cast("tuple[int, int]", own[0]) if own else (N_FFT, HOP)


def layers_of(net: nn.Module) -> list[np.ndarray]:
    """The learned filters of each layer of a network that is made of them, (tap, feature out, feature in) each."""
    layers = list(net.filters) if isinstance(net, MIMOCNN) else [net.taps] if isinstance(net, FIR) else []
    return [taps.detach().float().cpu().numpy() for taps in layers]


def draw_filters(layers: Sequence[np.ndarray], sample_rate: int) -> Figure:
    """Draw the gain of every filter against frequency, a panel for each layer. Shape: (tap, feature out, feature in) each.

    A feature between two layers has one colour, in front of the filters that it goes through and behind those it comes from.
    """
    figure, axes = make_axes(len(layers), share_x=True)
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


def gain_db(taps: np.ndarray, sample_rate: int, min_size: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz up to half the sample rate, and the gain in dB of a filter at each. Shape: (tap,) -> (bins,) twice.

    Args:
        min_size: samples of the Fourier transform, at least.
    """
    size = max(min_size, 1 << (len(taps) - 1).bit_length() + 2)
    gain = 20 * np.log10(np.abs(np.fft.rfft(taps, size)) + 1e-6)
    return np.fft.rfftfreq(size, 1 / sample_rate), gain


def draw_response(task: WaveformDenoiser, wiener: Tensor, taps: int) -> Figure:
    """Draw the gain of the network around silence against frequency, beside the Wiener filter of the same length.

    Args:
        task: with the network.
        wiener: (time,).
        taps: receptive field of the network, in samples.
    """
    figure, (axis,) = make_axes()
    with torch.no_grad():
        # A step small against the recordings finds the linear part of the network, tanh'(0) = 1.
        step = 1e-3 * float(task.level)
        impulse = torch.zeros(1, 1, taps, device=task.device)
        impulse[..., 0] = step
        # At the level of training: a network that follows the level would make a loud signal of the impulse.
        response = task.denoise(impulse, task.level) - task.denoise(torch.zeros_like(impulse), task.level)
        own = response[0, 0].double() / step
    for label, response, role in ((f"Wiener filter, {len(wiener)} taps", wiener, "reference"), ("network", own, "val")):
        hertz, gain = gain_db(response.cpu().numpy(), task.sample_rate, min_size=8192)
        axis.plot(hertz / 1000, gain, linewidth=0.9, label=label, color=COLOURS[role][0])
    axis.set(xlabel="frequency (kHz)", ylabel="gain (dB)", title="response to a small impulse", ylim=(-100, 20))
    axis.legend()
    return figure
