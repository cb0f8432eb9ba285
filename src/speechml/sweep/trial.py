"""The trial of a search that a run belongs to, and how it is stopped early where the search can do without it."""

from __future__ import annotations

import math
from pathlib import Path

import lightning.pytorch as pl

from speechml.callbacks.epochs import epoch_metrics
from speechml.contracts import Config
from speechml.errors import Pruned

SWEEPER = "hydra_plugins.speechml_optuna.OptunaSweeper"


def trial_of(hydra: Config) -> SearchTrial | None:
    """The trial that a job computes, by its part of Hydra's config; None for a run of a grid, or after a search."""
    sweeper, job = hydra["sweeper"], hydra["job.num"]
    if sweeper.get("_target_") != SWEEPER or job < 0:
        return None
    number, execution = divmod(job, sweeper["executions_per_trial"])
    return SearchTrial(Path(hydra["sweep.dir"]), number, execution, sweeper["pruner"], sweeper["pruner_options"] or {})


class SearchTrial(pl.Callback):
    """One execution of a trial: tells the study the watched score of each epoch, and stops where its pruner says so.

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
        self.watched, self.pruned_at = "", 0

    def callbacks(self, watched: str, ranks: int) -> list[pl.Callback]:
        """What prunes the run, where it is the first execution of a trial of a search that prunes.

        Of a pruned trial there is no second execution. Runs of several processes are not pruned: each would have to
        decide alike.
        """
        if not self.pruner or self.execution > 0 or ranks > 1:
            return []
        import optuna

        from speechml.sweep.optuna_compat import resume_trial
        from speechml.sweep.study import NAME, new_pruner, silence_optuna, storage

        silence_optuna()
        # The sampler draws nothing here; the default one would be slower to make.
        study = optuna.load_study(
            study_name=NAME, storage=storage(self.folder), pruner=new_pruner(self.pruner, self.pruner_options),
            sampler=optuna.samplers.RandomSampler(),
        )  # fmt: skip
        self.trial, self.watched = resume_trial(study, self.number), watched
        self.reported = set(study.get_trials(deepcopy=False)[self.number].intermediate_values)
        if self.reported and self.trial.should_prune():  # decided before the search was cut off
            self.pruned_at = max(self.reported)
        return [self]

    def check_pruned(self) -> None:
        """Raises Pruned where the search has stopped the training early."""
        if self.pruned_at:
            raise Pruned(f"after epoch {self.pruned_at}, by {self.watched}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        epoch, value = trainer.current_epoch + 1, epoch_metrics(trainer).get(self.watched)
        if value is None or not math.isfinite(value):
            return
        if epoch not in self.reported:  # a resumed run may pass an epoch again
            self.reported.add(epoch)
            self.trial.report(value, epoch)
        if self.trial.should_prune():
            self.pruned_at = epoch
            trainer.should_stop = True
