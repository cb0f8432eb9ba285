"""What many networks compute at once: as long as they take the same steps they take them together, then they branch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from speechml.fused.network import StackedNetwork, Step

Values = Mapping[str, Tensor]  # what steps have given, by name. Shape: (networks, batch, ...) each


@dataclass(frozen=True)
class Branch:
    """A step that the networks of some rows of a stack take together, and where they go on from it.

    Attributes:
        step: None where they have come to their end.
        rows: of the stack.
        leaves: weight and bias of a linear layer, views of the stack's. Shape: (networks, inputs, outputs),
            (networks, 1, outputs).
        offsets: of the leaves among the numbers of a network.
        result: name of the step that gives their outputs, at the end.
        outputs: how many.
        width: units that the step gives, padded.
    """

    step: Step | None
    rows: range
    leaves: tuple[Tensor, ...] = ()
    offsets: tuple[int, ...] = ()
    result: str = ""
    outputs: int = 0
    width: int = 0
    branches: tuple[Branch, ...] = ()


Kept = Callable[[Branch], Tensor | None]  # what dropout multiplies units by; None where it leaves none out


def grow(networks: Sequence[StackedNetwork], weights: Tensor, rows: range, depth: int = 0) -> tuple[Branch, ...]:
    """The steps of networks as a tree, in the order of their rows: those with the same beginning lie together.

    Args:
        networks: of each row of `weights`.
        weights: shape (networks, numbers).
        rows: those that take the same steps up to `depth`.
    """
    found = []
    for _, group in groupby(rows, lambda row: networks[row].signature[depth]):
        part = list(group)
        own, network = range(part[0], part[-1] + 1), networks[part[0]]
        if depth == len(network.steps):
            found.append(Branch(None, own, result=network.result, outputs=network.outputs))
            continue
        step, places = network.steps[depth], []
        if step.kind == "linear":
            names = (f"{step.target}.{what}" for what in ("weight", "bias"))
            places = [network.places[name] for name in names if name in network.places]
        leaves = tuple(place.stacked(weights[own.start : own.stop]).requires_grad_() for place in places)
        offsets, width = tuple(place.offset for place in places), network.padded_width(step.name)
        found.append(Branch(step, own, leaves, offsets, width=width, branches=grow(networks, weights, own, depth + 1)))
    return tuple(found)


def compute(branches: Sequence[Branch], values: Values, inputs: Tensor, kept: Kept) -> list[Tensor]:
    """The outputs of networks, in the order of their rows.

    Shape: inputs (networks, batch, padded inputs) of all -> (networks, batch, outputs) of each branch that ends.
    """
    if len(branches) == 1:
        return _take_step(branches[0], values, inputs, kept)
    outputs: list[Tensor] = []
    sizes = [len(branch.rows) for branch in branches]
    shares = {name: value.split(sizes) for name, value in values.items()}
    for number, branch in enumerate(branches):
        own = {name: parts[number] for name, parts in shares.items()}
        outputs += _take_step(branch, own, inputs, kept)
    return outputs


def _take_step(branch: Branch, values: Values, inputs: Tensor, kept: Kept) -> list[Tensor]:
    """Take the step of a branch, and go on."""
    step = branch.step
    if step is None:
        return [values[branch.result][..., : branch.outputs]]
    given = [values[one] if isinstance(one, str) else one for one in step.arguments]
    if step.kind == "input":
        result = inputs[branch.rows.start : branch.rows.stop]
    elif step.kind == "linear":
        weight, *bias = branch.leaves
        result = torch.baddbmm(bias[0], given[0], weight) if bias else given[0] @ weight
    elif step.kind == "dropout":
        factor = kept(branch)
        result = given[0] if factor is None else given[0] * factor
    else:
        result = step.target(*given, **step.constants)
    needed = {name: value for name, value in values.items() if name in step.later}
    return compute(branch.branches, {**needed, step.name: result}, inputs, kept)


def all_branches(branches: Sequence[Branch]) -> list[Branch]:
    """A tree's branches that have weights."""
    return [one for branch in branches for one in ([branch] if branch.leaves else []) + all_branches(branch.branches)]
