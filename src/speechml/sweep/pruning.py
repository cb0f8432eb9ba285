"""Stopping runs early that the search can do without."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl

from speechml.callbacks.epoch_table import fresh
from speechml.engine.trial import Place, Pruned


class Pruning(pl.Callback):
    """Reports the watched score of each epoch to the study, and stops the training when the study's pruner says so.

    Only the first execution of a trial is judged: of a pruned one there is no second.

    Args:
        place: of the trial.
        watched: name of the score.
    """

    def __init__(self, place: Place, watched: str) -> None:
        import optuna

        from speechml.sweep.study import NAME, pruner, quiet, storage

        quiet()
        chosen = pruner(str(place.pruner), place.pruner_options)
        # The sampler draws nothing here; the default one would be slower to make.
        study = optuna.load_study(
            study_name=NAME, storage=storage(place.folder), pruner=chosen, sampler=optuna.samplers.RandomSampler()
        )
        frozen = study.get_trials(deepcopy=False)[place.number]
        self.trial = optuna.trial.Trial(study, frozen._trial_id)  # the one way to a trial that another process began
        self.reported = set(frozen.intermediate_values)
        self.watched, self.pruned_at = watched, 0
        if self.reported and self.trial.should_prune():  # decided before the search was cut off
            raise Pruned(f"after epoch {max(self.reported)}, by {watched}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        epoch, value = trainer.current_epoch + 1, fresh(trainer).get(self.watched)
        if value is None or not math.isfinite(value):
            return
        if epoch not in self.reported:  # a resumed run may pass an epoch again
            self.reported.add(epoch)
            self.trial.report(value, epoch)
        if self.trial.should_prune():
            self.pruned_at = epoch
            trainer.should_stop = True


def pruning(place: Place | None, watched: str, ranks: int) -> list[Any]:
    """The callback for a run, where it is the first execution of a trial of a search that prunes.

    Runs of several processes are not pruned: each would have to decide alike.
    """
    if place is None or not place.pruner or place.execution > 0 or ranks > 1:
        return []
    return [Pruning(place, watched)]
