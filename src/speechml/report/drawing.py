"""Figures, each drawn by one function for the folder of a run, its page and TensorBoard: curves, and those of waveforms."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from speechml.runs.card import LevelCurve

SIZE = (9.0, 4.0)  # inches
CURVES_SIZE = (6.0, 3.4)  # two side by side in a page
DPI = 110
COLUMNS = 1000  # about as many pixels as a figure is wide
MAX_VALUE = 1e100  # beyond, and NaN, is no value of a curve
RANGE_DB = 80.0  # of a spectrogram
N_FFT = 1024  # samples of a spectrogram's frame
VERSION_COLOURS = {"noisy": "tab:gray", "clean": "tab:blue", "denoised": "tab:orange"}
# Colours of curves and settings, as page.css has them for light pages.
PALETTE = ("#2b6cb0", "#c2571a", "#2f855a", "#8b3fa0", "#b7791f", "#0f8b8d", "#c53064", "#5a6572")

Curve = Sequence[tuple[float, float]]  # (epoch, from 1; value)


def make_axes(
    rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None, share_x: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure of a size in inches and its axes, row by row, without pyplot: nothing global, no need of a screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size or (SIZE[0], SIZE[1] * (1 if rows == 1 else 1.4)), layout="constrained", dpi=DPI)
    axes = list(figure.subplots(rows, columns, sharex=share_x, squeeze=False).flat)
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure, axes


def pixels(figure: Figure) -> np.ndarray:
    """Render a figure once, for the file and for TensorBoard. Shape: (height, width, 4), uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def png(picture: np.ndarray) -> bytes:
    """Encode a picture, as `pixels` gives it, as PNG."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, picture, format="png")
    return file.getvalue()


def literal(text: str) -> str:
    """Text as it stands: between two dollar signs, matplotlib would read a formula."""
    return text.replace("$", r"\$")


def draw_curves(curves: Mapping[str, Curve], label: str, colours: Sequence[int] | None = None) -> Figure | None:
    """Draw scores against the epoch; logarithmic where all are positive and spread over more than a decade.

    Args:
        colours: numbers in PALETTE, where something else tells the names; None: one each, with a legend.

    Returns:
        None where no curve has a finite value.
    """
    finite = {name: [point for point in curve if abs(point[1]) < MAX_VALUE] for name, curve in curves.items()}
    values = [value for curve in finite.values() for _, value in curve]
    if not values:
        return None
    from matplotlib.ticker import MaxNLocator

    figure, (axis,) = make_axes(size=CURVES_SIZE)
    for number, (name, curve) in enumerate(finite.items()):
        if curve:
            colour = PALETTE[(colours[number] if colours else number) % len(PALETTE)]
            epochs, heights = zip(*curve, strict=True)
            axis.plot(epochs, heights, marker="o", markersize=3, label=literal(name), color=colour)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if min(values) > 0 and max(values) > 10 * min(values):
        axis.set_yscale("log")
    axis.set(xlabel="epoch", ylabel=literal(label), title=literal(f"{label} per epoch"))
    if colours is None and len(axis.lines) > 1:
        axis.legend()
    return figure


def draw_level_curve(curve: LevelCurve, label: str) -> Figure:
    """Draw a score against the level of what the network is given, and where its own test items lie."""
    figure, (axis,) = make_axes(size=CURVES_SIZE)
    axis.plot(curve.levels_db, curve.scores, marker="o", markersize=3, label="brought to a level", color=PALETTE[0])
    axis.plot([curve.own_db], [curve.own], marker="D", linestyle="", label="as they are", color=PALETTE[1])
    axis.set(xlabel="level of the input (RMS, dBFS)", ylabel=literal(label), title=literal(f"{label} against level"))
    if max(curve.scores) - min(curve.scores) < 1:  # a flat curve looks flat
        axis.set_ylim(min(*curve.scores, curve.own) - 0.5, max(*curve.scores, curve.own) + 0.5)
    axis.legend()
    return figure


def draw_waveforms(waves: Mapping[str, np.ndarray], sample_rate: int, name: str) -> Figure:
    """Draw the noisy and the denoised version of a recording, each with the clean one. Shape of each: (time,)."""
    figure, axes = make_axes(2, share_x=True)
    time = np.arange(len(waves["clean"])) / sample_rate
    for axis, version in zip(axes, ("noisy", "denoised"), strict=True):
        for each, alpha in ((version, 1.0), ("clean", 0.8)):
            line = thin_out(time, waves[each])
            axis.plot(*line, color=VERSION_COLOURS[each], linewidth=0.6, label=each, alpha=alpha)
        axis.set_ylabel("amplitude")
        axis.legend(loc="upper right")
    axes[0].set_title(literal(name))
    axes[1].set_xlabel("time (s)")
    return figure


def draw_spectra(waves: Mapping[str, np.ndarray], sample_rate: int, name: str) -> Figure:
    """Draw the magnitudes of the Fourier transforms of a recording's versions. Shape of each: (time,)."""
    figure, (axis,) = make_axes()
    frequency = np.fft.rfftfreq(len(waves["clean"]), 1 / sample_rate) / 1000
    for version, colour in VERSION_COLOURS.items():
        magnitude = 20 * np.log10(np.abs(np.fft.rfft(waves[version])) + 1e-12)
        axis.plot(*thin_out(frequency, magnitude), color=colour, linewidth=0.5, label=version, alpha=0.8)
    top = 20 * np.log10(np.abs(np.fft.rfft(waves["noisy"])).max() + 1e-12)
    axis.set_ylim(top - 120, top + 10)
    axis.set(xlabel="frequency (kHz)", ylabel="|FFT| (dB)", title=literal(name), xlim=(0, sample_rate / 2000))
    axis.legend(loc="upper right")
    return figure


