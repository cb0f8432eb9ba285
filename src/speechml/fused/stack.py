"""The weights of many networks of one kind, and what a step of training makes of them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from speechml.fused.contracts import FixedInputs
from speechml.fused.member import Member
from speechml.fused.network import padded
from speechml.fused.optimizers import build_stacked
from speechml.signal.random import key, uniform


class Stack:
    """Members of one kind during an epoch; between two, their tasks and optimisers have what it gives back (`publish`).

    Args:
        members: of equal `Member.kind`.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        first = members[0]
        self.network, self.counts = first.network, [len(items) for items in first.groups]
        self.batch, self.items = first.batch, first.items
        self.rows = torch.stack([_padded_rows(member.groups) for member in members])  # (members, batches, batch)
        self.inputs, self.source = _distinct([member.inputs for member in members])
        self.inputs = F.pad(self.inputs, (0, padded(self.inputs.shape[-1]) - self.inputs.shape[-1]))
        self.labels, self.label_source = _distinct([member.labels for member in members])
        self._gather()

    def _gather(self) -> None:
        """Take weights and the state of optimisers from the members."""
        members, network = self.members, self.network
        shape = torch.Size((len(members), network.size))
        self.weights = torch.zeros(shape)
        self.groups = [member.optimizer.param_groups[0] for member in members]
        self.optimizer = build_stacked(members[0].optimizer, self.groups, shape)
        self.optimizer.steps = members[0].steps
        for row, member in enumerate(members):
            for name, parameter in member.task.net.named_parameters():
                place, state = member.network.places[name], member.optimizer.state.get(parameter, {})
                place.view(self.weights[row]).copy_(parameter.detach())
                for what, numbers in self.optimizer.states.items():
                    if state.get(what) is not None:
                        place.view(numbers[row]).copy_(state[what])
        self.sums = {
            name: torch.tensor([member.sums.get(name, 0.0) for member in members], dtype=torch.float64)
            for name in ("loss", "acc")
        }
        self.mask = torch.zeros(shape)  # where its numbers are: layers of other sizes may be padded to the same
        for row, member in enumerate(members):
            for place in member.network.places.values():
                place.view(self.mask[row]).fill_(1)
        tasks = [cast("FixedInputs", member.task) for member in members]
        self.smoothing = torch.tensor([task.label_smoothing for task in tasks], dtype=torch.float64)[:, None].float()
        clips = [float(member.parts.config["trainer"].get("gradient_clip_val") or 0) for member in members]
        self.clip = torch.tensor(clips)[:, None] if any(clips) else None
        rates = {step: [_dropout(member, name) for member in members] for step, name in self.network.dropouts.items()}
        self.dropout = {step: torch.tensor(values)[:, None, None] for step, values in rates.items() if any(values)}
        self.keys = {
            step: torch.tensor([key("dropout", m.data.seed, m.epoch, step) for m in members])[:, None, None]
            for step in self.dropout
        }
        self.gradient = torch.zeros(shape)
        self.leaves = {name: place.stacked(self.weights).requires_grad_() for name, place in network.places.items()}

    def step(self) -> list[Member]:
        """Take one step of all members; those whose loss is no number."""
        rows, count = self.rows[:, self.batch], self.counts[self.batch]
        labels = self.labels[self.label_source[:, None], rows]
        inputs = self.inputs[self.source[:, None], rows]
        logits = self.network.forward(self.leaves, inputs, self._kept(rows.shape[1]))
        logs = logits.log_softmax(-1)
        right = logs.gather(-1, labels[..., None])[..., 0]
        each = -(right * (1 - self.smoothing) + logs.mean(-1) * self.smoothing)
        losses = each[:, :count].sum(1) / count
        gradients = torch.autograd.grad(losses.sum(), list(self.leaves.values()))
        with torch.no_grad():
            torch.cat([one.reshape(len(one), -1) for one in gradients], 1, out=self.gradient)
            self.gradient.mul_(self.mask)
            if self.clip is not None:
                norm = self.gradient.square().sum(1, keepdim=True).sqrt()
                self.gradient.mul_((self.clip / (norm + 1e-6)).clamp(max=1))  # as torch's clip_grad_norm_
            self.optimizer.step(self.weights, self.gradient)
            hits = (logits.argmax(-1) == labels)[:, :count].sum(1)
            self.sums["loss"] += losses.double() * count
            self.sums["acc"] += hits
        self.batch, self.items = self.batch + 1, self.items + count
        if any([member.move_schedule() for member in self.members]):  # each of them
            self.optimizer.set_rates(self.groups)
        if bool(losses.isfinite().all()):
            return []
        return [member for member, finite in zip(self.members, losses.isfinite().tolist(), strict=True) if not finite]

    def _kept(self, size: int) -> dict[str, Tensor]:
        """What dropout multiplies the units of a batch by, of `size` rows. Shape: (members, batch, units) each."""
        kept = {}
        for step, rates in self.dropout.items():
            items = self.batch * size + torch.arange(size)
            draws = uniform(self.keys[step], items, padded(self.network.widths[step]))
            kept[step] = (draws >= rates) / (1 - rates)
        return kept

    def publish(self) -> None:
        """Give the members their weights, and their optimisers the states."""
        with torch.no_grad():
            for row, member in enumerate(self.members):
                for name, parameter in member.task.net.named_parameters():
                    place = member.network.places[name]
                    parameter.copy_(place.view(self.weights[row]))
                    state: dict[str, Tensor] = {
                        what: place.view(numbers[row]).contiguous().clone()
                        for what, numbers in self.optimizer.states.items()
                    }
                    if "exp_avg" in state:
                        state["step"] = torch.tensor(float(self.optimizer.steps))
                    member.optimizer.state[parameter] = state if self.optimizer.steps else {}
                member.sums = {name: float(values[row]) for name, values in self.sums.items()}
                member.batch, member.steps, member.items = self.batch, self.optimizer.steps, self.items

    def leave(self, gone: Sequence[Member]) -> None:
        """Go on without some members, within an epoch."""
        self.publish()
        kept = [row for row, member in enumerate(self.members) if member not in gone]
        self.members = [self.members[row] for row in kept]
        self.rows, self.source, self.label_source = self.rows[kept], self.source[kept], self.label_source[kept]
        if kept:
            self._gather()


def _padded_rows(groups: Sequence[Tensor]) -> Tensor:
    """The items of batches, each filled up to one length. Shape: (batches, items)."""
    size = padded(max(map(len, groups)))
    return torch.stack([F.pad(items, (0, size - len(items)), value=int(items[0])) for items in groups])


def _distinct(tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Those of some tensors that differ, and for each which of them it is. Shape: (distinct, ...), (tensors,)."""
    found: list[Tensor] = []
    places = []
    for tensor in tensors:
        place = next((i for i, one in enumerate(found) if one is tensor or torch.equal(one, tensor)), len(found))
        if place == len(found):
            found.append(tensor)
        places.append(place)
    return torch.stack(found), torch.tensor(places)


def _dropout(member: Member, name: str) -> float:
    return float(member.task.net.get_submodule(name).p)  # type: ignore[arg-type] # of nn.Dropout
