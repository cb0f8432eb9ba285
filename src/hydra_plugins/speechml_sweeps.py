"""Hydra's doors to sweeps of every combination, and to what computes them: this machine or a cluster.

No `from __future__ import annotations` and nothing heavy here: Hydra imports every plugin at every start.
"""

from collections.abc import Sequence
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OurSweeper(Sweeper):
    """What sweepers of ours have in common: Hydra's parts, and the keys of their config."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.config: Any = None
        self.launcher: Any = None
        self.hydra_context: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )


class GridSweeper(OurSweeper):
    """Computes every combination that is not done; configured in conf/hydra/sweeper/grid.yaml."""

    def sweep(self, arguments: list[str]) -> Any:
        from speechml.sweep.grid import sweep

        return sweep(self.options, self.config, self.launcher, self.hydra_context, arguments)


class _OurLauncher(Launcher):
    """What launchers of ours have in common: Hydra's parts, kept until there are runs to compute."""

    def __init__(self, **options: Any) -> None:
        self.options = {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in options.items()}
        self.config: Any = None
        self.task_function: Any = None
        self.hydra_context: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.task_function, self.hydra_context = config, task_function, hydra_context


class LocalLauncher(_OurLauncher):
    """Processes of this machine; configured in conf/hydra/launcher/local.yaml."""

    def compute(self, runs: Sequence[Any], folder: Any, elsewhere: Sequence[Any] = ()) -> Sequence[Any]:  # noqa: ARG002
        """What became of the runs of a sweep, in its folder; those that others compute are left to them."""
        from speechml.sweep.local import compute

        return compute(self, runs, folder)

    def alone(self) -> Any:
        """For searches, which have processes of their own: what computes in one, how many there are, and their GPUs."""
        from speechml.sweep.local import jobs, one_at_a_time

        return one_at_a_time(self), *jobs(self)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        from speechml.sweep.local import launch

        return launch(self, job_overrides, initial_job_idx)


class SlurmLauncher(_OurLauncher):
    """Jobs of a Slurm cluster; configured in conf/hydra/launcher/slurm.yaml."""

    def compute(self, runs: Sequence[Any], folder: Any, elsewhere: Sequence[Any] = ()) -> Sequence[Any]:
        """What became of the runs of a sweep, in its folder, and of those that were launched before."""
        from speechml.sweep.slurm import compute

        return compute(self, runs, folder, elsewhere)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        from speechml.sweep.slurm import launch

        return launch(self, job_overrides, initial_job_idx)

    def queued(self, folder: Any) -> Any:
        """What Slurm says of the runs of a sweep that it has."""
        from speechml.sweep.slurm import queued

        return queued(folder)
