"""What a run tells TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from speechml.contracts import Config
from speechml.engine.lightning_compat import add_summary, flush_logger
from speechml.report import tensorboard_compat


class Events(TensorBoardLogger):
    """TensorBoard's files in the folder of a run: curves, settings, final scores.

    Lightning's class adds the number of the epoch to whatever is logged, and a file hparams.yaml: noise beside the curves,
    and a second config.yaml.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)

    @rank_zero_only
    def start(self, settings: Config) -> None:
        """Tell of the settings, which lists the run in the tab HPARAMS."""
        add_summary(self, tensorboard_compat.session_start(settings))

    @rank_zero_only
    def end(self, scores: dict[str, float], step: int) -> None:
        """Tell of the final scores after `step` steps, and that the run is done."""
        self.log_metrics({tensorboard_compat.FINAL + name: value for name, value in scores.items()}, step)
        add_summary(self, tensorboard_compat.session_end())
        super().finalize("success")

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    @rank_zero_only
    def save(self) -> None:
        flush_logger(self)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the file where a run was stopped or failed; where a stage was a success, the next goes on in it.

        A further file of the same second might be read before the first, and TensorBoard would take the steps in the
        first for those of a run that began again.
        """
        if status == "success":
            self.save()
        else:
            super().finalize(status)
