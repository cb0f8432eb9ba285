"""What a run tells TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from speechml.report.tensorboard_compat import FINAL, Summary, Value, session_end, session_start


class Events(TensorBoardLogger):
    """TensorBoard's files in the folder of a run: curves, settings, final scores.

    Lightning's class adds the number of the epoch to whatever is logged, and a file hparams.yaml: noise beside the curves,
    and a second config.yaml.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)

    @rank_zero_only
    def start(self, settings: Mapping[str, Value]) -> None:
        """Tell of the settings, which lists the run in the tab HPARAMS."""
        self._add_summary(session_start(settings))

    @rank_zero_only
    def end(self, scores: Mapping[str, float], step: int) -> None:
        """Tell of the final scores after `step` steps, and that the run is done."""
        self.log_metrics({FINAL + name: value for name, value in scores.items()}, step)
        self._add_summary(session_end())
        super().finalize("success")

    def _add_summary(self, summary: Summary) -> None:
        assert self.experiment.file_writer
        self.experiment.file_writer.add_summary(summary)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # Scores of a test are single points, which TensorBoard is to sort behind the curves.
        names = {name: f"~{name}" if name.startswith(("test/", "heldout/")) else name for name in metrics}
        super().log_metrics({names[name]: value for name, value in metrics.items() if name != "epoch"}, step)

    @rank_zero_only
    def save(self) -> None:
        self.experiment.flush()

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


def is_events(logger: Logger) -> TypeGuard[Events]:
    """Whether a logger is ours of TensorBoard."""
    return isinstance(logger, Events)
