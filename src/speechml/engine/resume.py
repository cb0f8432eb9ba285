"""What of a training lies outside network and optimiser: random generators, the epoch's losses so far, loops, loggers.

Captured and restored at one point, the start of a training batch: the batch before it has been stepped, logged and, if it
was due, validated. Draws of order, mixtures and augmentation are functions of (seed, epoch, item) and have no state.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from speechml.engine.lightning_compat import capture_metrics
from speechml.process import gather_from_ranks
from speechml.runs.folder import JOURNAL
from speechml.storage.files import make_durable
from speechml.tasks.base import Task

State = dict[str, Any]  # what a checkpoint holds: tensors and plain containers
Losses = dict[int, tuple[int, dict[str, Tensor]]]  # by batch: its items, and what is logged of it
OWN = ("items", "losses", "scores", "wiener")  # of tasks, which begin anew or are restored by themselves
ADJUSTED = ("accumulate_grad_batches", "gradient_clip_val")  # of the trainer, by callbacks
EVENTS = "events.out.tfevents.*"  # TensorBoard's files in a run's folder


def random_states(device: torch.device) -> State:
    """The states of all generators of this process."""
    version, numbers, gauss = random.getstate()
    own: State = dict(np.random.get_state(legacy=False))
    words = torch.from_numpy(own["state"]["key"].astype(np.int64))
    states: State = {
        "torch": torch.get_rng_state(),
        "python": [version, list(numbers), gauss],
        "numpy": {**own, "state": {**own["state"], "key": words}},
    }
    if device.type in ("cuda", "mps"):
        states["device"] = getattr(torch, device.type).get_rng_state()
    return states


def capture(trainer: pl.Trainer, task: pl.LightningModule, finished: bool, at_start: State) -> State:
    """The state of a training at the start of a batch, or `finished`; to be called by all ranks together.

    Args:
        at_start: what `read_settings` gave when the fit began.
    """
    own = {"random": random_states(task.device), "losses": pack_losses(task.losses if isinstance(task, Task) else {})}
    return {
        "finished": finished,
        "machine": numerics(),
        "should_stop": trainer.should_stop,
        "metrics": detached_copies(capture_metrics(trainer)),
        "logs": log_lengths(trainer),
        "ranks": gather_from_ranks(own),
        **changed_settings(at_start, read_settings(trainer)),
    }


def capture_training(trainer: pl.Trainer) -> list[tuple[Any, State]]:
    """Whatever the hooks of a resumed epoch, which are called again, may change that has a state, and its state."""
    schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
    acting = [
        one
        for one in trainer.callbacks  # type: ignore[attr-defined] # of a trainer
        if type(one).on_train_epoch_start is not pl.Callback.on_train_epoch_start and one.state_dict()
    ]
    owners = [trainer.lightning_module, *trainer.optimizers, *schedules, *acting]
    return [(owner, copy.deepcopy(owner.state_dict())) for owner in owners]


def read_settings(trainer: pl.Trainer) -> State:
    """What callbacks may change that is in no state_dict: which weights are trained, and plain numbers and switches.

    Of what is no plain value there is a mark (a text), which is another one when it has changed.
    """
    return {key: copy.deepcopy(value) if _is_plain(value := getattr(owner, name)) else str(_mark(owner, value))
            for key, owner, name in list_settings(trainer)}  # fmt: skip


def changed_settings(at_start: State, now: State) -> State:
    """The settings that are others than when the fit began, and the names of those that no checkpoint can hold."""
    changed = {key: value for key, value in now.items() if at_start.get(key, ...) != value}
    plain = {key: value for key, value in changed.items() if not isinstance(value, str)}
    return {"settings": plain, "lost": sorted(changed.keys() - plain)}


def list_settings(trainer: pl.Trainer) -> Iterator[tuple[str, object, str]]:
    """Each setting by a name of its own: what it is an attribute of, and which.

    Of callbacks those count that have no state_dict, and are the user's.
    """
    task, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined] # of a trainer
    assert task is not None
    yield from ((f"trainer.{name}", trainer, name) for name in ADJUSTED)
    yield from ((f"{name}.requires_grad", weight, "requires_grad") for name, weight in task.named_parameters())
    owners: dict[str, object] = {f"model.{name}".rstrip("."): module for name, module in task.named_modules()}
    owners["data"] = data
    for number, one in enumerate(trainer.callbacks):  # type: ignore[attr-defined] # of a trainer
        own = type(one).__module__.partition(".")[0] not in ("speechml", "lightning")
        if own and type(one).state_dict is pl.Callback.state_dict:
            name = type(one).__name__
            owners[f"{name}.{number}" if name in owners else name] = one
    for where, owner in owners.items():
        for name, value in vars(owner).items():
            if name[0] != "_" and name not in OWN and not (isinstance(owner, torch.nn.Module) and _holds_tensor(value)):
                yield f"{where}.{name}", owner, name


def _holds_tensor(value: object) -> bool:
    """Whether a network may have left a value from its last pass, as the weights of attention."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    return any(isinstance(one, Tensor) for one in values)


def _is_plain(value: object) -> bool:
    """Whether a checkpoint holds a value as it is: numbers and switches, alone or in lists and mappings; no paths."""
    if isinstance(value, dict):
        return all(isinstance(key, str | int) for key in value) and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list) else type(value) in (bool, int, float, type(None))


def _mark(owner: object, value: object) -> object:
    """What differs when a value has become another one; or, of a callback, one in it."""
    if isinstance(value, dict | list | tuple | set) and isinstance(owner, pl.Callback):
        return [_mark(owner, one) for one in (value.items() if isinstance(value, dict) else value)]
    changes = getattr(value, "_version", 0) if isinstance(owner, pl.Callback) else 0  # of a tensor
    return value if isinstance(value, str | int) else (id(value), changes)


def pack_losses(losses: Losses) -> State:
    """The losses of an epoch's batches so far, a tensor for each name: thousands of single numbers would take seconds."""
    names = next(iter(losses.values()))[1] if losses else ()
    return {
        "batches": list(losses),
        "counts": [count for count, _ in losses.values()],
        "values": detached_copies({name: torch.stack([of[name] for _, of in losses.values()]) for name in names}),
    }


def detached_copies(values: State) -> State:
    """Tensors on the CPU and with a storage of their own: saving one number of a batch would save the batch."""
    return {
        key: detached_copies(value) if isinstance(value, dict)
        else value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
        for key, value in values.items()
    }  # fmt: skip


def numerics() -> dict[str, str | int]:
    """What must be equal for equal numbers: the kernels, and how their work is divided."""
    return {
        "torch": str(torch.__version__), "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def log_files(folder: Path) -> list[Path]:
    """What a run's loggers write in its folder, which is as long as its checkpoint knows it when the run goes on."""
    return [*folder.glob(EVENTS), *folder.glob(JOURNAL)]


def log_lengths(trainer: pl.Trainer) -> dict[str, int]:
    """Bytes of each of TensorBoard's files, and of the journal, in the run's folder, all that was logged being written."""
    if not trainer.is_global_zero:
        return {}
    for logger in trainer.loggers:
        logger.save()
    paths = log_files(Path(trainer.default_root_dir))
    for path in paths:  # a run that goes on expects so much in it, after a power cut, too
        make_durable(path)
    return {path.name: path.stat().st_size for path in paths}
