"""Stopping runs early that the search can do without."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import lightning.pytorch as pl

from speechml.callbacks.epochs import epoch_metrics

if TYPE_CHECKING:
    from speechml.sweep.trial import SearchTrial


class Pruning(pl.Callback):
    """Reports the watched score of each epoch to the study, and stops the training when the study's pruner says so.

    Args:
        run: which trial of which search is trained.
        watched: name of the score.
    """

    def __init__(self, run: SearchTrial, watched: str) -> None:
        import optuna

        from speechml.sweep.optuna_compat import resume_trial
        from speechml.sweep.study import NAME, new_pruner, silence_optuna, storage

        silence_optuna()
        chosen = new_pruner(str(run.pruner), run.pruner_options)
        # The sampler draws nothing here; the default one would be slower to make.
        study = optuna.load_study(
            study_name=NAME, storage=storage(run.folder), pruner=chosen, sampler=optuna.samplers.RandomSampler()
        )
        self.trial = resume_trial(study, run.number)
        self.reported = set(study.get_trials(deepcopy=False)[run.number].intermediate_values)
        was_pruned = bool(self.reported) and self.trial.should_prune()  # decided before the search was cut off
        self.watched, self.pruned_at = watched, max(self.reported) if was_pruned else 0

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
