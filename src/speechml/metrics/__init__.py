"""Scores of waveforms and of classes, whether more of one is better, and what a run is chosen by."""

from __future__ import annotations

from speechml.config.instantiate import import_class, parameters
from speechml.config.train_config import check_score_keys, sections_with_monitor, sense_by_name, with_modes
from speechml.contracts import Config
from speechml.errors import UnknownScore, UserError, did_you_mean


def sense_of(config: Config, score: object) -> bool | None:
    """Whether more of a score is better, by its name, else by the metric of the config that it is of; None: not known."""
    known, metrics = sense_by_name(config, score), config.get("metrics")
    if known is None and metrics:
        from speechml.metrics.custom import is_higher_better

        return is_higher_better(metrics, str(score))
    return known


def choose_modes(config: Config) -> Config:
    """A copy of a config in which each `mode` is that of the score, by its name or the metric that it is of; null: not known.

    Raises:
        UserError: a mode is against the sense of its score.
    """
    check_score_keys(config, sense_of)
    chosen = with_modes(config, sense_of)
    for name, node in chosen["callbacks"].items():
        settled = node and node != config["callbacks"][name]
        if settled and not {"mode", "**"} & parameters(import_class(node["_target_"], f"callbacks.{name}")):
            chosen["callbacks"][name] = config["callbacks"][name]  # a class of the user's own, without modes
    return chosen


def wanted_scores(config: Config) -> dict[str, str]:
    """The scores that something goes by, by its key."""
    wanted = {f"{where}.monitor": str(node["monitor"]) for where, node in sections_with_monitor(config).items()}
    return wanted | ({"objective": str(config["objective"])} if config["objective"] else {})


def check_scores(config: Config, names: list[str] | None) -> None:
    """Refuse to choose by what the task does not score, as far as that is known before it does, or by a score without mode.

    Args:
        names: of what the task scores; None where that is not known.

    Raises:
        UnknownScore: which, and the scores that there are.
    """
    for key, score in wanted_scores(config).items():
        if names is not None and score not in names:
            near = did_you_mean(score, names).removeprefix("; ")
            there = [name for name in names if name.startswith("val/") or key.startswith("callbacks.")]
            fix = f"{near or 'choose another'} (there are {', '.join(there)})"
            raise UnknownScore(f"{key} is {score}, which is no score of this run", fix=fix)
    for where, node in sections_with_monitor(config).items():
        if node.get("mode", "min") is None:
            what = f"{where}.monitor is {node['monitor']}, of which it is not known whether more is better"
            raise UserError(what, fix=f"set {where}.mode to min or max")
