"""The scores of a trained run, with the weights that it is known by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from speechml.runs.predictions import tested, write_predictions


def scored(
    trainer: pl.Trainer, task: Any, data: Any, config: dict[str, Any], folder: Path, best: Any
) -> dict[str, Any]:
    """Test, write predictions.npz, and give what the card keeps: the scores, and how many test items have some.

    The score that a search goes by is one of the weights that are tested, not of the last epoch.

    Args:
        trainer: that has fitted `task` to `data`.
        config: of the run.
        folder: of the run.
        best: the callback that keeps the best checkpoint, if there is one.
    """
    use_best = config["checkpoint"]["test_weights"] == "best" and best is not None and best.best_model_path
    weights: dict[str, Any] = {"ckpt_path": best.best_model_path if use_best else None, "weights_only": True}
    known = ("train/",) if data.validation_is_known else ("train/", "val/")
    found: dict[str, Any] = {"scores": numbers(trainer.callback_metrics, known)}
    if config["test"]:
        trainer.test(task, datamodule=data, verbose=False, **weights)
        found["scores"] |= numbers(task.scores, ("",))
        found["scored"] = len(set(task.items) & set(data.corpus.parts["test"]))
        if trainer.is_global_zero:
            write_predictions(
                folder / "predictions.npz", tested(task, data), data.corpus.names, **task.prediction_columns()
            )
    monitor = config["checkpoint"]["monitor"]
    goal = config["objective"] or monitor
    # A run that is resumed when all its epochs are done knows no score of its training; others know the last epoch's.
    wanted = goal not in found["scores"] or (goal != monitor and goal not in (task.scores if config["test"] else {}))
    if wanted and goal.startswith("val/") and not data.validation_is_known:
        trainer.validate(task, datamodule=data, verbose=False, **weights)
        found["scores"] |= numbers(trainer.callback_metrics, ("val/",))
    return found


def numbers(values: Any, beginnings: tuple[str, ...]) -> dict[str, float]:
    """Those whose names begin so, as plain numbers."""
    return {name: float(value) for name, value in values.items() if name.startswith(beginnings)}
