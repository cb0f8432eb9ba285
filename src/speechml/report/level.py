"""What is said of the level of recordings: whether a network's score holds at others, and which of them are far off."""

from __future__ import annotations

import math
from collections.abc import Mapping

from speechml.report.summary import TITLES
from speechml.runs.card import LevelCurve, RunCard
from speechml.signal.level import decibels

# How much of a score may be lost at another level: dB, or a share.
TOLERANCE = {True: 1.0, False: 0.05}
FAR_DB = 10.0  # of level, where it was not measured what it costs
REMEDY = "train with model.normalize=recording, which follows the level"


def level_text(curve: LevelCurve) -> str:
    """Whether the score of a network holds at other levels than that of its test."""
    title, own_db = _title(curve), f"{curve.own_db:.0f} dBFS"
    lost, worst_db = max((curve.loss_at(db), db) for db in curve.levels_db)
    between = f"from {curve.levels_db[0]:.0f} to {curve.levels_db[-1]:.0f} dBFS (RMS)"
    if lost <= _tolerance(curve):
        return f"Level: {title} holds for recordings {between}."
    return (
        f"Level: {title} falls by {_amount(curve, lost)} at {worst_db:.0f} dBFS (RMS); these recordings have {own_db}."
    )


def level_remark(card: RunCard | None, task: object, levels_db: Mapping[str, float]) -> str:
    """One sentence on recordings that are too loud or too soft for a network that does not follow the level, or none.

    Args:
        card: of the network's run, where it lies in one.
        task: the network.
        levels_db: RMS of the recordings in dBFS, by their names; minus infinity of silence.
    """
    levels = {name: level for name, level in levels_db.items() if math.isfinite(level)}
    curve, trained = card and card.level_curve, getattr(task, "level", 1.0)
    if getattr(task, "follows_level", False):
        return ""
    if curve:
        lost = {name: curve.loss_at(level) for name, level in levels.items()}
        far, own_db = {name: loss for name, loss in lost.items() if loss > _tolerance(curve)}, curve.own_db
    elif float(trained) != 1.0:  # runs of before the curve was measured
        own_db = decibels(float(trained))
        far = {name: off for name, level in levels.items() if (off := abs(level - own_db)) > FAR_DB}
    else:
        return ""
    if not far:
        return ""
    worst = max(far, key=lambda name: far[name])
    cost = f"about {_amount(curve, far[worst])} of {_title(curve)} is lost there" if curve else "it may do worse there"
    return (
        f"Level: {len(far)} of {len(levels_db)} recordings lie too far from the level that the network knows "
        f"({own_db:.0f} dBFS RMS), as {worst} at {levels[worst]:.0f} dBFS: {cost}; {REMEDY}."
    )


def _title(curve: LevelCurve) -> str:
    return TITLES.get(curve.score, curve.score).removesuffix(" (dB)")


def _tolerance(curve: LevelCurve) -> float:
    return TOLERANCE[curve.score.endswith("_db")]


def _amount(curve: LevelCurve, lost: float) -> str:
    return f"{lost:.1f} dB" if curve.score.endswith("_db") else f"{lost:.1%}"
