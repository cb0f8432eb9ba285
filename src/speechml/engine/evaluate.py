"""Scoring a finished run again: on its own test split, or on that of other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from omegaconf import DictConfig

from speechml.callbacks.epochs import read_scores
from speechml.config.compose import resolve_config
from speechml.config.instantiate import build
from speechml.config.train_config import EvaluateConfig, check_config
from speechml.contracts import Config, DataModule, IndexBatch, Task, WaveformTask, missing_members
from speechml.data.provenance import sources_of
from speechml.engine.foreign_config import count_seen, own_data, own_metrics
from speechml.engine.trained import find_checkpoint, load_task, one_process_trainer
from speechml.errors import UserError, echo
from speechml.process import prepare_process, set_seed
from speechml.report.audit import audit_data
from speechml.report.evaluation import audit_other_data, evaluation_text
from speechml.report.level import level_remark
from speechml.runs.card import load_card
from speechml.runs.folder import check_own_files, code_version, describe_session
from speechml.runs.predictions import write_predictions
from speechml.runs.tables import format_score, table
from speechml.signal.level import decibels
from speechml.storage.building import remove_leftovers
from speechml.storage.files import write_json
from speechml.tasks.classification import Classification
from speechml.tasks.waveform_denoising import WaveformDenoiser


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Score the run that `run` names, write `evaluations/<data>-<test set>.json` and `.npz` in its folder, print a table.

    Raises:
        UserError: no such run, unusable data, or data at another sample rate than the run's.
    """
    config = check_config(resolve_config(cfg), EvaluateConfig)
    prepare_process(config["threads"])
    run = Path(str(config["run"]))
    checkpoint = find_checkpoint(run).resolve()
    folder = run if run.is_dir() else checkpoint.parent.parent
    own = load_card(folder)
    if own is None:
        raise UserError(f"{run} lies in no run; give the folder of a run, as in runs/lab2b_mimo_cnn/0123456789")
    check_own_files(folder)
    task, record = load_task(checkpoint)
    node = config.get("data") or own_data(record, checkpoint, str(config["paths"]["cache"]))
    data = build(node, where="data", kind=pl.LightningDataModule)
    if missing_members(task, Task) or missing_members(data, DataModule):
        return evaluate_plain(task, data, {**record["config"], "seed": config["seed"]}, folder)
    if isinstance(task, Classification):
        data.keep_classes(task.classes)
    task.check_data(data.spec)
    card = data.card()
    is_foreign = card.fingerprint != own.data.fingerprint
    if is_foreign:
        data.score_as_foreign()
    if getattr(task, "sample_rate", None) != data.spec.sample_rate:
        raise UserError(
            f"{run} works at {task.sample_rate} Hz and the data are at {data.spec.sample_rate} Hz; "
            f"add data.sample_rate={task.sample_rate}"
        )
    seen = count_seen(data, record, checkpoint)
    set_seed(config["seed"])
    if own.wiener and isinstance(task, WaveformDenoiser):
        task.wiener = torch.tensor(own.wiener, dtype=torch.float64)
    task.setup_for(data)
    task.add_metrics(own_metrics(record["config"]))
    trainer = one_process_trainer(accelerator="auto", deterministic=True, default_root_dir=folder)
    trainer.test(task, datamodule=data, verbose=False)
    scores = task.scores
    check_outputs(task.items, data.item_names, run)
    name = f"{card.data}-{card.test_fingerprint}"
    out = folder / "evaluations"
    out.mkdir(exist_ok=True)
    remove_leftovers(out)
    sources = sources_of(data.provenance(), data.item_names)
    about = task.prediction_columns()
    write_predictions(out / f"{name}.npz", task.items, data.scored_items(), data.item_names, sources, **about)
    audit = audit_other_data(data, seen, not record.get("heard_unknown")) if is_foreign else audit_data(data)
    content = {"checkpoint": str(checkpoint), "data": card.to_json(), "audit": audit.to_json(), "scores": scores}
    write_json(out / f"{name}.json", {**content, **describe_session(), "code": code_version().to_json()})
    remark = level_remark(own, task, input_levels(task, data))
    text = evaluation_text(own, card, scores, audit, seen, out / name, task.weak_scores())
    echo("\n".join(filter(None, [text, remark])))
    return scores


def evaluate_plain(
    module: pl.LightningModule, data: pl.LightningDataModule, config: Config, folder: Path
) -> dict[str, float]:
    """Score an ordinary module of Lightning's, or on an ordinary data module: print what it logs of the test.

    Raises:
        UserError: it logs nothing of a test.
    """
    from speechml.engine.plain_data import PlainData
    from speechml.engine.plain_task import NO_SCORES, PlainTask, explain_failure

    with explain_failure(module, "model"):
        is_plain = bool(missing_members(data, DataModule))
        known = PlainData(data, config["seed"], is_trained_on=False) if is_plain else cast("PlainData", data)
        task = PlainTask(module, known, config)
        trainer = one_process_trainer(accelerator="auto", deterministic=True, default_root_dir=folder)
        if task.tests:
            trainer.test(module, datamodule=data, verbose=False)
    if not (scores := read_scores(trainer.callback_metrics, "test")):
        raise UserError(NO_SCORES.format(task.name, "test", "test", "test"))
    card = known.card()
    path = folder / "evaluations" / f"{card.data}-{card.test_fingerprint}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"data": card.to_json(), "scores": scores, **describe_session(), "code": code_version().to_json()})
    rows = [[name, format_score(value, False)] for name, value in scores.items()]
    echo(
        "\n".join(
            [table(["score", ""], rows), "", f"Data: {card.data}, test set {card.test_fingerprint}.", f"Scores: {path}"]
        )
    )
    return scores


def input_levels(task: object, data: DataModule) -> dict[str, float]:
    """The RMS in dBFS of each test item, minus infinity of silence, by its name; none where the level makes no difference."""
    if missing_members(task, WaveformTask) or getattr(task, "follows_level", False):
        return {}
    levels = {}
    for number in data.splits["test"]:
        batch = data.load_batch(IndexBatch("test", 0, torch.tensor([number])))
        levels[data.item_names[number]] = decibels(
            float(cast("WaveformTask", task).waveforms(batch).square().mean().sqrt())
        )
    return levels


def check_outputs(items: Mapping[int, Mapping[str, Any]], names: Sequence[str], run: Path) -> None:
    """Raises UserError where the network gave NaN or infinities for an item."""
    for number, row in items.items():
        if not all(np.isfinite(row[name]).all() for name in ("loss", "logits") if name in row):
            fix = "it is not usable: train again with a lower optimizer.lr"
            raise UserError(f"{run} gives values that are NaN or infinite for {names[number]}", fix=fix)
