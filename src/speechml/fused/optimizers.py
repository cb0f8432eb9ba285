"""Optimisers that step the weights of many networks at once, each by its own rates, from and to torch's own states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Group = dict[str, Any]  # a parameter group of torch


class StackedOptimizer(Protocol):
    """Steps rows of weights.

    Attributes:
        states: by the names that torch gives them in its state of a parameter. Shape: (networks, numbers) each.
        steps: how many the networks have taken.
    """

    states: dict[str, Tensor]
    steps: int

    def plan(self, groups: Sequence[Group], count: int) -> None:
        """Take the rates of the next `count` steps from the groups of torch's optimisers, one of each network."""

    def step(self, weights: Tensor, gradient: Tensor) -> None:
        """Move weights along. Shape: (networks, numbers) twice."""

    def count(self) -> dict[str, Tensor]:
        """What torch keeps of the number of steps."""


def _column(groups: Sequence[Group], value: Callable[[Group], float]) -> Tensor:
    """A value of each group, computed in Python: torch's own powers go by their place in a vector. Shape: (networks, 1)."""
    return torch.tensor([float(value(group)) for group in groups])[:, None]


class StackedSGD:
    """torch.optim.SGD: weight decay, momentum, dampening, Nesterov."""

    def __init__(self, first: Group, shape: torch.Size, steps: int) -> None:
        self.has_momentum, self.is_nesterov = bool(first["momentum"]), bool(first["nesterov"])
        self.states = {"momentum_buffer": torch.zeros(shape)} if self.has_momentum else {}
        self.steps = steps

    def plan(self, groups: Sequence[Group], count: int) -> None:  # noqa: ARG002 (all steps have the same rates)
        self.lr, self.momentum = _column(groups, lambda g: g["lr"]), _column(groups, lambda g: g["momentum"])
        self.decay = _column(groups, lambda g: g["weight_decay"])
        self.share = _column(groups, lambda g: 1 - g["dampening"])

    def step(self, weights: Tensor, gradient: Tensor) -> None:
        self.steps += 1
        gradient = gradient + weights * self.decay
        if self.has_momentum:
            buffer = self.states["momentum_buffer"]
            if self.steps == 1:
                buffer.copy_(gradient)
            else:
                buffer.mul_(self.momentum).add_(gradient * self.share)
            gradient = gradient + buffer * self.momentum if self.is_nesterov else buffer
        weights.sub_(gradient * self.lr)

    def count(self) -> dict[str, Tensor]:
        return {}


class StackedAdam:
    """torch.optim.Adam and AdamW, without amsgrad.

    Args:
        decoupled: whether the decay is of the weights (AdamW), or added to the gradient (Adam).
    """

    def __init__(self, shape: torch.Size, steps: int, decoupled: bool) -> None:
        self.states = {"exp_avg": torch.zeros(shape), "exp_avg_sq": torch.zeros(shape)}
        self.decoupled, self.steps = decoupled, steps
        self.root = torch.zeros(shape)

    def plan(self, groups: Sequence[Group], count: int) -> None:
        self.first = self.steps + 1
        self.news = [_column(groups, lambda g, which=which: 1 - g["betas"][which]) for which in (0, 1)]  # type: ignore[misc]
        self.kept, self.eps = _column(groups, lambda g: g["betas"][1]), _column(groups, lambda g: g["eps"])
        decoupled = self.decoupled
        self.pull = _column(groups, lambda g: 1 - g["lr"] * g["weight_decay"] if decoupled else g["weight_decay"])
        self.decays = any(group["weight_decay"] for group in groups)
        # Means that began at 0 lack beta^step. Equal rates are computed once.
        after = range(self.first, self.first + count)
        rates = [(g["lr"], *g["betas"]) for g in groups]
        sizes = {rate: [rate[0] / (1 - rate[1] ** step) for step in after] for rate in set(rates)}
        roots = {rate[2]: [(1 - rate[2] ** step) ** 0.5 for step in after] for rate in set(rates)}
        self.sizes = torch.tensor([sizes[rate] for rate in rates]).t()[..., None].contiguous()  # (steps, networks, 1)
        self.roots = torch.tensor([roots[rate[2]] for rate in rates]).t()[..., None].contiguous()

    def step(self, weights: Tensor, gradient: Tensor) -> None:
        self.steps += 1
        place = self.steps - self.first
        if self.decays and self.decoupled:
            weights.mul_(self.pull)
        elif self.decays:
            gradient = gradient + weights * self.pull
        mean, square = self.states["exp_avg"], self.states["exp_avg_sq"]
        mean.lerp_(gradient, self.news[0])
        square.mul_(self.kept).addcmul_(gradient, gradient * self.news[1])
        torch.pow(square, 0.5, out=self.root).div_(self.roots[place]).add_(self.eps)
        weights.sub_(torch.div(mean, self.root, out=self.root).mul_(self.sizes[place]))

    def count(self) -> dict[str, Tensor]:
        return {"step": torch.tensor(float(self.steps))}


def build_stacked(optimizer: torch.optim.Optimizer, shape: torch.Size, steps: int) -> StackedOptimizer:
    """The stacked form of an optimiser that `hindrance` has nothing to say of.

    Args:
        optimizer: of the first network.
        shape: (networks, numbers) of the weights.
        steps: that were taken before.
    """
    first = optimizer.param_groups[0]
    if isinstance(optimizer, torch.optim.SGD):
        return StackedSGD(first, shape, steps)
    return StackedAdam(
        shape, steps, isinstance(optimizer, torch.optim.AdamW) or bool(first.get("decoupled_weight_decay"))
    )
