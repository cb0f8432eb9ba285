"""The figures of word classifiers: confusion matrix, curves, a sample, the mel bands, the most confident errors."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from speechml.callbacks.figure_callback import FigureCallback
from speechml.callbacks.listening import add_audio, write_index
from speechml.contracts import IndexBatch, ItemKind
from speechml.metrics.classification import confusion
from speechml.report.class_drawing import draw_alluvial, draw_confusion
from speechml.report.drawing import HOP, N_FFT, literal, make_axes, spectrogram_db, welch_db
from speechml.signal.front_ends import FrontEnd
from speechml.storage import audio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from speechml.data.clips import WordDataModule
    from speechml.tasks.classification import Classification
    from speechml.tasks.word_classification import Classifier

DRAWN_ERRORS = 12  # clips that are drawn and in TensorBoard
WRITTEN_ERRORS = 40


class WordFigures(FigureCallback):
    """Draws when a word classifier has been tested, and writes the clips of its most confident errors."""

    item_kind = ItemKind.CLIPS

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Figure]:
        task, data = cast("Classifier", module), cast("WordDataModule", trainer.datamodule)  # type: ignore[attr-defined]
        numbers, logits, labels = scored_items(task, data.splits["test"])
        if not numbers:  # a limit of batches left only validation clips
            return {}
        counts = confusion(labels, logits.argmax(1), len(task.classes)).numpy()
        ((name, waveform),) = load_clips(data, task, numbers[:1])
        front = deepcopy(task.front_end).cpu() if isinstance(task.front_end, FrontEnd) else None
        figures = {
            "confusion": draw_confusion(counts, task.classes),
            "alluvial": draw_alluvial(counts, task.classes),
            "sample": draw_sample(waveform, task.sample_rate, name),
        }
        if front:  # of what another gives, nothing is known
            figures["spectrogram"] = draw_power_spectrogram(waveform, task.sample_rate, name, front)
        if front and front.kind != "waveform":
            figures["frame"] = draw_frame(waveform, task.sample_rate, name, front)
        if front and front.has_bands:
            figures["mel_bands"] = draw_mel_bands(task.sample_rate, front)
        if errors := confident_errors(logits, labels):
            clips = load_clips(data, task, [numbers[i] for i in errors])
            figures["mistakes"] = self._write_errors(trainer, task, clips, logits[errors], labels[errors])
        return figures

    def _write_errors(
        self, trainer: pl.Trainer, task: Classifier, clips: list[tuple[str, Tensor]], logits: Tensor, labels: Tensor
    ) -> Figure:
        """Write the clips into `audio/` and the first of them into TensorBoard, and draw the spectrograms of these."""
        folder = Path(trainer.default_root_dir) / "audio"
        titled, index = [], []
        for rank, ((name, waveform), row, label) in enumerate(zip(clips, logits, labels.tolist(), strict=True), 1):
            true, predicted = task.classes[label], task.classes[int(row.argmax())]
            title = f"mistake{rank:02d}_{true}_confused_with_{predicted}"
            audio.save(folder / f"{title}.wav", waveform.numpy(), task.sample_rate)
            index.append((f"{title}.wav", name, "clip"))
            if rank <= DRAWN_ERRORS:
                add_audio(trainer, task, f"test/{title}", waveform.clamp(-1, 1), trainer.global_step)
                titled.append((f"{true} as {predicted} ({float(row.softmax(0).max()):.0%})\n{name}", waveform))
        write_index(folder, index)
        own = task.front_end
        frames = (own.n_fft, own.hop) if isinstance(own, FrontEnd) else (N_FFT, HOP)
        return draw_spectrogram_grid(titled, *frames)


def scored_items(task: Classification, numbers: Sequence[int]) -> tuple[list[int], Tensor, Tensor]:
    """Items that the task has scored, with their outputs and labels. Shape: -> logits (items, classes), labels (items,)."""
    scored = [number for number in numbers if number in task.items]
    rows = [task.items[number] for number in scored]
    logits = torch.from_numpy(np.stack([row["logits"] for row in rows])) if rows else torch.empty(0, len(task.classes))
    return scored, logits, torch.tensor([row["label"] for row in rows], dtype=torch.long)


def load_clips(data: WordDataModule, task: Classifier, numbers: Sequence[int]) -> list[tuple[str, Tensor]]:
    """Names and waveforms (time,) of test clips."""
    batch = data.load_batch(IndexBatch("test", 0, torch.tensor(numbers, device=task.device)))
    waveforms = batch.waveform[:, 0].float().cpu()
    return [(data.item_names[number], waveform) for number, waveform in zip(numbers, waveforms, strict=True)]


def confident_errors(
    logits: Tensor, labels: Tensor, first: int = DRAWN_ERRORS, most: int = WRITTEN_ERRORS
) -> list[int]:
    """Items that were misclassified: the most confident, then that of each confused pair without one, then the next.

    Shape: logits (items, classes), labels (items,).

    Args:
        first: number of those that are chosen by confidence alone.
        most: number of all.
    """
    confidence, predicted = logits.softmax(1).max(1)
    wrong = torch.nonzero(predicted != labels)[:, 0]
    order: list[int] = wrong[confidence[wrong].argsort(descending=True, stable=True)].tolist()
    pair = {i: (int(labels[i]), int(predicted[i])) for i in order}
    first_of = {pair[i]: i for i in reversed(order)}
    covered = {pair[i] for i in order[:first]}
    of_pairs = [i for i in order[first:] if pair[i] not in covered and first_of[pair[i]] == i]
    rest = [i for i in order[first:] if i not in of_pairs]
    return (order[:first] + of_pairs + rest)[:most]


def draw_sample(waveform: Tensor, sample_rate: int, name: str) -> Figure:
    """Draw a clip's waveform, and its spectrum, averaged over frames."""
    figure, (above, below) = make_axes(2)
    wave = waveform.numpy()
    above.plot(np.arange(len(wave)) / sample_rate, wave, linewidth=0.6)
    above.set(xlabel="time (s)", ylabel="amplitude", title=literal(name))
    hertz, level = welch_db(wave, sample_rate)
    below.plot(hertz / 1000, level, linewidth=1.2)
    below.set(xlabel="frequency (kHz)", ylabel="power density (dB per Hz)", xlim=(0, sample_rate / 2000))
    return figure


