"""Ordinary modules of Lightning's behind the contract of tasks: they train themselves, and log what scores they have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden

from speechml.config.instantiate import build
from speechml.contracts import SPLITS, Config
from speechml.engine.checkpoint import serialize
from speechml.engine.plain_data import PlainData
from speechml.engine.resume import State
from speechml.errors import UserError
from speechml.tasks.optimization import plan_schedule

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig

NO_SCORES = (
    "{} logs nothing of the {} set, so there are no scores of it; self.log('{}/loss', loss) in its {}_step gives one"
)


class PlainTask:
    """A LightningModule that knows nothing of ours, as the engine sees it.

    Args:
        module: the user's.
        data: what it is trained on.
        config: of the run, whose optimiser and schedule it takes where it has none of its own.

    Raises:
        UserError: it cannot be trained.
    """

    headline_scores: tuple[str, ...] = ()
    loss_name = "loss"
    items: Mapping[int, Mapping[str, object]] = {}

    def __init__(self, module: pl.LightningModule, data: object, config: Config) -> None:
        self.module, self.name = module, type(module).__name__
        self.scores: dict[str, float] = {}
        if not is_overridden("training_step", module):
            raise UserError(f"{self.name} has no training_step", fix="a LightningModule needs one to be trained")
        if not is_overridden("configure_optimizers", module):
            if not config.get("optimizer"):
                fix = "write one, or choose optimizer=adam"
                raise UserError(f"{self.name} has no configure_optimizers, and the config no optimizer", fix=fix)
            module.configure_optimizers = lambda: build_optimization(module, config)  # type: ignore[method-assign]
        self.data_name = type(data.module if isinstance(data, PlainData) else data).__name__
        self.splits = set(data.loaders) if isinstance(data, PlainData) else set(SPLITS)  # that the data have
        self.validates, self.tests = (
            is_overridden(f"{stage}_step", module) and split in self.splits
            for stage, split in (("validation", "val"), ("test", "test"))
        )

    def describe(self) -> str:
        """One sentence on the network, for the person who trains it."""
        return f"{self.name}: {sum(p.numel() for p in self.module.parameters()):,} parameters"

    def missing_scores(self, scores: Iterable[str], is_tested: bool) -> list[str]:
        """Sentences on the splits that there are no scores of."""
        splits = {name.partition("/")[0] for name in scores}
        stages = {"val": "validation", "test": "test"} if is_tested else {"val": "validation"}
        return [
            NO_SCORES.format(self.name, stage, split, stage) if split in self.splits
            else f"{self.data_name} has no {split}_dataloader, so there are no scores of a {stage} set"
            for split, stage in stages.items() if split not in splits
        ]  # fmt: skip


def build_optimization(module: pl.LightningModule, config: Config) -> OptimizerLRSchedulerConfig | OptimizerConfig:
    """The optimiser and schedule of a config, for a module that has none of its own.

    Raises:
        UserError: no such class, or one that refuses its arguments.
    """
    optimizer = build(config["optimizer"], module.parameters(), where="optimizer", kind=torch.optim.Optimizer)
    if not config.get("scheduler"):
        return {"optimizer": optimizer}
    steps, epochs = int(module.trainer.estimated_stepping_batches), module.trainer.max_epochs or 1
    arguments, moves = plan_schedule(config["scheduler"], steps, epochs)
    if "monitor" in moves:
        moves |= {"frequency": module.trainer.check_val_every_n_epoch or 1, "strict": False}
    schedule = build(arguments, optimizer, where="scheduler", kind=torch.optim.lr_scheduler.LRScheduler)
    return cast(
        "OptimizerLRSchedulerConfig", {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, **moves}}
    )


def check_own_state(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Raises UserError where what a module of the user's puts into its checkpoints could only be read by running code."""
    content: State = {"state_dict": module.state_dict()}
    data = trainer.datamodule  # type: ignore[attr-defined] # of a trainer
    try:
        module.on_save_checkpoint(content)
    except LookupError:  # it looks at what else is in a checkpoint
        return
    if data is not None:
        content["data"] = data.state_dict()
    buffer = serialize(content)
    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True)
    except Exception as error:
        what = f"what {type(module).__name__} or its data module saves could only be read by running code"
        fix = "let state_dict and on_save_checkpoint give tensors, numbers, text, lists and mappings"
        raise UserError(what, " ".join(str(error).split())[:200], fix) from error


@contextmanager
def explain_failure(module: object, where: str) -> Iterator[None]:
    """Inside, an error in a class of the user's becomes a sentence that names the line.

    Raises:
        UserError: that sentence.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        frame, line = list(walk_tb(error.__traceback__))[-1]
        place = f"line {line} of {Path(frame.f_code.co_filename).name}"
        what = f"{where} {type(module).__name__} failed"
        raise UserError(what, f"{type(error).__name__}: {' '.join(str(error).split())}, in {place}") from error
