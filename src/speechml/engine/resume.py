"""What of a training lies outside network and optimiser: random generators, the epoch's losses so far, loops, loggers.

Taken and put back at one point, the start of a training batch: the batch before it has been stepped, logged and, if it
was due, validated. Draws of order, mixtures and augmentation are functions of (seed, epoch, item) and have no state.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from speechml.engine.distributed import in_group
from speechml.engine.lightning_compat import METRICS, capture_metrics, flush_logger, restore_loops, restore_metrics
from speechml.errors import UserError

EVENTS = "events.out.tfevents.*"  # TensorBoard's files in a run's folder


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of all generators of this process as tensors and plain containers."""
    version, numbers, gauss = random.getstate()
    numpy: Any = np.random.get_state(legacy=False)
    words = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    found = {
        "torch": torch.get_rng_state(),
        "python": [version, list(numbers), gauss],
        "numpy": {**numpy, "state": {**numpy["state"], "key": words}},
    }
    if device.type in ("cuda", "mps"):
        found["device"] = getattr(torch, device.type).get_rng_state()
    return found


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Put back what `random_states` gave."""
    torch.set_rng_state(states["torch"])
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    numpy = states["numpy"]
    key = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})
    if "device" in states:
        getattr(torch, device.type).set_rng_state(states["device"])


def capture(trainer: Any, module: Any, finished: bool) -> dict[str, Any]:
    """The state of a training at the start of a batch, or `finished`; to be called by all ranks together."""
    own = {
        "random": random_states(module.device),
        "losses": pack_losses(module.losses),
    }
    return {
        "finished": finished,
        "machine": numerics(),
        "should_stop": trainer.should_stop,
        "metrics": detached_copy(capture_metrics(trainer)),
        "logs": log_lengths(trainer),
        "ranks": gather_from_ranks(own),
    }


def pack_losses(losses: dict[int, tuple[int, dict[str, torch.Tensor]]]) -> dict[str, Any]:
    """The losses of an epoch's batches so far, a tensor for each name: thousands of single numbers would take seconds."""
    names = next(iter(losses.values()))[1] if losses else ()
    return {
        "batches": list(losses),
        "counts": [count for count, _ in losses.values()],
        "values": {
            name: detached_copy(torch.stack([of_batch[name] for _, of_batch in losses.values()])) for name in names
        },
    }


def unpack_losses(losses: dict[str, Any], device: torch.device) -> dict[int, tuple[int, dict[str, torch.Tensor]]]:
    """What `pack_losses` was given."""
    values = {name: stacked.to(device).unbind() for name, stacked in losses["values"].items()}
    batches = enumerate(zip(losses["batches"], losses["counts"], strict=True))
    return {batch: (count, {name: each[i] for name, each in values.items()}) for i, (batch, count) in batches}


def check_resume_state(content: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint that is whole but does not hold what a run goes on with."""
    saved = content["resume"]
    kinds = {"global_step": int, "loops": dict, "callbacks": dict, "optimizer_states": list, "lr_schedulers": list}
    own = {"machine": dict, "metrics": dict, "logs": dict, "ranks": list, "training_s": float}
    whole = (
        isinstance(saved, dict)
        and all(isinstance(content.get(name), kind) for name, kind in kinds.items())
        and all(isinstance(saved.get(name), kind) for name, kind in own.items())
        and "fit_loop" in content["loops"]
        and len(content["optimizer_states"]) == 1
        and {"finished", "should_stop"} <= set(saved)
        and set(saved["metrics"]) == set(METRICS)
        and set(saved["machine"]) == set(numerics())
        and all(isinstance(size, int) and size >= 0 for size in saved["logs"].values())
    )
    if not whole:
        raise UserError(f"{path} is whole, but not what a run can go on from")


def detached_copy(value: Any) -> Any:
    """Tensors on the CPU and with a storage of their own: saving one number of a batch would save the batch."""
    if isinstance(value, dict):
        return {key: detached_copy(item) for key, item in value.items()}
    return value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value


def restore_finished(trainer: Any, saved: dict[str, Any]) -> None:
    """The part of the state that counts when the training is over."""
    trainer.should_stop = saved["should_stop"]
    restore_metrics(trainer, saved["metrics"])


def restore(trainer: pl.Trainer, module: Any, saved: dict[str, Any]) -> None:
    """Put back what `capture` gave, at the start of the same batch, with the counters of Lightning's loops as they were."""
    restore_finished(trainer, saved)
    restore_loops(trainer, saved["loops"])
    own = saved["ranks"][trainer.global_rank]
    module.losses = unpack_losses(own["losses"], module.device)
    set_random_states(own["random"], module.device)


def gather_from_ranks(own: Any) -> list[Any]:
    """What each rank gives, in their order."""
    if not in_group():
        return [own]
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    return found


def numerics() -> dict[str, Any]:
    """What must be equal for equal numbers: the kernels, and how their work is divided."""
    return {
        "torch": str(torch.__version__), "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def check_rank_count(saved: dict[str, Any], count: int) -> None:
    """Refuse to continue on another number of processes: each has its own share of the batches."""
    if len(saved["ranks"]) != count:
        raise UserError(
            f"the run was stopped on {len(saved['ranks'])} processes and this would be {count}; "
            f"set trainer.devices={len(saved['ranks'])}, or add redo=true to begin again"
        )


def log_lengths(trainer: pl.Trainer) -> dict[str, int]:
    """Bytes of each of TensorBoard's files in the run's folder, all that was logged being written."""
    if not trainer.is_global_zero:
        return {}
    for logger in trainer.loggers:
        flush_logger(logger)
    return {path.name: path.stat().st_size for path in Path(trainer.default_root_dir).glob(EVENTS)}


def cut_logs(folder: Path, lengths: dict[str, int]) -> None:
    """Take out of TensorBoard's files what was logged after a checkpoint, which knew them by `lengths`."""
    for path in folder.glob(EVENTS):
        if path.name not in lengths:
            path.unlink()
        elif path.stat().st_size > lengths[path.name]:
            with path.open("r+b") as file:
                file.truncate(lengths[path.name])
