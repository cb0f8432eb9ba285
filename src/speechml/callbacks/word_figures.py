"""The figures of word classifiers: confusions, curves, a sample, the mel bands, and the most confident mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechml.callbacks.alluvial import alluvial
from speechml.callbacks.drawing import Drawings, canvas, confusion_matrix, per_epoch
from speechml.callbacks.listening import write_index, writers
from speechml.data.base import Picks
from speechml.metrics.classification import confusion
from speechml.signal.front_ends import FrontEnd
from speechml.storage import audio

MISTAKES = 12  # clips that are drawn and in TensorBoard
CLIPS = 40  # that are written


class WordFigures(Drawings):
    """Draws when a word classifier has been tested, and writes the clips that it was most surely wrong about."""

    watched = ("train/loss", "val/loss", "train/acc", "val/acc")

    def drawn(self, trainer: pl.Trainer, module: Any) -> dict[str, Any]:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        numbers = [number for number in data.corpus.parts["test"] if number in module.items]
        if not numbers:  # a limit of batches left only validation clips
            return {}
        logits = torch.from_numpy(np.stack([module.items[number]["logits"] for number in numbers]))
        labels = torch.tensor([module.items[number]["label"] for number in numbers])
        counts = confusion(labels, logits.argmax(1), len(module.classes)).numpy()
        figures = {"confusion": confusion_matrix(counts, module.classes), "alluvial": alluvial(counts, module.classes)}
        accuracies = {name: curve for name, curve in self.curves.items() if name.endswith("acc")}
        if any(accuracies.values()):
            figures["accuracy"] = per_epoch(accuracies, "accuracy")
        name, waveform = clips(trainer, module, numbers[:1])[0]
        figures |= {
            "sample": sample(waveform, module.sample_rate, name),
            "spectrogram": spectrogram(waveform, module, name),
        }
        figures["frame"] = frame(waveform, module.sample_rate, name)
        figures["mel_bands"] = mel_filter_bank(module.sample_rate)
        wrong = mistakes(logits, labels)
        if wrong:
            heard = clips(trainer, module, [numbers[i] for i in wrong])
            figures["mistakes"] = self._mistakes(trainer, module, heard, logits[wrong], labels[wrong])
        return figures

    def _mistakes(
        self, trainer: pl.Trainer, module: Any, heard: list[tuple[str, Tensor]], logits: Tensor, labels: Tensor
    ) -> Any:
        """Writes the clips into `audio/`, and the first of them into TensorBoard, whose spectrograms it draws."""
        folder = Path(trainer.default_root_dir) / "audio"
        shown, written = [], []
        for rank, ((name, waveform), row, label) in enumerate(zip(heard, logits, labels.tolist(), strict=True), 1):
            was, named = module.classes[label], module.classes[int(row.argmax())]
            title = f"mistake{rank:02d}_{was}_taken_for_{named}"
            audio.save(folder / f"{title}.wav", waveform.numpy(), int(module.sample_rate))
            written.append((f"{title}.wav", name, "clip"))
            if rank <= MISTAKES:
                for writer in writers(trainer):
                    writer.add_audio(f"test/{title}", waveform.clamp(-1, 1), trainer.global_step, module.sample_rate)
                shown.append((f"{was} as {named} ({float(row.softmax(0).max()):.0%})\n{name}", waveform))
        write_index(folder, written)
        return spectrogram_grid(shown, module.sample_rate)


def clips(trainer: pl.Trainer, module: Any, numbers: list[int]) -> list[tuple[str, Tensor]]:
    """Names and waveforms (time,) of test clips."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    batch = data.gather(Picks("test", 0, torch.tensor(numbers, device=module.device)))
    waveforms = batch.waveform[:, 0].float().cpu()
    return [(data.corpus.names[number], waveform) for number, waveform in zip(numbers, waveforms, strict=True)]


def mistakes(logits: Tensor, labels: Tensor, first: int = MISTAKES, most: int = CLIPS) -> list[int]:
    """Items that were named wrongly: the surest, then the surest of each confused pair without one, then the next.

    Shape: logits (items, classes), labels (items,).

    Args:
        first: number of those that are chosen by sureness alone.
        most: number of all.
    """
    sure, named = logits.softmax(1).max(1)
    wrong = torch.nonzero(named != labels)[:, 0]
    order: list[int] = wrong[sure[wrong].argsort(descending=True, stable=True)].tolist()
    pair = {i: (int(labels[i]), int(named[i])) for i in order}
    surest_of = {pair[i]: i for i in reversed(order)}
    covered = {pair[i] for i in order[:first]}
    of_pairs = [i for i in order[first:] if pair[i] not in covered and surest_of[pair[i]] == i]
    rest = [i for i in order[first:] if i not in of_pairs]
    return (order[:first] + of_pairs + rest)[:most]


