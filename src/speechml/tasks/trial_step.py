"""One step of an optimiser and its schedule on two weights, ahead of a run: some classes refuse arguments only then."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from speechml.config.instantiate import build
from speechml.contracts import Config
from speechml.errors import UserError


def check_step(optimizer_node: Config, scheduler_node: Config) -> None:
    """Raises UserError where optimiser or schedule are refused, or take no step."""
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
                build(node, optimizer, where=part, kind=torch.optim.lr_scheduler.LRScheduler).step()
    except UserError:
        raise
    except Exception as error:  # whatever a class says
        name, why = str(node["_target_"]).rpartition(".")[2], " ".join(str(error).split())
        raise UserError(f"{part} {name} takes no step with these arguments", why or type(error).__name__) from error
