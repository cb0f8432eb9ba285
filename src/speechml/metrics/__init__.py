"""Scores of waveforms and of classes, and whether more of one is better."""

from __future__ import annotations

from speechml.config.train_config import sense_by_name
from speechml.contracts import Config


def sense_of(config: Config, score: object) -> bool | None:
    """Whether more of a score is better, by its name, else by the metric of the config that it is of; None: not known."""
    known, metrics = sense_by_name(config, score), config.get("metrics")
    if known is None and metrics:
        from speechml.metrics.custom import is_higher_better

        return is_higher_better(metrics, str(score))
    return known