def sample(waveform: Tensor, sample_rate: int, name: str) -> Any:
    """A clip's waveform, and the magnitudes of its Fourier transform."""
    figure, (above, below) = canvas(2)
    wave = waveform.numpy()
    above.plot(np.arange(len(wave)) / sample_rate, wave, linewidth=0.6)
    above.set(xlabel="time (s)", ylabel="amplitude", title=name)
    magnitude = np.abs(np.fft.rfft(wave))
    below.plot(np.fft.rfftfreq(len(wave), 1 / sample_rate) / 1000, magnitude, linewidth=0.5)
    below.set(xlabel="frequency (kHz)", ylabel="|DFT|", xlim=(0, sample_rate / 2000))
    return figure


def spectrogram(waveform: Tensor, module: Any, name: str) -> Any:
    """Power spectrogram of a clip, logarithmic in frequency, square root of the magnitude as colour."""
    figure, axis = canvas()
    front = FrontEnd("power", module.sample_rate)
    power = front(waveform[None, None])[0, 0].numpy()
    seconds = np.arange(power.shape[1]) * front.hop / module.sample_rate
    hertz = np.arange(power.shape[0]) * module.sample_rate / front.n_fft
    axis.grid(False)
    # The power is |X|^2; its fourth root is the square root of the magnitude.
    mesh = axis.pcolormesh(seconds, hertz[1:], power[1:] ** 0.25, shading="nearest", cmap="magma")
    axis.set_yscale("log")
    axis.set(xlabel="time (s)", ylabel="frequency (Hz)", title=name, ylim=(hertz[1], hertz[-1]))
    figure.colorbar(mesh, ax=axis, label="square root of the magnitude")
    return figure


def frame(waveform: Tensor, sample_rate: int, name: str) -> Any:
    """The loudest frame of a clip: its Fourier coefficients above, its mel bands below."""
    figure, (above, below) = canvas(2)
    power, mel = (FrontEnd(kind, sample_rate)(waveform[None, None])[0, 0] for kind in ("power", "mel"))
    loudest = int(power.sum(0).argmax())
    above.plot(np.arange(len(power)), power[:, loudest].sqrt().numpy())
    above.set(xlabel="Fourier coefficient", ylabel="magnitude", title=f"{name}, frame {loudest}")
    below.plot(np.arange(len(mel)), mel[:, loudest].sqrt().numpy(), color="tab:orange")
    below.set(xlabel="mel band", ylabel="magnitude")
    return figure


def mel_filter_bank(sample_rate: int) -> Any:
    """The mel bands against frequency, every eighth drawn."""
    figure, axis = canvas()
    front = FrontEnd("mel", sample_rate)
    hertz = np.arange(front.bands.shape[0]) * sample_rate / front.n_fft
    axis.plot(hertz / 1000, front.bands.numpy()[:, ::8], linewidth=0.8)
    axis.set(xlabel="frequency (kHz)", ylabel="weight", title=f"{front.bins} mel bands, every eighth")
    return figure


def spectrogram_grid(clips: list[tuple[str, Tensor]], sample_rate: int) -> Any:
    """Log-mel spectrograms of clips side by side, with their titles: a second from left to right, 0 to Nyquist upwards."""
    columns = min(4, len(clips))
    rows = -(-len(clips) // columns)
    figure, axes = canvas((rows, columns), size=(3.2 * columns, 2.4 * rows), squeeze=False)
    front = FrontEnd("log_mel", sample_rate, mels=64)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, waveform) in zip(axes.flat, clips, strict=False):
        level = front(F.pad(waveform, (0, max(0, front.n_fft - len(waveform))))[None, None])[0, 0].numpy()
        axis.imshow(level, origin="lower", aspect="auto", cmap="magma", vmin=level.max() - 14)  # 14 nepers, 60 dB
        axis.set_title(title, fontsize=7)
    return figure
