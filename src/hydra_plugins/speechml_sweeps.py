"""Hydra's doors to sweeps and searches, and to what computes them: this machine or a cluster.

No `from __future__ import annotations` and nothing heavy here: Hydra imports every plugin at every start.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from speechml.sweep.launchers import OpenLauncher


class OurLauncher(Launcher):
    """What launchers of ours have in common: Hydra's parts, kept until there are runs to compute."""

    config: DictConfig

    def __init__(self, **options: object) -> None:
        self.options = {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in options.items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:  # noqa: ARG002
        self.config = config

    def opener(self) -> "OpenLauncher":
        """What gives a sweeper the launcher of its runs."""
        raise NotImplementedError

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        from speechml.errors import UserError

        raise UserError(
            "only trainings by hydra/sweeper=grid or optuna are launched side by side; leave hydra/launcher out"
        )


class LocalLauncher(OurLauncher):
    """Processes of this machine; configured in conf/hydra/launcher/local.yaml."""

    def opener(self) -> "OpenLauncher":
        from speechml.sweep.launchers import open_local

        return partial(open_local, self.options, self.config)


class SlurmLauncher(OurLauncher):
    """Jobs of a Slurm cluster; configured in conf/hydra/launcher/slurm.yaml."""

    def opener(self) -> "OpenLauncher":
        from speechml.sweep.launchers import open_slurm

        return partial(open_slurm, self.options)


class OurSweeper(Sweeper):
    """What sweepers of ours have in common: Hydra's parts, and the keys of their config."""

    config: DictConfig

    def __init__(self, **options: object) -> None:
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        from speechml.errors import UserError

        for key in ("env_set", "chdir"):  # what computes the runs is not Hydra's
            if config.hydra.job[key]:
                fix = "set variables in the shell" if key == "env_set" else "leave it out"
                raise UserError(f"hydra.job.{key} does not act in a sweep", fix=fix)
        self.config, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def opener(self) -> "OpenLauncher":
        """What gives the launcher of the runs, as hydra/launcher chooses it.

        Raises:
            UserError: it chooses one that is not ours.
        """
        from speechml.errors import UserError
        from speechml.sweep.launchers import open_basic

        if isinstance(self.launcher, OurLauncher):
            return self.launcher.opener()
        if (chosen := self.config.hydra.runtime.choices["hydra/launcher"]) != "basic":
            raise UserError(f"hydra/launcher={chosen} cannot compute trainings; choose basic, local or slurm")
        return open_basic


class GridSweeper(OurSweeper):
    """Computes every combination that is not done; configured in conf/hydra/sweeper/grid.yaml."""

    def sweep(self, arguments: list[str]) -> None:
        from speechml.sweep.grid import run_grid

        run_grid(self.options, self.config, self.loader, self.opener(), arguments)
