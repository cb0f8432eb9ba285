"""Hydra's door to the search: `hydra/sweeper=optuna`, configured in conf/hydra/sweeper/optuna.yaml.

No `from __future__ import annotations` and nothing heavy here: Hydra imports every plugin at every start.
"""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Searches with Optuna; the arguments are the keys of its config."""

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

    def sweep(self, arguments: list[str]) -> Any:
        from speechml.sweeps.sweep import sweep

        return sweep(self.options, self.config, self.launcher, self.hydra_context, arguments)
