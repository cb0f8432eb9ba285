"""What a training is warned of: losses that did not end at their lowest, an end before the planned one, weights in doubt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer

from speechml.contracts import standard_name
from speechml.errors import UserError

if TYPE_CHECKING:
    from speechml.engine.parts import Parts

SLOWER = "; lower optimizer.lr"
LEAST_FALL = 0.1  # share of its first that a training loss falls by in overfitting, chosen here
MOST = (
    10  # times its first that a validation loss rises by in overfitting, chosen here: what rises further has diverged
)


def describe_rises(rows: Sequence[Mapping[str, float]], chosen_by: str) -> list[str]:
    """Sentences on losses that rose, or that are not finite, from the first epoch to the last.

    A validation loss that rose while that of training fell is overfitting, no divergence, see `choosing.DIVERGED`.

    Args:
        rows: what was logged of each epoch.
        chosen_by: the score by which the tested weights were chosen; empty where they are the last.
    """
    lines = []
    for name in ("train/loss", "val/loss"):
        losses = {int(row["epoch"]) + 1: row[name] for row in rows if name in row}  # epochs are counted from 1
        finite = {epoch: loss for epoch, loss in losses.items() if math.isfinite(loss)}
        if not losses:
            continue
        first, last = (losses[choose(losses)] for choose in (min, max))
        if not math.isfinite(last):
            lines.append(f"{name} is {last} in the last epoch")
            continue
        best = min(finite, key=finite.__getitem__)
        from_lowest = last - finite[best] > max(abs(finite[best]), abs(first))
        if name == "val/loss" and from_lowest and last <= first + MOST * abs(first) and (fall := _fall(rows)):
            lines.append(_overfitting(best, finite[best], last, fall, chosen_by))
        elif last - first > abs(first):
            lines.append(f"{name} rose from {first:.3g} in the first epoch to {last:.3g} in the last{SLOWER}")
        elif name == "train/loss" and from_lowest:
            lines.append(f"{name} rose from {finite[best]:.3g}, its lowest, to {last:.3g} at the end{SLOWER}")
    return lines


def _fall(rows: Sequence[Mapping[str, float]]) -> str:
    """Where the training loss came from and went to; nothing where it hardly fell, or is not known."""
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    fell = bool(losses) and losses[0] - losses[-1] >= LEAST_FALL * abs(losses[0])
    return f"from {losses[0]:.3g} to {losses[-1]:.3g}" if fell else ""


def _overfitting(epoch: int, lowest: float, last: float, fall: str, chosen_by: str) -> str:
    """The sentence on a validation loss that rose while that of training fell."""
    tested = (
        f"the tested weights are the best by {chosen_by}" if chosen_by
        else "the last weights are tested, and checkpoint.test_weights=best takes the best ones"
    )  # fmt: skip
    return (
        f"val/loss rose from {lowest:.3g} in epoch {epoch}, its lowest, to {last:.3g} at the end while train/loss fell {fall}: "
        f"it overfits; {tested}; trainer.max_epochs={epoch} or callbacks.early_stopping would end it there"
    )


def describe_limits(parts: Parts) -> list[str]:
    """Sentences on a training that only tried out a few batches, or that trainer.max_time ended before its planned end."""
    trainer = parts.trainer
    if trainer.fast_dev_run:  # type: ignore[attr-defined] # of a trainer's flags
        return ["trainer.fast_dev_run tries out a few batches: no weights are kept, and no score means anything"]
    planned = float(trainer.estimated_stepping_batches)
    if planned < 0 or not parts.module.automatic_optimization:  # not known, or counted in batches and not in steps
        planned = math.inf
    timers = [one for one in trainer.callbacks if isinstance(one, Timer)]  # type: ignore[attr-defined] # Lightning sets it
    is_over = any(left is not None and left <= 0 for left in (timer.time_remaining() for timer in timers))
    if not is_over or trainer.global_step >= planned:
        return []
    of = f" of {planned:,.0f}" if math.isfinite(planned) else ""
    return [f"trainer.max_time ended the training after {trainer.global_step:,}{of} steps"]


def describe_doubts(parts: Parts, then: float, now: float | None, is_same: bool) -> list[str]:
    """Sentences where the kept weights do not score what they did when they were chosen, or others were meant.

    Args:
        then, now: of checkpoint.monitor.
        is_same: whether `now` is as near to `then` as it must be.
    """
    lines, monitor = [], standard_name(parts.config["checkpoint"]["monitor"])
    if parts.best and parts.best.ends_unvalidated:
        lines.append("a callback put other weights into the network when training ended, and the best validated ones are tested; "
                     "checkpoint.test_weights=last tests the others")  # fmt: skip
    if not is_same:
        lines.append(f"{monitor} of the kept weights is {now}, and was {then} when they were chosen: they are not what was "
                     "validated, or validation is not the same twice")  # fmt: skip
    return lines


def explain_callback(error: Exception, callbacks: Mapping[str, pl.Callback]) -> UserError | None:
    """What is said of an error that a callback of the config has raised, or Lightning of its settings; None of another.

    Args:
        callbacks: by their names in the config.
    """
    frames = list(walk_tb(error.__traceback__))
    place = f"line {frames[-1][1]} of {Path(frames[-1][0].f_code.co_filename).name}"
    why = f"{type(error).__name__}: {' '.join(str(error).split())}, in {place}"
    callers = [frame.f_locals.get("self") for frame, _ in frames]
    for name, callback in callbacks.items():
        if any(caller is callback for caller in callers):
            what = f"callbacks.{name} {type(callback).__name__} failed"
            return UserError(what, why, f"callbacks.{name}=null leaves it out")
    return UserError("Lightning refuses the run", why) if isinstance(error, MisconfigurationException) else None
