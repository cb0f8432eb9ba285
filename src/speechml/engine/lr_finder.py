"""A learning-rate finder: the training loss while the rate rises from batch to batch (Smith, "Cyclical learning rates", 2017)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
from torch import Tensor

from speechml.engine.parts import Parts, one_process_trainer
from speechml.errors import UserError, echo
from speechml.report.drawing import make_axes
from speechml.storage.files import make_folder, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST, HIGHEST = 1e-6, 10.0  # rates, one after the other on a logarithmic scale
STEPS = 100
MEMORY = 0.9  # of the exponential average that smooths the losses
SLOPE = 10  # batches over which the fall of the loss is judged
DIVERGED = 4.0  # times the best smoothed loss: then it is enough


class RateCurve(pl.Callback):
    """Raises the learning rate from batch to batch, for so many steps or until the loss diverges.

    Attributes:
        rates, losses, smoothed: one of each a batch.
    """

    def __init__(self, steps: int) -> None:
        self.schedule = np.geomspace(LOWEST, HIGHEST, steps).tolist()
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.average = 0.0

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest; larger ones may learn as well, without a margin."""
        return self.rates[steepest_fall(self.smoothed)]

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.schedule[trainer.global_step]

    def on_train_batch_end(  # type: ignore[override] # what it is of a task
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: dict[str, Tensor], *_: object  # noqa: ARG002
    ) -> None:  # fmt: skip
        loss, steps = float(outputs["loss"]), trainer.global_step
        self.average = MEMORY * self.average + (1 - MEMORY) * loss
        smooth = self.average / (1 - MEMORY**steps)
        if trainer.should_stop or not math.isfinite(smooth) or smooth > DIVERGED * min(self.smoothed, default=math.inf):
            trainer.should_stop = True
            return
        self.rates.append(self.schedule[steps - 1])
        self.losses.append(loss)
        self.smoothed.append(smooth)


def find_rate(parts: Parts, steps: int = STEPS) -> RateCurve:
    """Try rising learning rates on the network of a run, in one process that has whole batches.

    Raises:
        UserError: the loss is not finite from the beginning, or the optimiser takes no rate.
    """
    config = parts.config
    if config["optimizer"]["_target_"].endswith(".LBFGS"):
        raise UserError("LBFGS searches its own steps, so a finder of learning rates says nothing of it")
    options = {
        key: config["trainer"][key] for key in ("accelerator", "precision", "gradient_clip_val", "deterministic")
    }
    curve = RateCurve(steps)
    trainer = one_process_trainer(
        **options, max_steps=steps, max_epochs=-1, min_epochs=0, limit_val_batches=0, callbacks=[curve]
    )
    parts.task.scheduler_node = None
    parts.task.build_optimization(steps)
    trainer.fit(parts.task, datamodule=parts.data)
    if len(curve.rates) < 3:
        raise UserError("the loss is not finite even at the smallest learning rates; look at the data and the loss")
    return curve


def steepest_fall(smoothed: list[float]) -> int:
    """Where the smoothed loss falls fastest before its least value, over SLOPE batches about each."""
    least = max(1, int(np.argmin(smoothed)))
    falls = [smoothed[max(0, i - SLOPE // 2)] - smoothed[min(least, i + SLOPE // 2)] for i in range(least + 1)]
    return int(np.argmax(falls))


def report_rates(parts: Parts, folder: Path) -> None:
    """Find the rate, write curve and figure into `folder`, and print the override to paste."""
    curve = find_rate(parts)
    make_folder(folder)
    rows = zip(curve.rates, curve.losses, curve.smoothed, strict=True)
    text = "".join(f"{rate:.6g},{loss:.6g},{smooth:.6g}\n" for rate, loss, smooth in rows)
    write_text(folder / "lr_finder.csv", "lr,loss,smoothed\n" + text)
    draw_rates(curve).savefig(folder / "lr_finder.png", dpi=110)
    echo(
        f"Losses of {len(curve.rates)} batches with rising learning rates: {folder / 'lr_finder.png'} and .csv\n"
        "Nothing was trained. The smoothed loss falls fastest at the rate below; up to somewhat before the loss is least,\n"
        f"larger ones may learn faster. Look at the figure, then train with\n  optimizer.lr={curve.suggestion:.1g}"
    )


def draw_rates(curve: RateCurve) -> Figure:
    """Losses and smoothed losses against the learning rate, the suggestion marked."""
    figure, (axis,) = make_axes()
    axis.plot(curve.rates, curve.losses, color="0.75", linewidth=0.8, label="loss of a batch")
    axis.plot(curve.rates, curve.smoothed, label="smoothed")
    axis.axvline(curve.suggestion, color="tab:orange", linestyle="--", label=f"optimizer.lr={curve.suggestion:.1g}")
    low, high = min(curve.smoothed), max(curve.smoothed[: max(1, len(curve.smoothed) // 2)])
    axis.set_ylim(low - 0.2 * (high - low) - 1e-12, high + 0.5 * (high - low) + 1e-12)
    axis.set_xscale("log")
    axis.set(xlabel="learning rate", ylabel="training loss", title="learning-rate finder")
    axis.legend()
    return figure
