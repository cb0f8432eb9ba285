"""Hydra's door to the search: `hydra/sweeper=optuna`, configured in conf/hydra/sweeper/optuna.yaml.

No `from __future__ import annotations` and nothing heavy here: Hydra imports every plugin at every start.
"""

from hydra_plugins.speechml_sweeps import OurSweeper


class OptunaSweeper(OurSweeper):
    """Searches with Optuna."""

    def sweep(self, arguments: list[str]) -> object:
        from speechml.sweep.search_plan import run_search

        return run_search(self.options, self.config, self.loader, self.opener(), arguments)
