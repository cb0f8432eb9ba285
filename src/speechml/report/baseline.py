"""What settings are compared with: the run that was named, the default of an experiment, or the best by validation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechml.config.compose import adapt_overrides, resolve_config
from speechml.contracts import Config, is_higher_better
from speechml.errors import UserError
from speechml.report.finished_run import Result
from speechml.runs.choosing import Score, validation_score
from speechml.runs.identity import overridden_keys
from speechml.runs.labels import load_config, result_settings

SEEDS = {"seed", "data.seed", "model.seed"}


@dataclass(frozen=True)
class Setting:
    """Runs that differ by seed only."""

    label: str
    runs: tuple[Result, ...]

    @property
    def seeds(self) -> list[int]:
        """One a run."""
        return [run.card.seed for run in self.runs]

    @property
    def experiment(self) -> str:
        """Of all its runs."""
        return self.runs[0].card.experiment


def find_run(baseline: str | Path, folders: Sequence[Path]) -> Path:
    """The folder among several that a path, an id or its beginning names. Raises UserError where that is none, or several."""
    text = str(baseline).rstrip("/")
    exact = [folder for folder in folders if text and folder.resolve() == Path(text).resolve()]
    names = {folder: f"{folder.resolve().parent.name}/{folder.resolve().name}" for folder in folders}
    fitting = exact or [f for f, name in names.items() if text and (name.startswith(text) if "/" in text else
                                                                    name.partition("/")[2].startswith(text))]  # fmt: skip
    whole = [folder for folder in fitting if text in (folder.resolve().name, names[folder])]
    fitting = whole if len(whole) == 1 else fitting
    if not fitting:
        raise UserError(
            f"the baseline {text or baseline!r} is none of the runs that are compared",
            fix="give the id, its beginning or the folder of one of them",
        )
    if len(fitting) > 1:
        places = ", ".join(str(folder) for folder in fitting[:3]) + ", ..." * (len(fitting) > 3)
        raise UserError(
            f"the baseline {text} is the beginning of {len(fitting)} runs: {places}", fix="give more of the id"
        )
    return fitting[0]


def choose_reference(settings: list[Setting], baseline: Path | None) -> tuple[list[Setting], str]:
    """The settings, the reference first and the others as validation ranks them, and why it is the reference.

    It is that of `baseline`; else the default of its experiment, which sets nothing that not all of them set; else the best
    by validation; and where not all have a validation score, the one that began first.
    """
    name, ranked = common_validation(settings), settings
    if name:
        ranked = sorted(settings, key=lambda one: Score(name, float(validations(name, one).mean())).rank)
    defaults = find_defaults(settings) if baseline is None and len(settings) > 1 else []
    if baseline is not None:
        first = next(one for one in settings if any(run.folder == baseline for run in one.runs))
        reason = "the baseline as asked"
    elif defaults:
        if not name:
            ranked = sorted(settings, key=_began)
        first = next(one for one in ranked if one in defaults)
        how = f"the best default by {name}" if name else "the default that began first"
        reason = f"the default of {first.experiment}" + f", {how}" * (len(defaults) > 1)
    elif name:
        first, reason = ranked[0], f"the best by validation ({name})"
    else:
        first = min(settings, key=_began)
        reason = "which began first, as not all runs have the same validation score"
    return [first, *(one for one in ranked if one is not first)], reason


def _began(setting: Setting) -> str:
    """When its first run began."""
    return min(run.card.started for run in setting.runs)


def common_validation(settings: Sequence[Setting]) -> str:
    """The validation score that all runs have, by which their settings are chosen; nothing where there is none."""
    cards = [run.card for one in settings for run in one.runs]
    names = dict.fromkeys(score.name for score in map(validation_score, cards) if score)
    known = [name for name in names if is_higher_better(name) is not None]
    return next((name for name in known if all(card.scores.get(name) is not None for card in cards)), "")


def validations(name: str, setting: Setting) -> np.ndarray:
    """That score of each run of a setting."""
    return np.array([run.card.scores[name] for run in setting.runs], dtype=float)


def find_defaults(settings: Sequence[Setting]) -> list[Setting]:
    """For each experiment the setting that is its default, beside what all settings have set; most often one or none."""
    typed = [_typed(one.runs[0]) for one in settings]
    common = set.intersection(*map(set, typed))
    found = []
    for experiment in dict.fromkeys(one.experiment for one in settings):
        own = [
            (one, {key for word, key in words.items() if word not in common})
            for one, words in zip(settings, typed, strict=True) if one.experiment == experiment
        ]  # fmt: skip
        plain = [one for one, keys in own if not keys]
        if not plain and (default := _default_config(experiment, sorted(common))):
            plain = [one for one, keys in own if _is_default(one.runs[0].config, default, keys)]
        found += plain if len(plain) == 1 else []  # of several, something differs that no command has set
    return found


def _typed(run: Result) -> dict[str, str]:
    """The words of a run's command that can change a result, with the dotted key that each sets, adds or deletes."""
    keys = {word: _key_of(word) for word in adapt_overrides(run.card.overrides)}
    effective = overridden_keys(load_config(run.folder), [f"{key}=" for key in keys.values()]).keys() - SEEDS
    return {word: key for word, key in keys.items() if key in effective}


def _key_of(word: str) -> str:
    """The key of an override, as `~trainer.max_time`, `++optimizer.lr=1` or `model/net@model.teacher=fir`."""
    group, _, package = word.partition("=")[0].lstrip("+~").partition("@")
    return (package.rpartition(":")[2] or group).replace("/", ".")


def _default_config(experiment: str, words: list[str]) -> Config:
    """The dotted keys of an experiment with some overrides; none where they no longer compose."""
    from hydra.core.hydra_config import HydraConfig

    from speechml.config.compose_app import compose_app

    before = HydraConfig.instance().cfg
    try:
        return result_settings(resolve_config(compose_app("train", [f"experiment={experiment}", *words])))
    except UserError:
        return {}
    finally:
        HydraConfig.instance().cfg = before


def _is_default(config: Config, default: Config, keys: Collection[str]) -> bool:
    """Whether a run has the values of the default in all keys that both have, and in those that its command names.

    Others that one of them lacks came with another version.
    """
    named = tuple(f"{key}." for key in keys)
    compared = {key for key in config.keys() | default.keys() if f"{key}.".startswith(named)}
    compared |= config.keys() & default.keys()
    return all(str(config.get(key, named)) == str(default.get(key, named)) for key in compared)
