"""Private names of Lightning and of torch's TensorBoard writer that speechml borrows; each has a test that says what to do
when it is gone. Nothing else in speechml names them, hence the pin of Lightning's version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

__all__ = ["LightningEnvironment", "SLURMEnvironment", "TorchCheckpointIO"]

# Of the connector of loggers: what callbacks read as the metrics of the last epoch and validation.
METRICS = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics", "_first_loop_iter", "_current_fx")


def capture_metrics(trainer: pl.Trainer) -> dict[str, Any]:
    """The metrics that callbacks read, by METRICS."""
    return {name: getattr(trainer._logger_connector, name) for name in METRICS}


def restore_metrics(trainer: pl.Trainer, metrics: dict[str, Any]) -> None:
    """Put back what `capture_metrics` gave."""
    vars(trainer._logger_connector).update(metrics)


def restore_loops(trainer: pl.Trainer, state: dict[str, Any]) -> None:
    """Set the counters of the training loops, and let them go on as if they had never been interrupted.

    Restarting, they would count a batch again.
    """
    trainer.fit_loop.load_state_dict(state)
    _settle(trainer.fit_loop)


def _settle(loop: _Loop) -> None:
    loop.on_iteration_done()
    for child in vars(loop).values():
        if isinstance(child, _Loop):
            _settle(child)


def flush_logger(logger: object) -> None:
    """Write what a TensorBoard logger holds back; a file that it has not opened stays unopened."""
    if isinstance(logger, TensorBoardLogger) and logger._experiment is not None:
        logger._experiment.flush()


def add_summary(logger: TensorBoardLogger, summary: object) -> None:
    """Write a summary that TensorBoard's public writer has no method for."""
    logger.experiment._get_file_writer().add_summary(summary)


class WeightsCheckpoint(ModelCheckpoint):
    """Lightning's choice of the best epoch, with `content(trainer)` as what is written."""

    def content(self, trainer: pl.Trainer) -> dict[str, Any]:
        """What a checkpoint holds; each class's own."""
        raise TypeError(f"{type(self).__name__} writes nothing at step {trainer.global_step}")

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        trainer.strategy.save_checkpoint(self.content(trainer), filepath)
        trainer.strategy.barrier("best")
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath


class RankLauncher(_SubprocessScriptLauncher):
    """Starts the further ranks by a function of ours: Lightning's public launcher replays the command line, with which
    the ranks of a sweep would train different configs.

    Attributes:
        start: starts further ranks when this process is to start them.
        announce: tells ranks that a cluster has started.
    """

    start: Callable[[RankLauncher], None]
    announce: Callable[[], None]

    def launch(self, function: Callable[..., Any], *args: Any, trainer: object = None, **kwargs: Any) -> Any:  # noqa: ARG002
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._check_can_spawn_children()
            self.start(self)
        elif self.cluster_environment.global_rank() == 0:
            self.announce()
        return function(*args, **kwargs)


class LaunchingDDP(DDPStrategy):
    """Distributed data parallel training whose further ranks `start_ranks` starts."""

    def start_ranks(self, launcher: RankLauncher) -> None:
        """Start the further ranks of this machine."""
        raise TypeError(f"{type(self).__name__} starts no ranks of {launcher.num_processes}")

    def announce_run(self) -> None:
        """Tell the ranks that a cluster has started what to train."""

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if isinstance(self._launcher, _SubprocessScriptLauncher):
            assert self.cluster_environment is not None
            launcher = RankLauncher(self.cluster_environment, self.num_processes, self.num_nodes)
            launcher.start, launcher.announce = self.start_ranks, self.announce_run
            self._launcher = launcher
