"""Schedules of the learning rate, what they are told of the length of a training, and whether one takes a step."""

from __future__ import annotations

import inspect
import math
import warnings

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from speechml.config.instantiate import build, import_class
from speechml.config.third_party import interval_of
from speechml.contracts import Config
from speechml.errors import UserError
from speechml.signal.random import device_generator


class WarmupCosine(torch.optim.lr_scheduler.LRScheduler):
    """A linear rise to the learning rate of the optimiser, then half a cosine down, over the whole training.

    Of t from 0 and w = round(warmup total_steps): (t + 1) / w before w, then (1 + cos(pi (t - w) / (total_steps - w))) / 2.

    Args:
        optimizer: whose rates are the highest ones.
        total_steps: of the training.
        warmup: share of them that the rate rises.
        eta_min: the rate at the end.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, total_steps: int, warmup: float = 0.1, eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        self.rising, self.total_steps, self.eta_min = round(warmup * total_steps), total_steps, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        if self.last_epoch < self.rising:
            return [base * (self.last_epoch + 1) / self.rising for base in self.base_lrs]
        part = min(1.0, (self.last_epoch - self.rising) / max(1, self.total_steps - self.rising))
        share = (1 + math.cos(math.pi * part)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


def plan_schedule(node: Config, steps: int, epochs: int) -> tuple[Config, Config]:
    """The arguments of a schedule, the length of the training filled in, and when Lightning is to move it on.

    Raises:
        UserError: its own length is too short, or one that waits for validations is to move on otherwise.
    """
    arguments = dict(node)
    cls = import_class(arguments.get("_target_"), "scheduler.")
    known = inspect.signature(cls).parameters
    asked, score = arguments.pop("interval", None), arguments.pop("monitor", "val/loss")
    moves = {"interval": interval_of(node)}
    if issubclass(cls, torch.optim.lr_scheduler.ReduceLROnPlateau):
        moves = {"interval": "epoch", "monitor": score}
        if asked:
            raise UserError(
                f"scheduler.interval is {asked}, and {cls.__name__} goes by validations", fix="leave it out"
            )
    unit = f"{moves['interval']}s"
    length = {"steps": steps, "epochs": epochs}[unit]
    if (total := arguments.get("total_steps")) is not None and total < length:
        what = f"scheduler.total_steps is {total}, and the training has {length} {unit}"
        raise UserError(what, fix="leave it out, or raise it")
    if "pct_start" in known and arguments.get("pct_start") is not None:
        length = max(3, length)  # two steps up, one down at least
        arguments["pct_start"] = max(float(arguments["pct_start"]), 2 / length)
    for name in ("total_steps", "T_max"):
        if name in known and arguments.get(name) is None:
            arguments[name] = length
    return arguments, moves


def check_step(optimizer_node: Config, scheduler_node: Config) -> None:
    """Raises UserError where optimiser or schedule are refused, or take no step; tried on two weights, ahead of the run."""
    graph = optimizer_node.get("capturable") and torch.cuda.is_available()
    weight = nn.Parameter(torch.ones(1, 2, device="cuda" if graph else "cpu"))

    def loss() -> Tensor:
        weight.grad = torch.ones_like(weight)
        return weight.sum()

    part, node = "optimizer", optimizer_node
    optimizer = build(optimizer_node, [weight], where=part, kind=torch.optim.Optimizer)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer.step(loss)
            if scheduler_node:
                part, node = "scheduler", scheduler_node
                schedule = build(node, optimizer, where=part, kind=torch.optim.lr_scheduler.LRScheduler)
                schedule.step(*[0.0] * isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau))
    except UserError:
        raise
    except Exception as error:  # whatever a class says
        name, why = str(node["_target_"]).rpartition(".")[2], " ".join(str(error).split())
        raise UserError(f"{part} {name} takes no step with these arguments", why or type(error).__name__) from error


def repeat_draws(task: pl.LightningModule, first: tuple[int, Tensor] | None) -> tuple[int, Tensor]:
    """Let an optimiser that computes a batch again, as a line search does, compare losses of the same dropout.

    Args:
        first: the batch of the last step, and the generator's state before it; None at the beginning.

    Returns:
        The same of this step.

    Raises:
        UserError: it would add up gradients of several batches again and again, or passes over some weights.
    """
    trainer, where = task.trainer, task.trainer.fit_loop.total_batch_idx
    if isinstance(trainer.optimizers[0], torch.optim.LBFGS) and len(trainer.optimizers[0].param_groups) > 1:
        raise UserError("LBFGS trains the first group of weights only, and a callback has added one")
    if first is None or first[0] != where:
        return where, device_generator(task.device).get_state()
    if trainer.accumulate_grad_batches > 1:
        name = type(trainer.optimizers[0]).__name__
        what = f"{name} computes its batch several times a step, and each time would add up the gradients again"
        raise UserError(what, fix="raise data.batch_size instead of accumulating, or choose another optimizer")
    device_generator(task.device).set_state(first[1])
    return first
