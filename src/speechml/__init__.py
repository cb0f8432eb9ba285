"""Experiments in speech and audio learning; what there is in Python and in notebooks is loaded on first use."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from speechml.api import Run, compare, compose, runs, train

# Threads of OpenMP sleep while they wait for each other. By default they spin, and on a machine with other work the threads
# that spin keep those from computing that they wait for. It acts where torch has not been loaded before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["Run", "compare", "compose", "load", "runs", "train"]


def load(run: str | Path) -> LightningModule:
    """The trained model of a run, a checkpoint file or an exported folder: `load(run)(noisy)` gives the denoised waveforms.

    Nothing in the file is executed. Raises errors.UserError where it is damaged or of another model.
    """
    from speechml.inference.export import load_model

    return load_model(Path(run))


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("runs", "train"):  # modules, which are called as the functions of these names
        return import_module(f"speechml.{name}")
    return getattr(import_module("speechml.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
