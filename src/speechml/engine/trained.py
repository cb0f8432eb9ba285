"""Trained networks: the checkpoint of a run, and the task that its config describes, with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment

from speechml.config.nodes import check_foreign_node
from speechml.contracts import Config
from speechml.engine.checkpoint import build_task, read_checkpoint, shorten
from speechml.engine.resume import State
from speechml.engine.weights_check import check_weights
from speechml.errors import UserError
from speechml.runs.card import load_card
from speechml.runs.folder import LAST
from speechml.storage.plain_files import is_plain

if TYPE_CHECKING:
    from speechml.tasks.base import Task

EXAMPLE = "give the folder of a run, as in runs/lab2b_mimo_cnn/0123456789"


def find_checkpoint(run: Path) -> Path:
    """The checkpoint that a run's scores come from, or the file itself where one is given; UserError where there is none."""
    if run.is_file():
        return run.resolve() if run.is_symlink() else run  # what a person names may be a link
    if not run.exists():
        raise UserError(f"{run} does not exist", fix=EXAMPLE)
    card = load_card(run)
    if card is None:
        raise UserError(f"{run} is no run", why="it has no card.json", fix=EXAMPLE)
    scored, last = f"checkpoints/{card.test_weights}.ckpt", f"checkpoints/{LAST}"
    if card.state == "done" and scored in (card.files or {}) and not is_plain(run, scored):
        instead = f"give {run / last} itself to use the weights of its last epoch"
        fix = instead if is_plain(run, last) else "train it anew with redo=true"
        raise UserError(f"{run} lacks {scored}, whose weights its scores are of, or has a link in its place", fix=fix)
    for name in (scored, last):
        if is_plain(run, name):
            return run / name
    raise UserError(f"{run} has no checkpoint", why=f"its state is {card.state}", fix="launch it again to train it")


def load_task(path: Path) -> tuple[Task, State]:
    """The trained task of a checkpoint in evaluation mode, and the record of its run.

    Raises:
        UserError: as `read_checkpoint`, or weights that are not those of the network described beside them.
    """
    content = read_checkpoint(path)
    return build_trained(content["speechml"]["config"], content["state_dict"], path), content["speechml"]


def build_trained(config: Config, weights: Mapping[str, torch.Tensor], path: Path) -> Task:
    """The task that a config in a file describes, with the weights beside it, in evaluation mode.

    Whatever sizes it names, no more memory is taken than the weights have: a network without memory is compared first.

    Raises:
        UserError: no network that can be built, or one whose weights have other names or shapes.
    """
    check_trained(config, weights, path)
    task = _build_described(config, path)
    check_weights(task, weights, path)
    task.load_state_dict(weights)
    return task.eval().requires_grad_(False)


def check_trained(config: Config, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raises UserError where `build_trained` would."""
    try:
        check_foreign_node(config.get("model"), "model.")
    except Exception as error:  # of what a config holds that never was one
        raise _undescribed(path, error) from error
    with torch.device("meta"):
        try:
            task = _build_described(config, path)
        except UserError as error:
            if "meta" in str(error.__cause__):  # a class of the user's own that computes with what it makes
                return
            raise
    check_weights(task, weights, path)


def _build_described(config: Config, path: Path) -> Task:
    try:
        return build_task(config, str(path))
    except Exception as error:  # what a class makes of strange arguments is its own
        raise _undescribed(path, error) from error


def _undescribed(path: Path, error: Exception) -> UserError:
    why = shorten(str(error), 400) if isinstance(error, UserError) else type(error).__name__
    return UserError(f"{path} describes no model that speechml can build", why=why)


def one_process_trainer(**options: Any) -> pl.Trainer:
    """A trainer that only computes, in this process alone, whatever allocation of a cluster it is in.

    Args:
        options: further arguments of Lightning's Trainer.
    """
    return pl.Trainer(
        devices=1, plugins=[LightningEnvironment()], use_distributed_sampler=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
