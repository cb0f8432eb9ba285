"""The trial of a search that a run belongs to, and the training of a run that may be one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from speechml.config.compose import resolve_config
from speechml.config.train_config import check_config
from speechml.contracts import Config
from speechml.engine.distributed import rank_info
from speechml.errors import Pruned, UserError

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from speechml.sweep.pruning import Pruning

SWEEPER = "hydra_plugins.speechml_optuna.OptunaSweeper"


class SearchTrial:
    """Which execution of which trial of which search a run is.

    Args:
        folder: of the search.
        number: of the trial.
        execution: of the trial; its first is 0.
        pruner: of the search; None where it prunes no run.
        pruner_options: its arguments.
    """

    needs_validation = True

    def __init__(self, folder: Path, number: int, execution: int, pruner: str | None, pruner_options: Config) -> None:
        self.folder, self.number, self.execution = folder, number, execution
        self.pruner, self.pruner_options = pruner, pruner_options
        self.pruning: Pruning | None = None

    def callbacks(self, watched: str, ranks: int) -> list[Callback]:
        """What prunes the run, where it is the first execution of a trial of a search that prunes.

        Of a pruned trial there is no second execution. Runs of several processes are not pruned: each would have to
        decide alike.

        Raises:
            Pruned: that was decided before the search was cut off.
        """
        if not self.pruner or self.execution > 0 or ranks > 1:
            return []
        from speechml.sweep.pruning import Pruning

        self.pruning = Pruning(self, watched)
        return [self.pruning]

    def check_pruned(self) -> None:
        """Raises Pruned where the search has stopped the training early."""
        if self.pruning and self.pruning.pruned_at:
            raise Pruned(f"after epoch {self.pruning.pruned_at}, by {self.pruning.watched}")


def current_trial() -> SearchTrial | None:
    """The trial that this process computes, by Hydra's own config of the job; None where it computes none.

    Every launcher hands that config on, so this holds in worker processes and on other machines as well.
    """
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or hydra.sweeper.get("_target_") != SWEEPER:
        return None
    job = OmegaConf.select(hydra, "job.num")  # type: ignore[arg-type] # a DictConfig, whatever Hydra declares
    if not isinstance(job, int) or job < 0:  # the run after the search is none of its trials
        return None
    number, execution = divmod(job, hydra.sweeper.executions_per_trial)
    options = dict(hydra.sweeper.pruner_options or {})
    return SearchTrial(Path(hydra.sweep.dir), number, execution, hydra.sweeper.pruner, options)


def check_search_has_sweeper() -> None:
    """Refuse a search space that nothing would search.

    Raises:
        UserError: `hparams_search` without `-m`.
    """
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN:
        chosen = HydraConfig.get().runtime.choices.get("hparams_search")
        if chosen:
            raise UserError(
                f"hparams_search={chosen} describes many runs", fix="add -m to search, or leave it out for one run"
            )


def train_trial(cfg: DictConfig) -> float | None:
    """As `engine.train.train`, as a trial of a search where the process computes one; a wrong config loads nothing heavy."""
    check_search_has_sweeper()
    try:
        check_config(resolve_config(cfg))
    except UserError:
        if (rank := rank_info()) and rank.rank > 0:  # rank 0 is refused alike, and says so
            return None
        raise
    from speechml.engine.train import train

    return train(cfg, current_trial())
