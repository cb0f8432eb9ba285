"""Training and testing on one rank, and the figures that the run's card keeps of it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl
import torch
from torch import Tensor

from speechml.callbacks.epochs import EpochTable, read_scores
from speechml.contracts import DataModule, IndexBatch, WaveformTask, missing_members, standard_name
from speechml.data.provenance import sources_of
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.parts import Parts, watched_score
from speechml.engine.resume import EVENTS
from speechml.engine.tensorboard_logger import is_events
from speechml.errors import Pruned, UserError, reason
from speechml.runs.card import LevelCurve, RunCard
from speechml.runs.identity import run_settings
from speechml.runs.predictions import write_predictions
from speechml.signal.level import rms

if TYPE_CHECKING:
    from speechml.engine.plain_task import PlainTask

LEVELS_DB = (-60.0, -50.0, -40.0, -30.0, -20.0, -10.0, 0.0)  # RMS, dB of full scale
LEVEL_S = 30.0  # s of test items that are scored at each of them, the first


def fit_and_test(parts: Parts, folder: Path, checkpoint: Path | None, card: RunCard) -> None:
    """Train and test; see `fit` and `score`."""
    with explain_failing_callbacks(parts.callbacks):
        begin_fit(parts, folder, card)
        fit(parts, checkpoint)
        score(parts, folder, card)


def begin_fit(parts: Parts, folder: Path, card: RunCard) -> None:
    """Tell TensorBoard of the settings of a run that is to be trained; Pruned where its search has decided already."""
    if not list(folder.glob(EVENTS)):  # a run that goes on has told of its settings
        for events in filter(is_events, parts.trainer.loggers):
            events.start(run_settings(parts.config, card.overrides))
    if parts.trial:
        parts.trial.check_pruned()  # decided before the search was cut off


@contextmanager
def tracking(parts: Parts, card: RunCard) -> Iterator[None]:
    """Send what is logged inside to the trackers of the run, if it has any; however it ends, they learn so."""
    try:
        yield
    finally:
        if parts.saving.journal and not parts.trainer.fast_dev_run:  # type: ignore[attr-defined] # of a trainer's flags
            parts.saving.journal.end(card.state == "done")


def score(parts: Parts, folder: Path, card: RunCard) -> None:
    """Test a run that has been trained; its card gets its scores and what it took.

    Raises:
        UserError: nothing was trained.
        Pruned: a search can do without the run.
    """
    config, trainer, data = parts.config, parts.trainer, parts.data
    if parts.trial:
        parts.trial.check_pruned()
    if not trainer.global_step:
        raise UserError("nothing was trained: no step was taken", fix="raise what limits the training")
    training_s, epochs = parts.saving.training_s, trainer.current_epoch
    card.monitored, card.objective = test(parts, folder, card), config["objective"]
    card.training_s, card.epochs = round(training_s, 2), epochs
    if parts.data_module is data:
        batches = trainer.fit_loop.total_batch_idx + 1
        items = batches / len(data.train_dataloader()) * data.items_per_epoch
        card.clips_per_s = round(items / training_s, 1)
    card.parameters = sum(p.numel() for p in parts.module.parameters())
    scores = {**card.scores, standard_name(config["checkpoint"]["monitor"]): card.monitored}
    card.headlines = [name for name in _headline_scores(parts) if scores.get(name) is not None]
    for events in filter(is_events, trainer.loggers):
        finals = {name: value for name in card.headlines if (value := scores[name]) is not None}
        events.end(finals, trainer.global_step)


@contextmanager
def explain_failing_callbacks(callbacks: Mapping[str, pl.Callback]) -> Iterator[None]:
    """Inside, an error within a callback of the config, or of Lightning about its settings, becomes a sentence.

    Args:
        callbacks: by their names in the config.

    Raises:
        UserError: that sentence, which names the callback.
    """
    try:
        yield
    except (UserError, Pruned, OSError):
        raise
    except Exception as error:
        from speechml.engine.training_warnings import explain_callback

        if (refusal := explain_callback(error, callbacks)) is None:
            raise
        raise refusal from error


def fit(parts: Parts, checkpoint: Path | None) -> None:
    """Train with Lightning's loop, from the beginning or from a checkpoint.

    Raises:
        UserError: the checkpoint is not what this run can go on from.
    """
    if checkpoint:
        from speechml.engine.weights_check import check_weights

        check_weights(parts.module, read_checkpoint(checkpoint)["state_dict"], checkpoint)
    if parts.trainer.strategy.launcher:  # which would choose another number
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    try:
        parts.trainer.fit(
            parts.module,
            datamodule=parts.data_module,
            ckpt_path=str(checkpoint) if checkpoint else None,
            weights_only=True,
        )
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        if checkpoint is None or not parts.saving.to_restore:
            raise
        raise UserError(
            f"{checkpoint} is not what this run can go on from", why=reason(error), fix="add redo=true to begin again"
        ) from error


def test(parts: Parts, folder: Path, card: RunCard) -> float | None:
    """Score a trained run with the weights that it is known by, on validation and test; predictions.npz is written.

    Returns:
        What the kept weights scored in checkpoint.monitor: the best ones when they were validated, else the last.
    """
    config, trainer, task, data = parts.config, parts.trainer, parts.task, parts.data
    best = parts.best.best_model_path if parts.best else ""
    weights = best if config["checkpoint"]["test_weights"] == "best" and best else None
    validated, monitor = _validate(parts, weights), standard_name(config["checkpoint"]["monitor"])
    chosen = parts.best.best_model_score if parts.best and best else None
    card.warnings = loss_warnings(parts, monitor if weights else "")
    if weights and chosen is not None:
        card.warnings += _doubts(parts, float(chosen), validated.get(monitor))
    if trainer.fast_dev_run or config["trainer"].get("max_time"):  # type: ignore[attr-defined] # of a trainer's flags
        from speechml.engine.training_warnings import describe_limits

        card.warnings += describe_limits(parts)
    if card.lineage:
        from speechml.engine.warm_start import start_warnings

        card.warnings += start_warnings(card)
    # Other scores of training are means over an epoch in which the weights move: what is said of a part is evaluated.
    scores: dict[str, float | None] = {
        name: row[name] for row in epoch_rows(parts)[-1:] for name in row if name == "train/loss"
    }
    if not data.spec.validation_is_trained_on:
        scores |= validated
    if parts.module is not task:
        scores |= _test_plain(parts, weights)
        card.data = data.card()
        card.warnings += cast("PlainTask", task).missing_scores(scores, config["test"])
    elif config["test"]:
        if config["engine"] == "fused":
            from speechml.fused.scoring import test_light

            test_light(parts, weights)
        else:
            trainer.test(task, datamodule=parts.data_module, verbose=False, ckpt_path=weights, weights_only=True)
        scores |= task.scores
        card.warnings += task.weak_scores()
        card.scored = len(set(task.items) & set(data.splits["test"]))
        taps = getattr(task, "wiener", None)
        card.wiener = None if taps is None else taps.tolist()
        if trainer.is_global_zero:
            path, about = folder / "predictions.npz", task.prediction_columns()
            sources = sources_of(data.provenance(), data.item_names)
            write_predictions(path, task.items, data.scored_items(), data.item_names, sources, **about)
            if not missing_members(task, WaveformTask):
                card.level_curve = measure_levels(cast("WaveformTask", task), cast("DataModule", data))
    card.scores = scores
    if parts.sets:
        from speechml.engine.test_sets import score_sets

        score_sets(parts, folder, card)
    return validated.get(monitor) if weights is None or chosen is None else float(chosen)


def _test_plain(parts: Parts, weights: str | None) -> dict[str, float]:
    """What an ordinary module logs of the test; nothing where it has none."""
    task = cast("PlainTask", parts.task)
    if parts.config["test"] and task.tests:
        parts.trainer.test(
            parts.module, datamodule=parts.data_module, verbose=False, ckpt_path=weights, weights_only=True
        )
        task.scores = read_scores(parts.trainer.callback_metrics, "test")
    return task.scores


@torch.no_grad()
def measure_levels(task: WaveformTask, data: DataModule) -> LevelCurve | None:
    """Score the first LEVEL_S seconds of test items as they are, and brought to each of LEVELS_DB, RMS in dBFS.

    None where all of them are silent. It computes where the task is.
    """
    network = cast("pl.LightningModule", task)
    is_training = network.training
    network.eval()
    try:
        return _measure_levels(task, data)
    finally:
        network.train(is_training)


def _measure_levels(task: WaveformTask, data: DataModule) -> LevelCurve | None:
    rows, levels, samples = [], [], 0
    for item in list(data.scored_items().values())[-1]:
        if samples >= (most := int(LEVEL_S * (data.spec.sample_rate or 1))):
            break
        batch = data.load_batch(IndexBatch("test", 0, torch.tensor([item], device=task.device)))
        fields = batch._asdict().items()
        waveforms = {name: value for name, value in fields if isinstance(value, Tensor) and value.dim() == 3}
        batch = batch._replace(**{name: value[..., :most] for name, value in waveforms.items()})
        waveform = task.waveforms(batch)
        level, samples = float(rms(waveform)), samples + waveform.shape[-1]
        gains = [1.0, *(10 ** (db / 20) / level for db in LEVELS_DB)]
        row = [float(task.level_scores(batch, torch.full_like(waveform[..., :1], gain))) for gain in gains]
        if all(map(math.isfinite, row)):
            rows.append(row)
            levels.append(20 * math.log10(level))
    if not rows:
        return None
    own, *scores = (sum(column) / len(column) for column in zip(*rows, strict=True))
    return LevelCurve(task.level_score, sum(levels) / len(levels), own, list(LEVELS_DB), scores)


def epoch_rows(parts: Parts) -> list[dict[str, float]]:
    """What was logged of each epoch."""
    return next(one.rows for one in parts.trainer.callbacks if isinstance(one, EpochTable))  # type: ignore[attr-defined]


def loss_warnings(parts: Parts, chosen_by: str = "") -> list[str]:
    """Sentences on losses that did not end at their lowest, see `describe_rises`."""
    rows = epoch_rows(parts)
    losses = [[row[name] for row in rows if name in row] for name in ("train/loss", "val/loss")]
    if all(math.isfinite(known[-1]) and known[-1] == min(known) for known in losses if known):
        return []
    from speechml.engine.training_warnings import describe_rises

    return describe_rises(rows, chosen_by)


def _validate(parts: Parts, weights: str | None) -> dict[str, float]:
    """The validation scores of the weights that are kept: of a checkpoint, or those that the network has.

    Callbacks and loggers have seen the training's own validations; some would put other weights in for this one.
    """
    trainer = parts.trainer
    if parts.module is not parts.task and not parts.task.validates:
        return {}
    if parts.config["engine"] == "fused":
        from speechml.fused.scoring import validate_light

        return validate_light(parts, weights)
    others = trainer.callbacks, trainer.loggers  # type: ignore[attr-defined] # Lightning sets it, but does not declare it
    trainer.callbacks, trainer.loggers = [parts.saving], []  # type: ignore[attr-defined]
    try:
        trainer.validate(
            parts.module, datamodule=parts.data_module, verbose=False, ckpt_path=weights, weights_only=True
        )
        return read_scores(trainer.callback_metrics, "val")
    finally:
        trainer.callbacks, trainer.loggers = others  # type: ignore[attr-defined]


def _doubts(parts: Parts, then: float, now: float | None) -> list[str]:
    """Sentences where the kept weights score `now` and not `then`, when they were chosen, or others were meant."""
    is_same = now is not None and (then == now or math.isclose(then, now, rel_tol=1e-3, abs_tol=1e-15))  # on a GPU
    if is_same and not (parts.best and parts.best.ends_unvalidated):
        return []
    from speechml.engine.training_warnings import describe_doubts

    return describe_doubts(parts, then, now, is_same)


def _headline_scores(parts: Parts) -> list[str]:
    """The scores by which runs are compared: what choices go by, and those of the split that the network knows least."""
    split = list(parts.data.scored_items())[-1]
    if parts.module is not parts.task:
        return [standard_name(watched_score(parts.config)), *parts.task.scores]
    goals = [] if parts.data.spec.validation_is_trained_on else [watched_score(parts.config)]
    return [*goals, *(f"{part}/{name}" for part in (split, *parts.sets) for name in parts.task.headline_scores)]
