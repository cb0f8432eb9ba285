"""Recordings to listen to: noisy, clean and denoised, as files and in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from speechml.data.base import Picks
from speechml.engine.checkpoint import read_checkpoint
from speechml.storage import audio
from speechml.storage.files import write_json

KEPT = {"last.ckpt": "denoised", "best.ckpt": "denoised_best"}  # what is heard of the weights in each


class Listening(pl.Callback):
    """Puts validation recordings into TensorBoard as the first, the last and the best epoch leave them, and test recordings
    there and into `audio/`.

    Recordings without a clean version are written as well. The versions of a recording share one gain, so that they
    compare; recordings too quiet to hear, as the labs' are, are raised until the loudest of them peaks at 0.9.

    Args:
        recordings: how many, the first of each part.
    """

    def __init__(self, recordings: int = 3) -> None:
        self.recordings = recordings

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        first = trainer.current_epoch + 1 == (trainer.check_val_every_n_epoch or 1)
        if trainer.is_global_zero and not trainer.sanity_checking and first:
            self._show_validation(trainer, pl_module, ("noisy", "clean", "denoised"), trainer.global_step)

    def _show_kept(self, trainer: pl.Trainer, module: Any) -> None:
        """What the last epoch's weights and the best do, from the checkpoints that hold them: steps show which they are."""
        folder = Path(trainer.default_root_dir) / "checkpoints"
        for file, version in KEPT.items():
            if (folder / file).is_file():
                content = read_checkpoint(folder / file)
                with weights(module, content["state_dict"]):
                    self._show_validation(trainer, module, (version,), content["global_step"])

    def _show_validation(self, trainer: Any, module: Any, wanted: tuple[str, ...], step: int) -> None:
        for name, versions in examples(trainer, module, "val", self.recordings):
            # One gain for all epochs: that of the recording, whatever a network makes of it.
            gain = gain_of([versions["noisy"], versions["clean"]])
            heard = {"denoised_best": versions["denoised"], **versions}
            for writer in writers(trainer):
                for version in wanted:
                    waveform = (gain * heard[version]).clamp(-1, 1)
                    writer.add_audio(f"val/{name}/{version}", waveform, step, module.sample_rate)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if writers(trainer):
            self._show_kept(trainer, pl_module)
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
    """Waveforms at one common gain."""
    gain = gain_of(list(versions.values()))
    return {version: waveform * gain for version, waveform in versions.items()}


def gain_of(waveforms: list[Tensor]) -> float:
    """The gain by which waveforms can be heard and do not clip: 1 where that is so already."""
    peak = max(float(w.abs().max()) for w in waveforms)
    return 1.0 if 0.1 <= peak <= 1.0 or peak == 0 else 0.9 / peak


@contextmanager
def weights(module: Any, state: dict[str, Tensor]) -> Iterator[None]:
    """Inside, a module has other weights."""
    own = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    try:
        yield
    finally:
        module.load_state_dict(own)


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
