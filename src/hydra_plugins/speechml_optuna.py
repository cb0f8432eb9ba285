"""Hydra's door to the search: `hydra/sweeper=optuna`, configured in conf/hydra/sweeper/optuna.yaml."""

from hydra_plugins.speechml_sweeps import GridSweeper


class OptunaSweeper(GridSweeper):
    """Searches with Optuna."""

    def sweep(self, arguments: list[str]) -> float | None:
        from speechml.sweep.search import run_search
        from speechml.sweep.sweep_command import SweepCommand

        return run_search(SweepCommand(self.config, self.loader, arguments))
