"""A learning-rate finder: the training loss while the rate rises from batch to batch (Smith, "Cyclical learning rates", 2017)."""

from __future__ import annotations

import math
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
import numpy as np
import torch

from speechml.config.instantiate import import_class
from speechml.contracts import Config
from speechml.engine.parts import Parts
from speechml.engine.trained import one_process_trainer
from speechml.errors import UserError, echo
from speechml.report.drawing import make_axes
from speechml.storage.files import make_folder, new_version, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from speechml.tasks.base import Task

LOWEST, HIGHEST = 1e-6, 10.0  # rates, one after the other on a logarithmic scale
STEPS = 100
PROBES = 8  # batches, or somewhat more, whose mean loss after every step is the curve: batches differ in level
MEMORY = 0.6  # of the exponential average that smooths the losses
SLOPE = 10  # batches over which the fall of the loss is judged
EDGE = 3  # rates at each end of the range, of which none is trusted
LEAST_FALL = 0.01  # share of the first loss
LATE_FALL = 0.05  # share of the whole fall, over the last SLOPE rates: beyond, larger rates may learn faster
DIVERGED = 3.0  # times the first loss, or what it has fallen by, above the first: then it is enough


class RateCurve(pl.Callback):
    """Raises the learning rate from batch to batch, for so many steps or until the loss diverges.

    The loss is always that of the same batches, with the same draws: only the weights differ from step to step.

    Attributes:
        first: the loss before the first step.
        rates, losses, smoothed: one of each a step.
    """

    def __init__(self, steps: int) -> None:
        self.schedule = np.geomspace(LOWEST, HIGHEST, steps).tolist()
        self.probes: list[Any] = []  # batches of the task
        self.first = math.nan
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls fastest; larger ones may learn as well. None where none can be trusted."""
        return None if self.doubt else self.rates[steepest_fall(self.smoothed)]

    @property
    def doubt(self) -> str:
        """Why there is no suggestion, or nothing."""
        place = steepest_fall(self.smoothed)
        if not self.first - min(self.smoothed) > LEAST_FALL * abs(self.first):
            return "the loss hardly falls at any rate"
        if place < EDGE:
            return f"the loss falls fastest at the lowest rates, from {LOWEST:g}"
        fall = self.first - min(self.smoothed)
        ends = len(self.smoothed) == len(self.schedule) and self.smoothed[-SLOPE] - self.smoothed[-1] > LATE_FALL * fall
        if ends or place >= len(self.schedule) - EDGE:
            return f"the loss still falls at the highest rates, up to {HIGHEST:g}"
        return ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined] # of a trainer
        loader = data.train_dataloader()
        for batch in islice(loader, 0, None, max(1, len(loader) // PROBES)):
            self.probes.append(data.load_batch(batch._replace(indices=batch.indices.to(pl_module.device))))
        self.first = self._loss(trainer, pl_module)

    def _loss(self, trainer: pl.Trainer, task: Any) -> float:
        devices = [task.device] if task.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices), trainer.precision_plugin.forward_context():
            torch.manual_seed(0)
            return sum(float(task.training_loss(batch)[0]) for batch in self.probes) / len(self.probes)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.schedule[trainer.global_step]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        loss, steps = self._loss(trainer, pl_module), trainer.global_step
        smooth = loss if not self.losses else MEMORY * self.smoothed[-1] + (1 - MEMORY) * loss
        limit = self.first + DIVERGED * max(abs(self.first), self.first - min(self.smoothed, default=smooth))
        if trainer.should_stop or not smooth <= limit:
            trainer.should_stop = True
            return
        self.rates.append(self.schedule[steps - 1])
        self.losses.append(loss)
        self.smoothed.append(smooth)


def find_rate(parts: Parts, steps: int = STEPS) -> RateCurve:
    """Try rising learning rates on the network of a run, in one process that has whole batches.

    Args:
        parts: of the run, whose network is trained.
        steps: optimiser steps, each with a rate, from the least to the greatest.

    Raises:
        UserError: the loss rises from the beginning, or the optimiser takes no rate.
    """
    config = parts.config
    if issubclass(import_class(config["optimizer"]["_target_"], "optimizer."), torch.optim.LBFGS):
        raise UserError(
            "LBFGS searches its own steps, so a finder of learning rates says nothing of it", fix="leave its lr at 1"
        )
    options = {
        key: config["trainer"][key] for key in ("accelerator", "precision", "gradient_clip_val", "deterministic")
    }
    echo(f"trying {steps} rising learning rates, a batch each; nothing is trained", file=sys.stderr, flush=True)
    curve = RateCurve(steps)
    trainer = one_process_trainer(
        **options, max_steps=steps, max_epochs=-1, min_epochs=0, limit_val_batches=0, callbacks=[curve]
    )
    task = cast("Task", parts.task)  # others are refused
    task.scheduler_node = None
    task.build_optimization(steps)
    parts.data.trainer = None  # whose batches of epoch 0 the probes are
    trainer.fit(task, datamodule=parts.data)  # type: ignore[arg-type] # of the contract, as the task
    if len(curve.rates) < 3:
        raise UserError(
            "the loss rises even at the smallest learning rates; look at the level of the data and the loss"
        )
    return curve


def steepest_fall(smoothed: list[float]) -> int:
    """The number of the batch where the smoothed loss falls fastest before its least value, over SLOPE batches about each."""
    least = max(1, int(np.argmin(smoothed)))
    falls = [smoothed[max(0, i - SLOPE // 2)] - smoothed[min(least, i + SLOPE // 2)] for i in range(least + 1)]
    return int(np.argmax(falls))


def report_rates(parts: Parts, folder: Path) -> None:
    """Find the rate, write curve and figure into `folder`, and print the override to paste. Raises UserError as `find_rate`."""
    if parts.module is not parts.task or parts.data_module is not parts.data:
        raise UserError(
            "find_lr=true needs a task and data that keep speechml's contract", fix="sweep rates with -m instead"
        )
    curve = find_rate(parts)
    make_folder(folder)
    rows = zip(curve.rates, curve.losses, curve.smoothed, strict=True)
    text = "".join(f"{rate:.6g},{loss:.6g},{smooth:.6g}\n" for rate, loss, smooth in rows)
    write_text(folder / "lr_finder.csv", "lr,loss,smoothed\n" + text)
    with new_version(folder / "lr_finder.png") as part:
        draw_rates(curve).savefig(part, dpi=110, format="png")
    echo(
        f"Losses after {len(curve.rates)} steps with rising learning rates: {folder / 'lr_finder.png'} and .csv\n"
        "Nothing was trained. " + advice(curve, parts.config)
    )


def advice(curve: RateCurve, config: Config) -> str:
    """The override to paste, or why there is none."""
    if curve.suggestion is None:
        return f"No suggestion: {curve.doubt}. Look at the figure, and at the level of the data and model.normalize."
    scheduled = config["scheduler"].get(
        "max_lr", config["optimizer"].get("lr")
    )  # a schedule of its own rate has the last word
    key = "optimizer.lr" if scheduled == config["optimizer"].get("lr") else "scheduler.max_lr"
    return (
        "The smoothed loss falls fastest at the rate below; up to somewhat before the loss is least,\n"
        f"larger ones may learn faster. Look at the figure, then train with\n  {key}={curve.suggestion:.1g}"
    )


def draw_rates(curve: RateCurve) -> Figure:
    """Losses and smoothed losses against the learning rate, the suggestion marked."""
    figure, (axis,) = make_axes()
    axis.plot(curve.rates, curve.losses, color="0.75", linewidth=0.8, label="loss after a step")
    axis.plot(curve.rates, curve.smoothed, label="smoothed")
    if curve.suggestion is not None:
        axis.axvline(curve.suggestion, color="tab:orange", linestyle="--", label=f"suggestion: {curve.suggestion:.1g}")
    low, high = min(curve.smoothed), max(curve.smoothed[: max(1, len(curve.smoothed) // 2)])
    axis.set_ylim(low - 0.2 * (high - low) - 1e-12, high + 0.5 * (high - low) + 1e-12)
    axis.set_xscale("log")
    axis.set(xlabel="learning rate", ylabel="training loss", title="learning-rate finder")
    axis.legend()
    return figure
