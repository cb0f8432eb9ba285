"""The figures of a run, each drawn by one function: for its folder, its page and TensorBoard alike."""

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
MIN_SHARE = 1 / 1000  # pairs rarer than this share of all items are not drawn, as in the R torch book, chapter 22
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
    """Make a figure and its axes, row by row, without pyplot: nothing global, nothing that needs a screen.

    Args:
        rows, columns: of axes.
        size: width and height in inches.
        share_x: whether the axes have one x-axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size or (SIZE[0], SIZE[1] * (1 if rows == 1 else 1.4)), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, sharex=share_x, squeeze=False).flat)
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure, axes


def pixels(figure: Figure) -> np.ndarray:
    """Render a figure once, for the file and for TensorBoard. Shape: (height, width, 4), uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def png(picture: np.ndarray, colours: np.ndarray | None = None) -> bytes:
    """Encode a picture as PNG.

    Args:
        picture: (height, width, 4) as `pixels` gives it, or (height, width) numbers of `colours`, uint8.
        colours: (256, 3), uint8.
    """
    from PIL import Image

    image = Image.fromarray(picture)
    if colours is not None:
        image.putpalette(colours.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)
    return file.getvalue()


def literal(text: str) -> str:
    """Text as it stands: between two dollar signs, matplotlib would read a formula."""
    return text.replace("$", r"\$")


def draw_curves(curves: Mapping[str, Curve], label: str, colours: Sequence[int] | None = None) -> Figure | None:
    """Draw scores against the epoch; logarithmic where all are positive and spread over more than a decade.

    Args:
        curves: by name; values that are not finite are left out.
        label: of the y-axis.
        colours: numbers in PALETTE, where something else tells the names; None: one each, with a legend.

    Returns:
        None where no curve has a value.
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


def draw_confusion(counts: np.ndarray, classes: Sequence[str], item_name: str = "clips") -> Figure:
    """Draw a confusion matrix, rows the true classes, columns the predicted ones, in % of the row.

    Args:
        counts: (true class, predicted class).
        classes: their names.
        item_name: the items, in the plural.
    """
    size = max(5.0, 0.32 * len(classes) + 2)
    figure, (axis,) = make_axes(size=(size + 1, size))
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    axis.grid(False)
    names = [literal(name) for name in classes]
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    title = f"confusion matrix, {counts.sum()} test {item_name}, % of each row"
    axis.set(xlabel="predicted class", ylabel="true class", title=title)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if share[row, column] > 50 else "black"
        axis.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axis, shrink=0.8)
    return figure


def alluvial_pairs(counts: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (true class, predicted class) that are drawn. Shape: counts (classes, classes)."""
    drawn = counts >= max(1, MIN_SHARE * counts.sum())
    return [(int(true), int(predicted)) for true, predicted in zip(*np.nonzero(drawn), strict=True)]


def draw_alluvial(counts: np.ndarray, classes: Sequence[str], item_name: str = "clips") -> Figure:
    """Draw a band from each true class on the left to each predicted one on the right; correct predictions are grey.

    Bands are as wide as their number of items. Shape: counts (classes, classes).
    """
    from matplotlib import colormaps
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    figure, (axis,) = make_axes(size=(9, max(5.0, 0.35 * len(classes) + 1)))
    axis.set_axis_off()
    gap = 0.01 * counts.sum()
    sides = [counts.sum(1), counts.sum(0)]
    begins = [np.concatenate([[0.0], np.cumsum(sizes + gap)[:-1]]) for sizes in sides]
    for side, (sizes, tops) in enumerate(zip(sides, begins, strict=True)):
        for name, begin, size in zip(classes, tops, sizes, strict=True):
            if size:
                axis.plot([side, side], [-begin, -begin - size], color="black", linewidth=3, solid_capstyle="butt")
                x, align = (1.02, "left") if side else (-0.02, "right")
                axis.text(x, -begin - size / 2, literal(f"{name} {size}"), ha=align, va="center", fontsize=8)
    palette = [colormaps["tab20"](i) for i in range(20) if i // 2 != 7]  # without its greys
    curve = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3]
    used, drawn = [tops.copy() for tops in begins], set(alluvial_pairs(counts))
    for true, predicted in np.ndindex(*counts.shape):
        size = counts[true, predicted]
        a, b = -used[0][true], -used[1][predicted]
        used[0][true] += size
        used[1][predicted] += size
        if (true, predicted) not in drawn:
            continue
        corners = [(0, a), (0.5, a), (0.5, b), (1, b), (1, b - size), (0.5, b - size), (0.5, a - size), (0, a - size)]
        colour, alpha = ("0.8", 0.4) if true == predicted else (palette[true % len(palette)], 0.8)
        axis.add_patch(PathPatch(Path(corners, curve), facecolor=colour, alpha=alpha, linewidth=0))
    title = f"true class (left) to predicted class (right; grey: correct), {counts.sum()} test {item_name}"
    axis.set_title(f"{title}; pairs below {MIN_SHARE:.1%} are not drawn", fontsize=9)
    axis.set_xlim(-0.25, 1.25)
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
