"""Optimisers that step the weights of many networks at once, each by its own rates, from and to torch's own states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

Group = dict[str, object]  # a parameter group of torch


class StackedOptimizer(Protocol):
    """Steps rows of weights.

    Attributes:
        states: by the names that torch gives them in its state of a parameter. Shape: (networks, numbers) each.
        steps: how many the networks have taken.
    """

    states: dict[str, Tensor]
    steps: int

    def set_rates(self, groups: Sequence[Group]) -> None:
        """Take the rates of the next step from the groups of torch's optimisers, one of each network."""

    def step(self, weights: Tensor, gradient: Tensor) -> None:
        """Move weights along. Shape: (networks, numbers) twice."""


def _column(groups: Sequence[Group], name: str, place: int | None = None) -> Tensor:
    """A value of each group. Shape: (networks, 1)."""
    values = [group[name] if place is None else group[name][place] for group in groups]  # type: ignore[index] # betas
    return torch.tensor([float(value) for value in values], dtype=torch.float64)[:, None]  # type: ignore[arg-type]


class StackedSGD:
    """torch.optim.SGD: weight decay, momentum, dampening, Nesterov."""

    def __init__(self, groups: Sequence[Group], shape: torch.Size) -> None:
        self.has_momentum = bool(groups[0]["momentum"])
        self.states = {"momentum_buffer": torch.zeros(shape)} if self.has_momentum else {}
        self.is_nesterov, self.steps = bool(groups[0]["nesterov"]), 0
        self.set_rates(groups)

    def set_rates(self, groups: Sequence[Group]) -> None:
        names = ("lr", "momentum", "weight_decay")
        self.lr, self.momentum, self.decay = (_column(groups, name).float() for name in names)
        self.share = (1 - _column(groups, "dampening")).float()
        self.decays = bool(self.decay.any())

    def step(self, weights: Tensor, gradient: Tensor) -> None:
        self.steps += 1
        if self.decays:
            gradient = gradient + weights * self.decay
        if self.has_momentum:
            buffer = self.states["momentum_buffer"]
            if self.steps == 1:
                buffer.copy_(gradient)
            else:
                buffer.mul_(self.momentum).add_(gradient * self.share)
            gradient = gradient + buffer * self.momentum if self.is_nesterov else buffer
        weights.sub_(gradient * self.lr)


class StackedAdam:
    """torch.optim.Adam and AdamW, without amsgrad.

    Args:
        decoupled: whether the decay is of the weights (AdamW), or added to the gradient (Adam).
    """

    def __init__(self, groups: Sequence[Group], shape: torch.Size, decoupled: bool) -> None:
        self.states = {"exp_avg": torch.zeros(shape), "exp_avg_sq": torch.zeros(shape)}
        self.decoupled, self.steps = decoupled, 0
        self.set_rates(groups)

    def set_rates(self, groups: Sequence[Group]) -> None:
        self.lr, self.decay, self.eps = (_column(groups, name) for name in ("lr", "weight_decay", "eps"))
        self.betas = _column(groups, "betas", 0), _column(groups, "betas", 1)
        self.kept = self.betas[1].float()
        self.news = [(1 - beta).float() for beta in self.betas]
        self.floor = self.eps.float()
        self.pull = (1 - self.lr * self.decay if self.decoupled else self.decay).float()
        self.decays = bool(self.decay.any())

    def step(self, weights: Tensor, gradient: Tensor) -> None:
        self.steps += 1
        if self.decays and self.decoupled:
            weights.mul_(self.pull)
        elif self.decays:
            gradient = gradient + weights * self.pull
        mean, square = self.states["exp_avg"], self.states["exp_avg_sq"]
        mean.add_((gradient - mean).mul_(self.news[0]))
        square.mul_(self.kept).add_(gradient.square().mul_(self.news[1]))
        first, second = (self._missing(beta) for beta in self.betas)
        root = square.sqrt().div_(second.sqrt().float()).add_(self.floor)
        weights.sub_((mean / root).mul_((self.lr / first).float()))

    def _missing(self, betas: Tensor) -> Tensor:
        """1 - beta^steps, what a mean that began at 0 lacks; by Python, since torch's powers go by their place in a vector."""
        powers = {beta: 1 - beta**self.steps for beta in set(betas[:, 0].tolist())}
        return torch.tensor([powers[beta] for beta in betas[:, 0].tolist()], dtype=torch.float64)[:, None]


def build_stacked(optimizer: torch.optim.Optimizer, groups: Sequence[Group], shape: torch.Size) -> StackedOptimizer:
    """The stacked form of an optimiser, of which `hindrance` has nothing to say.

    Args:
        optimizer: of the first network.
        groups: of all networks, one each.
        shape: (networks, numbers) of the weights.
    """
    if isinstance(optimizer, torch.optim.SGD):
        return StackedSGD(groups, shape)
    decoupled = isinstance(optimizer, torch.optim.AdamW) or bool(groups[0].get("decoupled_weight_decay"))
    return StackedAdam(groups, shape, decoupled)
