"""The weights of many networks as one, and what a step of training makes of them all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from speechml.fused.contracts import FixedInputs
from speechml.fused.forward import Branch, all_branches, compute, grow
from speechml.fused.member import Member
from speechml.fused.network import padded
from speechml.fused.optimizers import build_stacked
from speechml.fused.scoring import score_split
from speechml.signal.random import key, uniform

GATHERED = 2**23  # numbers of input that are gathered at a time, for the next batches


class Stack:
    """Members that are trained together; their tasks have its weights after `publish`.

    Args:
        members: of equal `Member.kind`.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = sorted(members, key=lambda member: repr(member.network.signature))
        self.inputs, self.source = _distinct([member.inputs for member in self.members])
        self.inputs = F.pad(self.inputs, (0, padded(self.inputs.shape[-1]) - self.inputs.shape[-1]))
        self.labels, self.label_source = _distinct([member.labels for member in self.members])
        self._gather()
        self.open_epoch()

    def _gather(self) -> None:
        """Take weights and the states of optimisers from the members."""
        self._allocate()
        with torch.no_grad():
            for row, member in enumerate(self.members):
                for name, parameter in member.task.net.named_parameters():
                    place, state = member.network.places[name], member.optimizer.state.get(parameter, {})
                    place.view(self.weights[row]).copy_(parameter)
                    for what, numbers in self.optimizer.states.items():
                        if state.get(what) is not None:
                            place.view(numbers[row]).copy_(state[what])

    def _allocate(self) -> None:
        """Have room for the numbers of the members, all of them 0."""
        members = self.members
        shape = torch.Size((len(members), max(member.network.size for member in members)))
        self.weights, self.gradient = torch.zeros(shape), torch.zeros(shape)
        self.mask = torch.zeros(shape)  # where numbers of a network are, and not what is padded
        for row, member in enumerate(members):
            for place in member.network.places.values():
                place.view(self.mask[row]).fill_(1)
        self.groups = [member.optimizer.param_groups[0] for member in members]
        self.optimizer = build_stacked(members[0].optimizer, shape, members[0].steps)
        self.branches = grow([member.network for member in members], self.weights, range(len(members)))
        self.layers = all_branches(self.branches)
        clips = [float(member.parts.config["trainer"].get("gradient_clip_val") or 0) for member in members]
        self.clip = torch.tensor(clips)[:, None] if any(clips) else None

    def open_epoch(self) -> None:
        """Know the batches of the epoch that the members have come to."""
        first = self.members[0]
        self.counts, self.batch = first.counts, first.batch
        batches, size = len(self.counts), max(self.counts)
        orders = torch.stack([member.order for member in self.members])
        rows = F.pad(orders, (0, batches * size - orders.shape[1])).view(-1, batches, size)
        self.rows = F.pad(rows, (0, padded(size) - size))  # (members, batches, batch)
        self.losses = torch.zeros(len(self.members), batches)
        self.hits = torch.zeros(len(self.members), batches)
        for row, member in enumerate(self.members):
            self.losses[row, : self.batch], self.hits[row, : self.batch] = member.losses, member.hits
        self.gathered = range(0)
        self.is_scheduled = any(member.is_scheduled for member in self.members)
        self.optimizer.plan(self.groups, 1 if self.is_scheduled else batches - self.batch)

    @property
    def is_epoch_over(self) -> bool:
        """Whether all batches have been trained."""
        return self.batch == len(self.counts)

    def _take_batches(self) -> None:
        """Gather inputs and targets of the next batches: one gathering for many takes less than one for each."""
        size, width = self.rows.shape[2], self.inputs.shape[-1]
        count = max(1, GATHERED // (len(self.members) * size * width))
        self.gathered = range(self.batch, min(self.batch + count, len(self.counts)))
        rows = self.rows[:, self.gathered.start : self.gathered.stop]
        self.taken = self.inputs[self.source[:, None, None], rows]
        self.right = self.labels[self.label_source[:, None, None], rows]  # (members, batches, batch)
        classes = self.members[0].network.outputs
        smoothing = torch.tensor([cast("FixedInputs", member.task).label_smoothing for member in self.members])
        smoothing = smoothing[:, None, None, None]
        targets = F.one_hot(self.right, classes) * (1 - smoothing) + smoothing / classes
        counts = torch.tensor([self.counts[batch] for batch in self.gathered])[:, None, None]
        is_item = torch.arange(size)[:, None] < counts  # what fills a batch up has no part in its loss
        self.targets = (-targets * is_item / counts).flatten(2)

    def step(self) -> None:
        """Take one step of all members."""
        if self.batch not in self.gathered:
            self._take_batches()
        place = self.batch - self.gathered.start
        logits = self._forward(self.taken[:, place], training=True)
        losses = (logits.log_softmax(-1).flatten(1) * self.targets[:, place]).sum(1)
        gradients = iter(torch.autograd.grad(losses.sum(), [leaf for layer in self.layers for leaf in layer.leaves]))
        with torch.no_grad():
            for layer in self.layers:
                rows, parts = (
                    slice(layer.rows.start, layer.rows.stop),
                    [next(gradients).flatten(1) for _ in layer.leaves],
                )
                end = layer.offsets[-1] + parts[-1].shape[1]
                torch.cat(parts, 1, out=self.gradient[rows, layer.offsets[0] : end])
            self.gradient.mul_(self.mask)
            if self.clip is not None:
                self._clip_gradient(self.clip)
            self.optimizer.step(self.weights, self.gradient)
            self.losses[:, self.batch] = losses
            is_right = logits.argmax(-1) == self.right[:, place]
            self.hits[:, self.batch] = is_right[:, : self.counts[self.batch]].sum(1)
        self.batch += 1
        if self.is_scheduled:
            for member in self.members:
                member.move_schedule()
            self.optimizer.plan(self.groups, 1)

    def _forward(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Shape: (members, batch, padded inputs) -> (members, batch, outputs)."""
        kept = partial(self._kept, inputs.shape[1]) if training else lambda _: None
        return torch.cat(compute(self.branches, {}, inputs, kept))

    def _kept(self, size: int, branch: Branch) -> Tensor | None:
        """What dropout multiplies the units of a batch of `size` rows by. Shape: (members, batch, units)."""
        assert branch.step
        rows, step = slice(branch.rows.start, branch.rows.stop), branch.step.name
        modules = [member.task.net.get_submodule(member.network.dropouts[step]) for member in self.members[rows]]
        rates = torch.tensor([float(module.p) for module in modules])[:, None, None]  # type: ignore[arg-type] # of nn.Dropout
        keys = torch.tensor([key("dropout", m.data.seed, m.epoch, step) for m in self.members[rows]])[:, None, None]
        draws = uniform(keys, self.batch * size + torch.arange(size), branch.width)
        return (draws >= rates) / (1 - rates)

    def _clip_gradient(self, most: Tensor) -> None:
        """Shorten gradients that are longer, as torch's clip_grad_norm_ does; 0 leaves them."""
        squares = self.gradient.square()
        # A sum depends on how much is summed: on a network's own size, not on the stack's.
        sums = [squares[row : row + 1, : member.network.size].sum(1) for row, member in enumerate(self.members)]
        norm = torch.cat(sums)[:, None].sqrt()
        self.gradient.mul_(torch.where(most > 0, (most / (norm + 1e-6)).clamp(max=1), 1))

    def score_validation(self) -> list[dict[str, float]]:
        """The validation scores of each member."""
        rows = torch.stack([member.validated for member in self.members])
        outputs = []
        size = padded(rows.shape[1])
        rows = F.pad(rows, (0, size - rows.shape[1]), value=int(rows[0, 0]))
        with torch.no_grad():
            logits = self._forward(self.inputs[self.source[:, None], rows])
        for row, member in enumerate(self.members):
            if member.task.metrics is not None:  # of torchmetrics, which the task computes
                member.load_weights(self.weights[row].detach())
                outputs.append(score_split(member.task, member.data, "val", member.epoch))
                continue
            count = len(member.validated)
            scores = member.task.score_logits("val", logits[row, :count], member.labels[member.validated])
            left_out = member.task.test_only
            outputs.append({name: value for name, value in scores.items() if not left_out or left_out not in name})
        return outputs

    def end_epoch(self) -> list[dict[str, float]]:
        """What the epoch came to for each member, means of its batches."""
        counts = torch.tensor(self.counts, dtype=torch.float64)
        losses = ((self.losses.double() * counts).sum(1) / counts.sum()).tolist()
        shares = (self.hits.double().sum(1) / counts.sum()).tolist()
        return [{"train/loss": loss, "train/acc": share} for loss, share in zip(losses, shares, strict=True)]

    def find_lost(self) -> list[int]:
        """Rows of the members that have a loss in this epoch, or a weight, that is no number."""
        is_finite = self.losses.isfinite().all(1) & self.weights.isfinite().all(1)
        return [] if bool(is_finite.all()) else (~is_finite).nonzero()[:, 0].tolist()

    def publish(self, members: Sequence[Member]) -> None:
        """Give members their weights, and their optimisers the state."""
        for row, member in enumerate(self.members):
            if member not in members:
                continue
            member.load_weights(self.weights[row].detach())
            self._publish_state(row)

    def publish_progress(self) -> None:
        """Let all members know where they are within the epoch, with their weights."""
        self.publish(self.members)
        for row, member in enumerate(self.members):
            member.batch, member.steps = self.batch, self.optimizer.steps
            member.losses, member.hits = self.losses[row, : self.batch], self.hits[row, : self.batch]

    def _publish_state(self, row: int) -> None:
        member = self.members[row]
        for name, parameter in member.task.net.named_parameters() if self.optimizer.steps else ():
            view = member.network.places[name].view
            states = {what: view(numbers[row]).clone() for what, numbers in self.optimizer.states.items()}
            member.optimizer.state[parameter] = states | self.optimizer.count()

    def leave(self, gone: Sequence[Member]) -> None:
        """Go on without some members, between two epochs."""
        kept = [row for row, member in enumerate(self.members) if member not in gone]
        self.members = [self.members[row] for row in kept]
        self.source, self.label_source = self.source[kept], self.label_source[kept]
        if kept:
            weights, states = (
                self.weights[kept],
                {name: numbers[kept] for name, numbers in self.optimizer.states.items()},
            )
            steps = self.optimizer.steps
            self._allocate()
            self.weights.copy_(weights[:, : self.weights.shape[1]])
            for name, numbers in states.items():
                self.optimizer.states[name].copy_(numbers[:, : self.weights.shape[1]])
            self.optimizer.steps = steps


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
