"""Checkpoints: tensors and plain containers only, from which a network can be rebuilt without its run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from speechml import __version__
from speechml.build import build, target
from speechml.errors import BadInput
from speechml.runs.folder import read_card

FORMAT = 1  # raise it when what lies under "speechml" in a checkpoint changes


class AtomicIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: a killed run leaves the old one or the new one, whole.

    Lightning writes into the system's temporary folder, from where a move may be a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ARG002
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


class Record(pl.Callback):
    """Puts into every checkpoint the config, the fingerprint of the data, and which recordings were heard.

    Args:
        config: plain, resolved.
        data_fingerprint: of recordings and split.
        heard: checksums of the recordings of training and validation.
    """

    def __init__(self, config: dict[str, Any], data_fingerprint: str, heard: list[str]) -> None:
        self.content = {
            "format": FORMAT, "version": __version__, "config": config, "data": data_fingerprint, "heard": heard,
        }  # fmt: skip
        self.first_step = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        self.first_step = trainer.global_step

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        checkpoint["speechml"] = self.content


def checkpoint_of(run: Path) -> Path:
    """The checkpoint that a run's scores come from, or the file itself where one is given.

    Raises:
        BadInput: no such run, or one without a checkpoint.
    """
    if run.is_file():
        return run
    if not run.exists():
        raise BadInput(f"{run} does not exist; give the folder of a run, as in runs/lab2b_mimo_cnn/0123456789")
    card = read_card(run)
    if card is None:
        raise BadInput(f"{run} is no run (it has no card.json); give a folder as in runs/lab2b_mimo_cnn/0123456789")
    name = card.get("test_weights", "best")
    for candidate in (run / "checkpoints" / f"{name}.ckpt", run / "checkpoints" / "last.ckpt"):
        if candidate.is_file():
            return candidate
    raise BadInput(f"{run} has no checkpoint (its state is {card['state']}); launch it again to train it")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, read without running anything that it may contain.

    Raises:
        BadInput: damaged, carrying code, or not written by speechml.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(f"{path} is refused: it is damaged or holds more than tensors; nothing in it was run") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise BadInput(
            f"{path} cannot be read as a checkpoint; it may be cut short: use another of the run, or train again with redo=true"
        ) from error
    record = content.get("speechml") if isinstance(content, dict) else None
    if not isinstance(record, dict) or "state_dict" not in content or not isinstance(record.get("config"), dict):
        raise BadInput(f"{path} was not written by speechml; give a checkpoint of one of its runs")
    if record.get("format") != FORMAT:
        raise BadInput(
            f"{path} was written by speechml {record.get('version')} in format {record.get('format')}; "
            f"this is {__version__}, which reads format {FORMAT}"
        )
    return content


def task_of(config: dict[str, Any], source: str) -> pl.LightningModule:
    """The task that a config describes, untrained.

    Raises:
        BadInput: the config's `model` is missing, refused, or no task.
    """
    node = config.get("model")
    if not isinstance(node, dict) or not issubclass(target(node.get("_target_"), "model."), pl.LightningModule):
        raise BadInput(f"{source} describes no model that speechml can build")
    task = build(node, where="model", optimizer=config.get("optimizer"), scheduler=config.get("scheduler"))
    assert isinstance(task, pl.LightningModule)
    return task


def restored(path: Path) -> tuple[pl.LightningModule, dict[str, Any]]:
    """The trained task of a checkpoint in evaluation mode, and what `Record` wrote beside it.

    Raises:
        BadInput: as `read_checkpoint`, or weights that are not those of the network described beside them.
    """
    content = read_checkpoint(path)
    config = content["speechml"]["config"]
    task = task_of(config, str(path))
    refuse_other_weights(task, content["state_dict"], path)
    task.load_state_dict(content["state_dict"])
    return task.eval().requires_grad_(False), content["speechml"]


def refuse_other_weights(task: torch.nn.Module, state: Any, path: Path) -> None:
    """Refuse weights whose names or shapes are not the task's, naming the first difference."""
    own = task.state_dict()
    given = state if isinstance(state, dict) else {}
    for name in sorted(own.keys() ^ given.keys()):
        side = "lacks" if name in own else "has an unknown"
        raise BadInput(f"{path} is a checkpoint of another model: it {side} weight {name}")
    for name, weight in own.items():
        shape = tuple(getattr(given[name], "shape", ()))
        if not isinstance(given[name], torch.Tensor) or shape != tuple(weight.shape):
            raise BadInput(
                f"{path} is a checkpoint of another model: weight {name} has shape {shape}, not {tuple(weight.shape)}"
            )
