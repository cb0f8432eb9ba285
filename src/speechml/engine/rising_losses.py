"""What is said of losses that did not end at their lowest: a training that diverged, or that learned its recordings by heart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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
