"""Training and testing on one rank, and the figures that the run's card keeps of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from speechml.contracts import Config
from speechml.engine.checkpoint import check_weights, read_checkpoint
from speechml.engine.parts import Parts, watched_score
from speechml.engine.resume import EVENTS
from speechml.errors import UserError
from speechml.runs.identity import run_settings
from speechml.runs.predictions import write_predictions


@dataclass
class Results:
    """What a run comes to; the names are those of the card."""

    parameters: int
    training_s: float
    epochs: int
    clips_per_s: float
    monitored: float | None
    scores: dict[str, float | None]
    scored: int | None
    headlines: list[str]


def fit_and_test(
    parts: Parts, folder: Path, checkpoint: Path | None, overrides: list[str], quiet: bool = False
) -> Results:
    """Train from the beginning or from a checkpoint, then test; until it is done or a signal stops it.

    Args:
        parts: of the run.
        folder: of the run, which this process or its leader holds.
        checkpoint: to go on from.
        overrides: of the command line, for TensorBoard.
        quiet: say nothing of the network.

    Raises:
        UserError: the checkpoint is not what this run can go on from.
        Pruned: a search can do without the run.
    """
    config, task, trainer = parts.config, parts.task, parts.trainer
    if checkpoint:
        check_weights(task, read_checkpoint(checkpoint)["state_dict"], checkpoint)
    parts.resume_from(checkpoint)
    if trainer.is_global_zero and not quiet:
        print(task.describe(), file=sys.stderr, flush=True)
    if not list(folder.glob(EVENTS)):  # a run that goes on has told of its settings
        for logger in trainer.loggers:
            logger.start(run_settings(config, overrides))  # type: ignore[attr-defined] # speechml.engine.tensorboard_logger.Events
    if parts.trial:
        parts.trial.check_pruned()  # decided before the search was cut off
    _fit(parts, checkpoint)
    monitor = config["checkpoint"]["monitor"]
    monitored = trainer.callback_metrics.get(monitor)
    if parts.best is not None and parts.best.best_model_score is not None:
        monitored = parts.best.best_model_score
    seconds, epochs = parts.saving.training_s, trainer.current_epoch
    rate = round(trainer.global_step / len(parts.data.train_dataloader()) * parts.data.items_per_epoch / seconds, 1)
    scores, scored = test(parts, folder)
    value = None if monitored is None else float(monitored)
    known = {**scores, monitor: value}
    results = Results(
        parameters=sum(p.numel() for p in task.parameters()), training_s=round(seconds, 2), epochs=epochs,
        clips_per_s=rate, monitored=value, scores=scores, scored=scored,
        headlines=[name for name in headline_scores(config, task, parts.data) if known.get(name) is not None],
    )  # fmt: skip
    for logger in trainer.loggers:
        logger.end({name: known[name] for name in results.headlines}, trainer.global_step)  # type: ignore[attr-defined]
    return results


def _fit(parts: Parts, checkpoint: Path | None) -> None:
    try:
        parts.trainer.fit(
            parts.task, datamodule=parts.data, ckpt_path=str(checkpoint) if checkpoint else None, weights_only=True
        )
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        if not parts.saving.to_restore:
            raise
        raise UserError(
            f"{checkpoint} is not what this run can go on from", why=str(error), fix="add redo=true to begin again"
        ) from error
    if parts.trial:
        parts.trial.check_pruned()


def test(parts: Parts, folder: Path) -> tuple[dict[str, float | None], int | None]:
    """The scores of a trained run with the weights that it is known by, and how many test items have some.

    predictions.npz is written. The score that a search goes by is one of the weights that are tested, not of the last
    epoch.
    """
    config, trainer, task, data = parts.config, parts.trainer, parts.task, parts.data
    best = parts.best.best_model_path if parts.best is not None else ""
    use_best = config["checkpoint"]["test_weights"] == "best" and best
    weights: dict[str, Any] = {"ckpt_path": best if use_best else None, "weights_only": True}
    splits = ("train/",) if data.spec.validation_is_trained_on else ("train/", "val/")
    scores, scored = beginning_with(splits, trainer.callback_metrics), None
    if config["test"]:
        trainer.test(task, datamodule=data, verbose=False, **weights)
        scores |= beginning_with(("",), task.scores)
        scored = len(set(task.items) & set(data.splits["test"]))
        if trainer.is_global_zero:
            path, about = folder / "predictions.npz", task.prediction_columns()
            write_predictions(path, task.items, data.scored_items(), data.item_names, **about)
    monitor, goal = config["checkpoint"]["monitor"], watched_score(config)
    # A run that is resumed when all its epochs are done knows no score of its training; others know the last epoch's.
    missing = goal not in scores or (goal != monitor and goal not in (task.scores if config["test"] else {}))
    if missing and goal.startswith("val/") and not data.spec.validation_is_trained_on:
        trainer.validate(task, datamodule=data, verbose=False, **weights)
        scores |= beginning_with(("val/",), trainer.callback_metrics)
    return scores, scored


def beginning_with(splits: tuple[str, ...], values: Mapping[str, float | Tensor]) -> dict[str, float | None]:
    """The scores whose names begin so, as plain numbers."""
    return {name: float(value) for name, value in values.items() if name.startswith(splits)}


def headline_scores(config: Config, task: Any, data: Any) -> Iterable[str]:
    """The scores by which runs are compared: what choices go by, and those of the split that the network knows least."""
    split = list(data.scored_items())[-1]
    goals = [] if data.spec.validation_is_trained_on else [watched_score(config)]
    return [*goals, *(f"{split}/{name}" for name in task.headline_scores)]