def draw_spectrograms(waves: Mapping[str, np.ndarray], sample_rate: int, name: str) -> Figure:
    """Draw the spectrograms of a recording's versions below one another, on one scale. Shape of each: (time,)."""
    figure, axes = make_axes(len(waves), share_x=True)
    levels = {version: spectrogram_db(wave) for version, wave in waves.items()}
    top = max(float(level.max()) for level in levels.values())
    for axis, (version, level) in zip(axes, levels.items(), strict=True):
        axis.grid(False)
        extent = (0, len(waves[version]) / sample_rate, 0, sample_rate / 2000)
        image = axis.imshow(
            level, origin="lower", aspect="auto", vmin=top - RANGE_DB, vmax=top, cmap="magma", extent=extent
        )
        axis.set_ylabel(f"{version}\nfrequency (kHz)")
    axes[0].set_title(literal(name))
    axes[-1].set_xlabel("time (s)")
    figure.colorbar(image, ax=axes, label="dB")
    return figure


def spectrogram_db(wave: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    """Power of Hann frames of N_FFT samples in dB, at most about `columns` frames. Shape: (time,) -> (frequency, frame)."""
    hop = max(N_FFT // 4, -(-len(wave) // columns))
    padded = np.pad(wave, (0, max(0, N_FFT - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(N_FFT), axis=1)) ** 2
    return np.asarray(10 * np.log10(power + 1e-12)).T


def envelope(values: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    """Least and greatest value in each of so many equal stretches, fewer where values are few. Shape: -> (columns, 2)."""
    edges = np.linspace(0, len(values), min(columns, len(values)) + 1).astype(int)[:-1]
    return np.stack([np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)], axis=1)


def thin_out(places: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a long curve to its envelope, which looks the same. Shape: (points,) twice -> the same, or fewer points."""
    if len(values) < 4 * COLUMNS:
        return places, values
    edges = np.linspace(0, len(values), COLUMNS + 1).astype(int)[:-1]
    return np.repeat(places[edges], 2), envelope(values).reshape(-1)