def draw_power_spectrogram(waveform: Tensor, sample_rate: int, name: str, front: FrontEnd) -> Figure:
    """Draw the power spectrogram of a clip, logarithmic in frequency, the square root of the magnitude as colour."""
    figure, (axis,) = make_axes()
    power = front.power(waveform[None, None])[0].numpy()
    seconds = np.arange(power.shape[1]) * front.hop / sample_rate
    hertz = np.arange(power.shape[0]) * sample_rate / front.n_fft
    axis.grid(False)
    # The power is |X|^2; its fourth root is the square root of the magnitude.
    mesh = axis.pcolormesh(seconds, hertz[1:], power[1:] ** 0.25, shading="nearest", cmap="magma")
    axis.set_yscale("log")
    axis.set(xlabel="time (s)", ylabel="frequency (Hz)", title=literal(name), ylim=(hertz[1], hertz[-1]))
    figure.colorbar(mesh, ax=axis, label="square root of the magnitude")
    return figure


def draw_frame(waveform: Tensor, sample_rate: int, name: str, front: FrontEnd) -> Figure:
    """Draw the loudest frame of a clip: its Fourier coefficients above, below them its mel bands where the network sees such."""
    figure, (above, *below) = make_axes(1 + front.has_bands)
    power = front.power(waveform[None, None])[0]  # (coefficient, frame)
    column = power[:, int(power.sum(0).argmax())]
    above.plot(np.arange(len(column)) * sample_rate / front.n_fft / 1000, column.sqrt().numpy())
    above.set(xlabel="frequency (kHz)", ylabel="magnitude", title=literal(f"{name}, its loudest frame"))
    for axis in below:
        axis.plot(np.arange(front.bins), (column @ front.bands).sqrt().numpy())
        axis.set(xlabel=f"mel band, of {front.bins}", ylabel="magnitude")
    return figure


def draw_mel_bands(sample_rate: int, front: FrontEnd) -> Figure:
    """Draw the mel bands of a front end against frequency, every eighth."""
    figure, (axis,) = make_axes()
    hertz = np.arange(front.bands.shape[0]) * sample_rate / front.n_fft
    axis.plot(hertz / 1000, front.bands.numpy()[:, ::8], linewidth=0.8)
    axis.set(xlabel="frequency (kHz)", ylabel="weight", title=f"{front.bins} mel bands, every eighth")
    return figure


def draw_spectrogram_grid(clips: Sequence[tuple[str, Tensor]], n_fft: int, hop: int) -> Figure:
    """Draw spectrograms of clips side by side, from 0 to the Nyquist frequency upwards. Shape of each: (time,)."""
    columns = min(4, len(clips))
    rows = -(-len(clips) // columns)
    figure, axes = make_axes(rows, columns, size=(3.2 * columns, 2.4 * rows))
    for axis in axes:
        axis.set_axis_off()
    for axis, (title, waveform) in zip(axes, clips, strict=False):
        level = spectrogram_db(waveform.numpy(), n_fft, hop)
        axis.imshow(level, origin="lower", aspect="auto", cmap="magma", vmin=level.max() - 60)
        axis.set_title(literal(title), fontsize=7)
    return figure
