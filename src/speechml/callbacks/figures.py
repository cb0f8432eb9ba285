"""The labs' figures, as PNG and in TensorBoard: waveforms, spectra, spectrograms, loss per epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from speechml.callbacks.epoch_table import fresh
from speechml.callbacks.listening import examples, unpaired, writers
from speechml.signal.stft import STFT

SIZE = (9, 4)  # inches


class Figures(pl.Callback):
    """Draws when a run has been tested: waveforms, spectra, spectrograms, loss per epoch."""

    def __init__(self) -> None:
        self.losses: dict[str, list[tuple[int, float]]] = {"train/loss": [], "val/loss": []}  # (epoch, from 1; value)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        for name, values in self.losses.items():
            if name in fresh(trainer):
                values.append((trainer.current_epoch + 1, fresh(trainer)[name]))

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, values in state_dict[
            "losses"
        ].items():  # the first checkpoints held values of all epochs without numbers
            pairs = [v if isinstance(v, (tuple, list)) else (i, v) for i, v in enumerate(values, 1)]
            self.losses[name] = [(int(epoch), float(value)) for epoch, value in pairs]

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        name, versions = examples(trainer, pl_module, "test", 1)[0]
        waves = {version: waveform.numpy() for version, waveform in versions.items()}
        figures = {
            "waveforms": waveforms(waves, pl_module.sample_rate, name),
            "spectra": spectra(waves, pl_module.sample_rate, name),
        }
        if any(self.losses.values()):
            figures["loss"] = loss_per_epoch(self.losses, pl_module.loss_name)
        for title, given in [(name, versions), *unpaired(trainer, pl_module)]:
            figures[f"spectrogram_{title.replace('/', '_')}"] = spectrograms(given, pl_module.sample_rate, title)
        if getattr(pl_module, "wiener", None) is not None and pl_module.receptive_field is not None:
            figures["response"] = response(pl_module)
        folder = Path(trainer.default_root_dir) / "figures"
        folder.mkdir(exist_ok=True)
        for title, figure in figures.items():
            figure.savefig(folder / f"{title}.png", dpi=110)
            for writer in writers(trainer):
                writer.add_figure(f"figures/{title}", figure, trainer.global_step, close=False)


def canvas(rows: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure and its axes, without pyplot: nothing global, nothing that needs a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0], SIZE[1] * (1 if rows == 1 else 1.4)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, **options)
    for axis in np.atleast_1d(axes):
        axis.grid(alpha=0.3)
    return figure, axes


def waveforms(waves: dict[str, np.ndarray], sample_rate: int, name: str) -> Any:
    """Noisy below clean, and denoised below clean, against time."""
    figure, axes = canvas(2, sharex=True)
    time = np.arange(len(waves["clean"])) / sample_rate
    for axis, (version, colour) in zip(axes, (("noisy", "tab:gray"), ("denoised", "tab:orange")), strict=True):
        axis.plot(time, waves[version], color=colour, linewidth=0.6, label=version)
        axis.plot(time, waves["clean"], color="tab:blue", linewidth=0.6, label="clean", alpha=0.8)
        axis.set_ylabel("amplitude")
        axis.legend(loc="upper right")
    axes[0].set_title(name)
    axes[1].set_xlabel("time (s)")
    return figure


def spectra(waves: dict[str, np.ndarray], sample_rate: int, name: str) -> Any:
    """Magnitudes of the Fourier transform up to half the sample rate."""
    figure, axis = canvas()
    frequency = np.fft.rfftfreq(len(waves["clean"]), 1 / sample_rate) / 1000
    for version, colour in (("noisy", "tab:gray"), ("clean", "tab:blue"), ("denoised", "tab:orange")):
        magnitude = 20 * np.log10(np.abs(np.fft.rfft(waves[version])) + 1e-12)
        axis.plot(frequency, magnitude, color=colour, linewidth=0.5, label=version, alpha=0.8)
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


def loss_per_epoch(losses: dict[str, list[tuple[int, float]]], loss_name: str) -> Any:
    """Training and validation loss against the epoch."""
    figure, axis = canvas()
    for name, values in ((n, v) for n, v in losses.items() if v):
        axis.plot(*zip(*values, strict=True), marker="o", markersize=3, label=name)
    axis.xaxis.get_major_locator().set_params(integer=True)
    if all(v > 0 for values in losses.values() for _, v in values):
        axis.set_yscale("log")
    axis.set(xlabel="epoch", ylabel=f"loss ({loss_name})", title="loss per epoch")
    axis.legend()
    return figure


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
