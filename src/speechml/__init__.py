"""Experiments in speech and audio learning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

__version__ = "0.1.0"


def load(run: str | Path) -> LightningModule:
    """The trained model of a run, a checkpoint file or an exported folder: `load(run)(noisy)` gives the denoised waveforms.

    Nothing in the file is executed. Raises errors.UserError where it is damaged or of another model.
    """
    from speechml.inference.export import load_model

    return load_model(Path(run))
