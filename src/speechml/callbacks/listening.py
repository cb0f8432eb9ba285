"""Recordings to listen to: noisy, clean and denoised, as files and in TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from speechml.data import audio
from speechml.data.parts import Picks
from speechml.files import write_json


class Listening(pl.Callback):
    """Puts validation recordings into TensorBoard at the first and the last epoch, and test recordings into `audio/`.

    Recordings without a clean version are written as well. The versions of a recording share one gain, so that they
    compare; recordings too quiet to hear, as the labs' are, are raised until the loudest of them peaks at 0.9.

    Args:
        recordings: how many, the first of each part.
    """

    def __init__(self, recordings: int = 3) -> None:
        self.recordings = recordings

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs
        if trainer.is_global_zero and not trainer.sanity_checking and (trainer.current_epoch == 0 or last):
            for name, versions in examples(trainer, pl_module, "val", self.recordings):
                self._show(trainer, pl_module, f"val/{name}", versions)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = Path(trainer.default_root_dir) / "audio"
        shown = examples(trainer, pl_module, "test", self.recordings) + unpaired(trainer, pl_module)
        written = []
        for name, versions in shown:
            self._show(trainer, pl_module, f"test/{name}", versions)
            for version, waveform in audible(versions).items():
                file = f"{name.replace('/', '_')}_{version}.wav"
                audio.save(folder / file, waveform.numpy(), int(pl_module.sample_rate))  # type: ignore[arg-type]
                written.append((file, name, version))
        write_index(folder, written)

    def _show(self, trainer: pl.Trainer, module: Any, title: str, versions: dict[str, Tensor]) -> None:
        for writer in writers(trainer):
            for version, waveform in audible(versions).items():
                writer.add_audio(f"{title}/{version}", waveform, trainer.global_step, module.sample_rate)


def write_index(folder: Path, files: list[tuple[str, str, str]]) -> None:
    """Write `index.json` beside audio files: which item of predictions.npz each is of, and in which version.

    Args:
        folder: of the files.
        files: name of the file, name of the item, and noisy, clean, denoised or clip.
    """
    write_json(folder / "index.json", [{"file": file, "name": name, "version": v} for file, name, v in files])


def writers(trainer: Any) -> list[Any]:
    """TensorBoard's writers among a trainer's loggers."""
    return [logger.experiment for logger in trainer.loggers if hasattr(logger.experiment, "add_audio")]


def audible(versions: dict[str, Tensor]) -> dict[str, Tensor]:
    """Waveforms at one common gain: as they are where they can be heard and do not clip, else raised or lowered."""
    peak = max(float(w.abs().max()) for w in versions.values())
    gain = 1.0 if 0.1 <= peak <= 1.0 or peak == 0 else 0.9 / peak
    return {version: waveform * gain for version, waveform in versions.items()}


def examples(trainer: Any, module: Any, part: str, count: int) -> list[tuple[str, dict[str, Tensor]]]:
    """Name and {noisy, clean, denoised} waveforms (time,) of the first recordings of a part."""
    data = trainer.datamodule
    found = []
    for index in data.corpus.parts[part][:count]:
        batch = data.gather(Picks(part, 0, torch.tensor([index], device=module.device)))
        with torch.no_grad():
            denoised = module(batch.noisy)
        versions = {"noisy": batch.noisy, "clean": batch.clean, "denoised": denoised}
        found.append((data.corpus.names[index], {k: v[0, 0].float().cpu() for k, v in versions.items()}))
    return found


def unpaired(trainer: Any, module: Any) -> list[tuple[str, dict[str, Tensor]]]:
    """Name and {noisy, denoised} waveforms (time,) of the recordings that have no clean version."""
    found = []
    for name, waveform in trainer.datamodule.unpaired():
        noisy = torch.from_numpy(waveform)
        with torch.no_grad():
            denoised = module(noisy[None, None].to(module.device))[0, 0].float().cpu()
        found.append((name, {"noisy": noisy, "denoised": denoised}))
    return found
