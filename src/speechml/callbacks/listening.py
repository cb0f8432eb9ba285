"""Recordings to listen to: noisy, clean and denoised, as files and in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from speechml.contracts import IndexBatch
from speechml.storage import audio
from speechml.storage.files import write_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from speechml.contracts import PairBatch
    from speechml.data.pairs import PairDataModule
    from speechml.tasks.denoising import DenoisingTask

CHECKPOINTS = {"last.ckpt": "denoised", "best.ckpt": "denoised_best"}  # what each one's weights make of a recording
Versions = dict[str, Tensor]  # waveforms (time,) of a recording: noisy, clean, denoised


class Listening(pl.Callback):
    """Puts validation recordings into TensorBoard as the first, the last and the best epoch leave them, and test recordings
    there and into `audio/`.

    Recordings without a clean version are written as well. The versions of a recording share one gain, so that they
    compare; recordings too quiet to hear, as the labs' are, are raised until the loudest of them peaks at 0.9.

    Args:
        recordings: how many, the first of each split.
    """

    def __init__(self, recordings: int = 3) -> None:
        self.recordings = recordings

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        first = trainer.current_epoch + 1 == (trainer.check_val_every_n_epoch or 1)
        if trainer.is_global_zero and not trainer.sanity_checking and first:
            self._add_validation(trainer, pl_module, ("noisy", "clean", "denoised"), trainer.global_step)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined] # Lightning sets it late
            return
        if tensorboard_writers(trainer):
            self._add_checkpoints(trainer, pl_module)
        folder, rate = Path(trainer.default_root_dir) / "audio", int(cast("DenoisingTask", pl_module).sample_rate)
        index = []
        for name, versions in denoise_split(trainer, pl_module, "test", self.recordings) + denoise_unpaired(
            trainer, pl_module
        ):
            for version, waveform in audible(versions).items():
                for writer in tensorboard_writers(trainer):
                    writer.add_audio(f"test/{name}/{version}", waveform, trainer.global_step, rate)
                file = f"{name.replace('/', '_')}_{version}.wav"
                audio.save(folder / file, waveform.numpy(), rate)
                index.append((file, name, version))
        write_index(folder, index)

    def _add_checkpoints(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Add what the last epoch's weights and the best make of recordings, at the steps of their checkpoints."""
        for file, version in CHECKPOINTS.items():
            path = Path(trainer.default_root_dir) / "checkpoints" / file
            if path.is_file():
                content = trainer.strategy.checkpoint_io.load_checkpoint(path)
                with swapped_weights(module, content["state_dict"]):
                    self._add_validation(trainer, module, (version,), content["global_step"])

    def _add_validation(
        self, trainer: pl.Trainer, module: pl.LightningModule, wanted: tuple[str, ...], step: int
    ) -> None:
        for name, versions in denoise_split(trainer, module, "val", self.recordings):
            # One gain for all epochs: that of the recording, whatever a network makes of it.
            gain = gain_of([versions["noisy"], versions["clean"]])
            waveforms = {"denoised_best": versions["denoised"], **versions}
            for writer in tensorboard_writers(trainer):
                for version in wanted:
                    rate = int(cast("DenoisingTask", module).sample_rate)
                    writer.add_audio(f"val/{name}/{version}", (gain * waveforms[version]).clamp(-1, 1), step, rate)


def write_index(folder: Path, files: Sequence[tuple[str, str, str]]) -> None:
    """Write `index.json` beside audio files: which item of predictions.npz each is of, and in which version.

    Args:
        folder: of the files.
        files: name of the file, name of the item, and noisy, clean, denoised or clip.
    """
    write_json(folder / "index.json", [{"file": file, "name": name, "version": v} for file, name, v in files])


def tensorboard_writers(trainer: pl.Trainer) -> list[SummaryWriter]:
    """TensorBoard's writers among a trainer's loggers."""
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def audible(versions: Versions) -> Versions:
    """Bring waveforms to one common gain."""
    gain = gain_of(list(versions.values()))
    return {version: waveform * gain for version, waveform in versions.items()}


def gain_of(waveforms: list[Tensor]) -> float:
    """The gain by which waveforms can be heard and do not clip: 1 where that is so already."""
    peak = max(float(w.abs().max()) for w in waveforms)
    return 1.0 if 0.1 <= peak <= 1.0 or peak == 0 else 0.9 / peak


@contextmanager
def swapped_weights(module: pl.LightningModule, state: dict[str, Tensor]) -> Iterator[None]:
    """Give a module other weights inside the block."""
    own = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    try:
        yield
    finally:
        module.load_state_dict(own)


def denoise_split(
    trainer: pl.Trainer, module: pl.LightningModule, split: str, count: int
) -> list[tuple[str, Versions]]:
    """Denoise the first recordings of a split: name and versions of each."""
    data = cast("PairDataModule", trainer.datamodule)  # type: ignore[attr-defined] # Lightning sets it late
    recordings = []
    for index in data.splits[split][:count]:
        batch = cast("PairBatch", data.load_batch(IndexBatch(split, 0, torch.tensor([index], device=module.device))))
        with torch.no_grad():
            denoised = module(batch.noisy)
        versions = {"noisy": batch.noisy, "clean": batch.clean, "denoised": denoised}
        recordings.append((data.item_names[index], {k: v[0, 0].float().cpu() for k, v in versions.items()}))
    return recordings


def denoise_unpaired(trainer: pl.Trainer, module: pl.LightningModule) -> list[tuple[str, Versions]]:
    """Denoise the recordings that have no clean version: name and versions of each."""
    data = cast("PairDataModule", trainer.datamodule)  # type: ignore[attr-defined] # Lightning sets it late
    recordings = []
    for name, waveform in data.unpaired():
        noisy = torch.from_numpy(waveform)
        with torch.no_grad():
            denoised = module(noisy[None, None].to(module.device))[0, 0].float().cpu()
        recordings.append((name, {"noisy": noisy, "denoised": denoised}))
    return recordings
