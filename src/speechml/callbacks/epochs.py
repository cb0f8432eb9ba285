"""What is said of each epoch: a row of metrics.csv, and a line or a bar on the terminal."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Never

import lightning.pytorch as pl
from torch import Tensor

from speechml.contracts import standard_name
from speechml.errors import echo
from speechml.storage.files import Repeated, write_text
from speechml.tasks.training_length import count_steps

if TYPE_CHECKING:
    from tqdm import tqdm

LINES = 25  # a log gets about so many lines, however many epochs there are
PRINTED = ("train/loss", "val/loss", "val/snr_db", "val/acc")
Row = dict[str, float]


def epoch_metrics(trainer: pl.Trainer) -> Row:
    """The losses and scores of the epoch that ends: Lightning keeps those of the last validation until the next."""
    validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
    metrics = {standard_name(name): float(value) for name, value in trainer.callback_metrics.items()}
    forms = [f"{name}_{form}" for name in metrics for form in ("step", "epoch")]  # which Lightning adds
    return {name: value for name, value in metrics.items()
            if name not in forms and (validated or not name.startswith("val/"))}  # fmt: skip


def read_scores(metrics: Mapping[str, Tensor], split: str) -> dict[str, float]:
    """What was logged of a split, by names as `val/loss`, which stands for `val_loss` as well."""
    named = {standard_name(name): float(value) for name, value in metrics.items()}
    return {name: value for name, value in named.items() if name.startswith(f"{split}/")}


class EpochTable(pl.Callback):
    """Writes the losses and scores of each epoch; a resumed run continues after the rows it had.

    Args:
        path: the CSV file.
        written: whether there is to be one; the rows are kept in checkpoints, and for the curves of a run, all the same.
    """

    def __init__(self, path: str | Path, written: bool = True) -> None:
        self.path, self.written = Path(path), written
        self.rows: list[Row] = []
        self.repeated = Repeated()
        self.is_deferred = False  # whether it is written in the end only

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        metrics = dict(sorted(epoch_metrics(trainer).items()))
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics})
        if not self.is_deferred:
            self.repeated.attempt(lambda: self._write(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if self.repeated.failures or self.is_deferred:
            self._write(trainer)

    def state_dict(self) -> dict[str, list[Row]]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, list[Row]]) -> None:
        self.rows = [dict(row) for row in state_dict["rows"]]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._write(trainer)  # what a killed run wrote after its checkpoint comes again

    def _write(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined] # of a trainer's flags
            return
        if not (self.rows and self.written):
            self.path.unlink(missing_ok=True)
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(key for row in self.rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


class Progress(pl.Callback):
    """Epoch, losses, scores and time on standard error: a bar on a terminal and in a notebook, a line an epoch elsewhere."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        self.bar: tqdm[Never] | None = None
        self.started = time.perf_counter()
        shows_bars = sys.stderr.isatty() or type(sys.stderr).__module__ == "ipykernel.iostream"
        if stage == "fit" and trainer.is_global_zero and shows_bars:
            from tqdm import tqdm

            self.bar = tqdm(desc="training", unit="step", dynamic_ncols=True, leave=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if self.bar is not None:
            self.bar.reset(total=count_steps(trainer, int(trainer.num_training_batches)))
            self.bar.update(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if self.bar is not None:
            self.bar.update(trainer.global_step - self.bar.n)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if not trainer.is_global_zero:
            return
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or -1
        values = {name: value for name, value in epoch_metrics(trainer).items() if name in PRINTED}
        scores = [
            f"{name} {value:.2f}" if name.endswith("_db") else f"{name} {value:.4g}" for name, value in values.items()
        ]
        where, seconds = f"epoch {epoch}/{epochs}", f"{time.perf_counter() - self.started:.0f} s"
        line = "  ".join([where, *scores, seconds])
        if self.bar is not None:
            self.bar.set_description(where)
            self.bar.write(line, file=sys.stderr)
        elif (epoch - 1) % max(1, -(-epochs // LINES)) == 0 or epoch == epochs:
            echo(line, file=sys.stderr, flush=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        if self.bar is not None:
            self.bar.close()
            self.bar = None
