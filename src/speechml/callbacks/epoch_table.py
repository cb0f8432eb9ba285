"""metrics.csv: one row an epoch, every column from the first."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import lightning.pytorch as pl

from speechml.storage.files import write_text


class EpochTable(pl.Callback):
    """Writes the losses and scores of each epoch; a resumed run continues after the rows it had.

    Args:
        path: the CSV file.
        written: whether there is to be one; the rows are kept in checkpoints all the same.
    """

    def __init__(self, path: str, written: bool = True) -> None:
        self.path, self.written = Path(path), written
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        metrics = dict(sorted(epoch_metrics(trainer).items()))
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics})
        if trainer.is_global_zero and self.written and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._write()

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, list[dict[str, float]]]) -> None:
        self.rows = [dict(row) for row in state_dict["rows"]]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        # What a killed run wrote after its checkpoint comes again.
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            if self.rows and self.written:
                self._write()
            else:
                self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


def epoch_metrics(trainer: pl.Trainer) -> dict[str, float]:
    """The losses and scores of the epoch that ends: Lightning keeps those of the last validation until the next."""
    validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
    metrics = trainer.callback_metrics.items()
    return {name: float(value) for name, value in metrics if validated or not name.startswith("val/")}
