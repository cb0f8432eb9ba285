"""What a schedule is told of the length of a training, and whether an optimiser and its schedule take a step."""

from __future__ import annotations

import inspect
import warnings

import torch
from torch import Tensor, nn

from speechml.config.instantiate import build, import_class
from speechml.contracts import Config
from speechml.errors import UserError


def schedule_arguments(node: Config, steps: int) -> Config:
    """The node of a schedule with the length of the training filled in. Raises UserError where its own length is too short."""
    arguments = dict(node)
    known = inspect.signature(import_class(arguments.get("_target_"), "scheduler.")).parameters
    if (total := arguments.get("total_steps")) is not None and total < steps:
        what = f"scheduler.total_steps is {total}, and the training has {steps} steps"
        raise UserError(what, fix="leave it out, or raise it")
    if "pct_start" in known and arguments.get("pct_start") is not None:
        steps = max(3, steps)  # two steps up, one down at least
        arguments["pct_start"] = max(float(arguments["pct_start"]), 2 / steps)
    for name in ("total_steps", "T_max"):
        if name in known and arguments.get(name) is None:
            arguments[name] = steps
    return arguments


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
