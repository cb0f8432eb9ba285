"""Training many runs together: those of one kind step by step as a stack, each leaving when its own training is over."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

from speechml.engine.signals import Stop, Stopped
from speechml.errors import Pruned, UserError
from speechml.fused.hindrances import hindrance
from speechml.fused.member import Member
from speechml.fused.stack import Stack

if TYPE_CHECKING:
    from speechml.contracts import Config
    from speechml.engine.train import OpenRun

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
        yield from _train_group(group, stop)


def _train_group(members: list[Member], stop: Stop) -> Iterator[Ended]:
    """Train members of one kind, epoch by epoch."""
    while members:
        going = []
        for member in members:
            if member.has_epochs_left:
                member.open_epoch()
                going.append(member)
            else:
                yield member, _attempt_end(member)
        for ended in _train_epoch(going, stop) if going else ():
            going.remove(ended[0])
            yield ended
        members = []
        for member in going:
            try:
                member.end_epoch()
                members.append(member)
            except (UserError, Pruned, OSError) as error:
                yield member, error


def _attempt_end(member: Member) -> Exception | None:
    """End the training of a member; why that fails."""
    try:
        member.end()
    except (UserError, OSError) as error:
        return error
    return None


def _train_epoch(members: Sequence[Member], stop: Stop) -> Iterator[Ended]:
    """Train what is left of an epoch; those that diverge are given, and leave the others alone."""
    stack, began = Stack(members), time.monotonic()
    clocks = {str(m.parts.config["checkpoint"]): m.parts.saving for m in members}.values()
    while stack.members and stack.batch < len(stack.counts):
        steps = stack.optimizer.steps
        stops = stop.is_due(steps - members[0].parts.saving.first_step)
        if stops or any(clock.is_due(steps) for clock in clocks):
            _save(stack, final=stops)
        if stops:
            raise Stopped(stop.asked_by, steps)
        if lost := stack.step():
            stack.leave(lost)
            yield from ((member, member.refuse_loss()) for member in lost)
    stack.publish()
    for member in stack.members:
        member.spend((time.monotonic() - began) / len(members))


def _save(stack: Stack, final: bool) -> None:
    """Save all members of a stack where they are."""
    stack.publish()
    for member in stack.members:
        member.save(final)
