"""Hydra's door to the search: `hydra/sweeper=optuna`, configured in conf/hydra/sweeper/optuna.yaml.

No `from __future__ import annotations` and nothing heavy here: Hydra imports every plugin at every start.
"""

from typing import Any

from hydra_plugins.speechml_sweeps import OurSweeper


class OptunaSweeper(OurSweeper):
    """Searches with Optuna."""

    def sweep(self, arguments: list[str]) -> Any:
        from speechml.sweep.sweep import sweep

        return sweep(self.options, self.config, self.launcher, self.hydra_context, arguments)
