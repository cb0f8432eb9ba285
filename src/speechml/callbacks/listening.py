"""Recordings to listen to: noisy, clean and denoised, as files and in TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from speechml.contracts import IndexBatch, ItemKind
from speechml.storage.audio_writing import save
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
    there and into `audio/`, with as many of those that gained least.

    Recordings without a clean version are written as well. The versions of a recording share one gain, so that they
    compare; recordings too quiet to hear, as the labs' are, are raised until the loudest of them peaks at 0.9.

    Args:
        recordings: how many, the first of each split, and in the test the worst as well.
    """

    item_kind = ItemKind.PAIRS

    def __init__(self, recordings: int = 3) -> None:
        self.recordings = recordings

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        first = trainer.current_epoch + 1 == (trainer.check_val_every_n_epoch or 1)
        if trainer.is_global_zero and not trainer.sanity_checking and first:
            self._add_validation(trainer, pl_module, ("noisy", "clean", "denoised"), trainer.global_step)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined] # Lightning sets it late
            return
        place = Path(trainer.default_root_dir)
        for name, version in CHECKPOINTS.items() if tensorboard_writers(trainer) else ():
            if (path := place / "checkpoints" / name).is_file():
                content = trainer.strategy.checkpoint_io.load_checkpoint(path)
                with swapped_weights(pl_module, content["state_dict"]):
                    self._add_validation(trainer, pl_module, (version,), content["global_step"])
        index = []
        for name, versions in denoise_recordings(trainer, pl_module, "test", self.recordings, self.recordings):
            gain = gain_of(list(versions.values()))
            for version, waveform in versions.items():
                file = f"{name.replace('/', '_')}_{version}.wav"
                save(place / "audio" / file, (gain * waveform).numpy(), sample_rate(pl_module))
                index.append((file, name, version))
                add_audio(trainer, pl_module, f"test/{name}/{version}", gain * waveform, trainer.global_step)
        write_index(place / "audio", index)

    def _add_validation(self, trainer: pl.Trainer, module: pl.LightningModule, kinds: Sequence[str], step: int) -> None:
        """Add what a network makes of validation recordings, `kinds` of their versions, after so many steps."""
        for name, versions in denoise_recordings(trainer, module, "val", self.recordings):
            # One gain for all epochs: that of the recording, whatever a network makes of it.
            gain = gain_of([versions["noisy"], versions["clean"]])
            for kind in kinds:
                waveform = versions[kind.removesuffix("_best")]
                add_audio(trainer, module, f"val/{name}/{kind}", (gain * waveform).clamp(-1, 1), step)


def sample_rate(module: pl.LightningModule) -> int:
    """Hz of what a denoiser gives."""
    return int(cast("DenoisingTask", module).sample_rate)


def add_audio(trainer: pl.Trainer, module: pl.LightningModule, tag: str, waveform: Tensor, step: int) -> None:
    """Add a waveform (time,) to TensorBoard, which takes no single sample: a zero follows such a one."""
    waveform = F.pad(waveform, (0, max(0, 2 - len(waveform))))
    for writer in tensorboard_writers(trainer):
        writer.add_audio(tag, waveform, step, sample_rate(module))


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


def least_gains(items: Mapping[int, Mapping[str, float]], numbers: Sequence[int], count: int) -> list[int]:
    """The numbers of the items that gained least in SNR, the worst first; items without an SNR are none of them."""
    gains = {number: items[number]["snr_db"] - items[number]["snr_input_db"] for number in numbers if number in items}
    return sorted((n for n, gain in gains.items() if math.isfinite(gain)), key=gains.__getitem__)[:count]


def denoise_recordings(
    trainer: pl.Trainer, module: pl.LightningModule, split: str, count: int, worst: int = 0
) -> Iterator[tuple[str, Versions]]:
    """Denoise the first and the worst of a split, and with the test part those that have no clean version: names, versions."""
    data = cast("PairDataModule", trainer.datamodule)  # type: ignore[attr-defined] # Lightning sets it late
    numbers = data.splits[split]
    least = least_gains(cast("DenoisingTask", module).items, numbers, worst) if worst else ()
    for number in dict.fromkeys([*numbers[:count], *least]):
        batch = cast("PairBatch", data.load_batch(IndexBatch(split, 0, torch.tensor([number], device=module.device))))
        versions = {"noisy": batch.noisy, "clean": batch.clean, "denoised": _denoise(module, batch.noisy)}
        yield data.item_names[number], {kind: waveform[0, 0].float().cpu() for kind, waveform in versions.items()}
    for name, samples in data.unpaired() if split == "test" else ():
        noisy = torch.from_numpy(samples)
        denoised = _denoise(module, noisy[None, None].to(module.device))
        yield name, {"noisy": noisy, "denoised": denoised[0, 0].float().cpu()}


@torch.no_grad()
def _denoise(module: pl.LightningModule, noisy: Tensor) -> Tensor:
    denoised: Tensor = module(noisy)
    return denoised
