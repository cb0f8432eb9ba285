"""Hydra's doors to sweeps and searches, and to what computes them: this machine or a cluster.

No `from __future__ import annotations` and nothing heavy here: Hydra imports every plugin at every start.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OurLauncher(Launcher):
    """What our sweepers compute runs with: they read its keys themselves, and others cannot use it."""

    def __init__(self, **options: object) -> None:
        """Hydra gives the keys of hydra.launcher."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing is begun before there are runs to compute."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        from speechml.errors import UserError

        raise UserError(
            "only trainings by hydra/sweeper=grid or optuna are launched side by side; leave hydra/launcher out"
        )


class LocalLauncher(OurLauncher):
    """Processes of this machine; configured in conf/hydra/launcher/local.yaml."""


class FusedLauncher(OurLauncher):
    """This process, small networks of one kind together; configured in conf/hydra/launcher/fused.yaml."""


class SlurmLauncher(OurLauncher):
    """Jobs of a Slurm cluster; configured in conf/hydra/launcher/slurm.yaml."""


class GridSweeper(Sweeper):
    """Computes every combination that is not done; configured in conf/hydra/sweeper/grid.yaml."""

    config: DictConfig

    def __init__(self, **options: object) -> None:
        """Hydra gives the keys of hydra.sweeper."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:  # noqa: ARG002
        from speechml.errors import UserError

        for key in ("env_set", "chdir"):  # what computes the runs is not Hydra's
            if config.hydra.job[key]:
                fix = "set variables in the shell" if key == "env_set" else "leave it out"
                raise UserError(f"hydra.job.{key} does not act in a sweep", fix=fix)
        self.config, self.loader = config, hydra_context.config_loader

    def sweep(self, arguments: list[str]) -> float | None:
        from speechml.sweep.grid import run_grid
        from speechml.sweep.sweep_command import SweepCommand

        run_grid(SweepCommand(self.config, self.loader, arguments))
        return None
