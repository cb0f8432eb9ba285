"""How far a training is: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Never

import lightning.pytorch as pl

from speechml.callbacks.epoch_table import epoch_metrics

if TYPE_CHECKING:
    from tqdm import tqdm

LINES = 25  # a log gets about so many lines, however many epochs there are


class Progress(pl.Callback):
    """Epoch, losses, scores and time on standard error."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        self.bar: tqdm[Never] | None = None
        self.started = time.perf_counter()
        if stage == "fit" and trainer.is_global_zero and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(desc="training", unit="step", dynamic_ncols=True, leave=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if self.bar is not None:
            self.bar.reset(total=int(trainer.estimated_stepping_batches))
            self.bar.update(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if self.bar is not None:
            self.bar.update(trainer.global_step - self.bar.n)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if not trainer.is_global_zero:
            return
        line = self._line(trainer)
        epochs = trainer.max_epochs or -1
        if self.bar is not None:
            self.bar.set_description(line.split("  ")[0])
            self.bar.write(line, file=sys.stderr)
        elif epochs <= LINES or trainer.current_epoch % -(-epochs // LINES) == 0 or trainer.current_epoch + 1 == epochs:
            print(line, file=sys.stderr, flush=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _line(self, trainer: pl.Trainer) -> str:
        shown = {k: v for k, v in epoch_metrics(trainer).items() if k in SHOWN}
        scores = "  ".join(f"{k} {v:.2f}" if k.endswith("_db") else f"{k} {v:.4g}" for k, v in shown.items())
        where = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        return f"{where}  {scores}  {time.perf_counter() - self.started:.0f} s"


SHOWN = ("train/loss", "val/loss", "val/snr_db", "val/acc")
