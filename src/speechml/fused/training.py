"""Training many runs together: those of one kind step by step as a stack, each leaving when its own training is over."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from speechml.engine.signals import Stop, Stopped
from speechml.errors import UserError
from speechml.fused.hindrances import hindrance
from speechml.fused.member import Member
from speechml.fused.memory import split_by_memory
from speechml.fused.stack import Stack

if TYPE_CHECKING:
    from speechml.contracts import Config
    from speechml.engine.life import OpenRun

Ended = tuple[Member, Exception | None]  # a member whose training is over, or why it cannot go on


def check_fusable(config: Config) -> None:
    """Raises UserError where the fused engine cannot train a run."""
    if why := hindrance(config):
        raise UserError("engine=fused cannot train this run", why, "leave engine out")


def train_alone(run: OpenRun) -> None:
    """Train one run as a stack of its own: its twin in a company of any size comes to the same, bit for bit."""
    for _, error in train_together([Member(run)], run.parts.stop):
        if error:
            raise error


def group_members(members: Sequence[Member]) -> list[list[Member]]:
    """Members that can be stacked, in groups."""
    groups: dict[Hashable, list[Member]] = defaultdict(list)
    for member in members:
        groups[member.kind].append(member)
    return list(groups.values())


def train_together(members: Sequence[Member], stop: Stop) -> Iterator[Ended]:
    """Train members, and give each as soon as its training is over.

    Raises:
        Stopped: a signal asks for it; those in training have been saved.
    """
    # The schedules are torch's, and see no optimiser step of torch's.
    warnings.filterwarnings("ignore", ".*lr_scheduler.step.*before.*optimizer.step.*")
    for group in group_members(members):
        for part in split_by_memory(group):
            yield from _train_group(part, stop)


def _train_group(members: Sequence[Member], stop: Stop) -> Iterator[Ended]:
    """Train members of one kind, epoch by epoch."""
    going = [member for member in members if member.has_epochs_left]
    yield from ((member, _attempt(member.end)) for member in members if member not in going)
    stack = Stack(going) if going else None
    while stack and stack.members:
        began = time.monotonic()
        _train_epoch(stack, stop)
        ended = _end_epoch(stack)
        for member in stack.members:
            member.spend((time.monotonic() - began) / len(stack.members))
        if ended:
            stack.publish([member for member, _ in ended])
            stack.leave([member for member, _ in ended])
            yield from ((member, error or _attempt(member.end)) for member, error in ended)
        if stack.members:
            stack.open_epoch()


def _end_epoch(stack: Stack) -> list[Ended]:
    """Validate, and let what watches the members know of the epoch; those that end with it."""
    losses, lost = stack.end_epoch(), stack.find_lost()
    scores = stack.score_validation() if stack.members[0].is_validation_due else [{}] * len(stack.members)
    ended: list[Ended] = []
    for row, member in enumerate(stack.members):
        member.steps, error = stack.optimizer.steps, None
        if row in lost:
            stack.publish([member])
            error = _attempt(partial(member.check_losses, stack.losses[row]))
        error = error or _attempt(partial(member.end_epoch, losses[row], scores[row], stack.weights[row].detach()))
        if error or not member.has_epochs_left:
            ended.append((member, error))
        else:
            member.open_epoch()
    return ended


def _attempt(do: Callable[[], None]) -> Exception | None:
    """Do something of one member; why that fails, whatever it is: the others go on."""
    try:
        do()
    except Exception as error:  # of a callback as well; the run's life makes a sentence of it
        return error
    return None


def _train_epoch(stack: Stack, stop: Stop) -> None:
    """Train what is left of an epoch. Raises Stopped, all being saved."""
    clocks = {str(member.parts.config["checkpoint"]): member for member in stack.members}.values()
    begun = max(member.parts.saving.first_step for member in stack.members)
    torch.set_flush_denormal(True)  # mean squares of gradients near 0, which take ten times longer
    try:
        _take_steps(stack, stop, list(clocks), begun)
    finally:
        torch.set_flush_denormal(False)


def _take_steps(stack: Stack, stop: Stop, clocks: Sequence[Member], begun: int) -> None:
    while not stack.is_epoch_over:
        steps = stack.optimizer.steps
        stops = stop.is_due(steps - begun)
        if stops or any(clock.is_saving_due(stack.batch, steps) for clock in clocks):
            stack.publish_progress()
            for member in stack.members:
                member.save(final=stops)
        if stops:
            raise Stopped(stop.asked_by, steps)
        stack.step()
