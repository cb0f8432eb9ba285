"""Figures, each drawn by one function for the folder of a run, its page and TensorBoard: curves, and those of waveforms."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (9.0, 4.0)  # inches
CURVES_SIZE = (6.0, 3.4)  # two side by side in a page
DPI = 110
COLUMNS = 1000  # about as many pixels as a figure is wide
MAX_VALUE = 1e100  # beyond, and NaN, is no value of a curve
RANGE_DB = 80.0  # of a spectrogram
N_FFT, HOP = 1024, 256  # length and distance of a spectrogram's frames, in samples
# The colours of what is drawn, in figures and on light pages, then on dark ones: after Okabe and Ito's palette, which the
# colour-blind tell apart.
COLOURS = {
    "train": ("#0072b2", "#56b4e9"), "val": ("#c35400", "#f0904a"), "test": ("#00795a", "#2fc79a"),
    "input": ("#6b7076", "#a4abb3"), "reference": ("#a3457d", "#dc93bd"),
}  # fmt: skip
VERSION_COLOURS = {"noisy": COLOURS["input"][0], "clean": COLOURS["train"][0], "denoised": COLOURS["val"][0]}
POSITIVE = ("l1", "mse", "mse_sum", "mr_stft", "cross entropy")  # losses and scores, neither in dB nor ever below zero

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


def is_logarithmic(values: Sequence[float], what: str) -> bool:
    """Whether an axis of these values is: of a score or loss that is neither in dB nor has a sign, over more than a decade."""
    return what in POSITIVE and min(values) > 0 and max(values) > 10 * min(values)


def draw_curves(curves: Mapping[str, Curve], label: str, what: str = "") -> Figure | None:
    """Draw scores against the epoch, each in the colour of its split; None where no curve has a finite value.

    Args:
        what: the score or loss by its own name, which says whether it may be drawn logarithmically.
    """
    finite = {name: [point for point in curve if abs(point[1]) < MAX_VALUE] for name, curve in curves.items()}
    values = [value for curve in finite.values() for _, value in curve]
    if not values:
        return None
    from matplotlib.ticker import MaxNLocator

    figure, (axis,) = make_axes(size=CURVES_SIZE)
    for name, curve in finite.items():
        if curve:
            colour, _ = COLOURS.get(name.partition("/")[0], (None, None))
            axis.plot(*zip(*curve, strict=True), marker="o", markersize=3, label=literal(name), color=colour)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if is_logarithmic(values, what):
        axis.set_yscale("log")
    axis.set(xlabel="epoch", ylabel=literal(label), title=literal(f"{label} per epoch"))
    if len(axis.lines) > 1:
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


def draw_spectra(waves: Mapping[str, np.ndarray], sample_rate: int, name: str, n_fft: int = N_FFT) -> Figure:
    """Draw the spectra of a recording's versions, averaged over frames as Welch does. Shape of each: (time,)."""
    figure, (axis,) = make_axes()
    for version in [version for version in VERSION_COLOURS if version in waves]:
        hertz, level = welch_db(waves[version], sample_rate, n_fft)
        axis.plot(hertz / 1000, level, color=VERSION_COLOURS[version], linewidth=1.2, label=version)
    top = max(float(line.get_ydata().max()) for line in axis.lines)  # type: ignore[union-attr]
    axis.set_ylim(top - 100, top + 5)
    axis.set(xlabel="frequency (kHz)", ylabel="power density (dB per Hz)", xlim=(0, sample_rate / 2000))
    axis.set_title(literal(f"{name}, averaged over frames of {n_fft} samples"))
    axis.legend(loc="upper right")
    return figure


def draw_spectrograms(waves: Mapping[str, np.ndarray], sample_rate: int, name: str, n_fft: int, hop: int) -> Figure:
    """Draw the spectrograms of a recording's versions below one another, on one scale. Shape of each: (time,)."""
    figure, axes = make_axes(len(waves), share_x=True)
    levels = {version: spectrogram_db(wave, n_fft, hop) for version, wave in waves.items()}
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


def spectrogram_db(wave: np.ndarray, n_fft: int = N_FFT, hop: int = HOP, columns: int = COLUMNS) -> np.ndarray:
    """Power of Hann frames in dB, at most about `columns` of them. Shape: (time,) -> (frequency, frame)."""
    hop = max(hop, -(-len(wave) // columns))
    padded = np.pad(wave, (0, max(0, n_fft - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(n_fft), axis=1)) ** 2
    return np.asarray(10 * np.log10(power + 1e-12)).T


def welch_db(wave: np.ndarray, sample_rate: int, n_fft: int = N_FFT) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz, and the mean power density of frames that overlap by half, in dB of full scale squared per Hz.

    Shape: (time,) -> (bins,) twice.
    """
    power = 10 ** (spectrogram_db(wave, n_fft, n_fft // 2, columns=len(wave)) / 10)
    scale = 2 / (sample_rate * (np.hanning(n_fft) ** 2).sum())  # Welch (1967), of one-sided spectra
    return np.fft.rfftfreq(n_fft, 1 / sample_rate), 10 * np.log10(scale * power.mean(1))


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
