"""The settings by which runs of an experiment differ, and short names made of them. Nothing heavy is imported."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from speechml.config.compose import flatten
from speechml.config.train_config import path_keys
from speechml.contracts import Config
from speechml.errors import UserError
from speechml.runs.card import DAMAGE, RunCard, load_card
from speechml.runs.identity import keys_without_effect, without_later_keys
from speechml.runs.tables import printable

LONGEST = 120  # letters of a name
LARGEST = 1_000_000  # letters of a config, and
DEEPEST = 2_000  # brackets in it: libyaml falls over a hundred thousand
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_config(folder: Path) -> Config:
    """The config of a run, read ten times faster than OmegaConf does.

    Raises:
        UserError: it is not there, or is none.
    """
    path = folder / "config.yaml"
    try:
        text = path.read_text()
        if len(text) > LARGEST or text.count("[") + text.count("{") > DEEPEST:
            raise ValueError("it is no config of a run")
        return {str(key): value for key, value in dict(yaml.load(text, Loader)).items()}
    except (OSError, yaml.YAMLError, *DAMAGE) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read", why, "train the run again") from error


def result_settings(config: Config) -> Config:
    """The dotted keys of a config that can change a result, without the seed."""
    without = tuple(f"{key}." for key in (*keys_without_effect(), "seed", "data.seed", "model.seed", "data.cache"))
    found = flatten(without_later_keys(config))
    return {key: value for key, value in found.items() if not f"{key}.".startswith(without)}


class LabelledRun(NamedTuple):
    """A run as it is shown beside others."""

    folder: Path
    settings: Config  # by which it may differ from them
    card: RunCard


class _Run(NamedTuple):
    folder: Path
    card: RunCard
    config: Config
    typed: dict[str, str]

    def values(self, keys: Iterable[str]) -> Config:
        found = {key: setting_value(self.config, key, self.typed.get(key)) for key in keys}
        return {key: value for key, value in found.items() if value is not None}


def parse_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """The keys that a command set and that may change a number, with their text; choices of a group among them."""
    found = {}
    for word in overrides:
        key, equals, text = word.lstrip("+").partition("=")
        idle = any(key == name or key.startswith(f"{name}.") for name in keys_without_effect())
        if equals and key != "experiment" and not idle and "@" not in key:
            found[key] = text
    return found


def setting_value(config: Config, key: str, text: str | None) -> bool | float | str | None:
    """What a key has come to in a config: a number, a truth value or text; of a group, what was chosen (`text`)."""
    node: object = config
    for word in key.split("."):
        node = node.get(word) if isinstance(node, dict) else None
    if node is None or isinstance(node, dict):
        return text
    if key.rpartition(".")[2] in path_keys():
        return Path(str(node)).name
    return node if isinstance(node, (bool, int, float, str)) else str(node).replace(" ", "")


def run_settings(config: Config, overrides: Sequence[str]) -> Config:
    """What TensorBoard is told of a run by itself: what its command set, and what every run has."""
    given = {"optimizer.lr": None, **parse_overrides(overrides), "seed": None}
    values = {key: setting_value(config, key, text) for key, text in given.items()}
    return {"experiment": config["name"], **{key: value for key, value in values.items() if value is not None}}


def label_runs(folders: Iterable[Path]) -> dict[str, LabelledRun]:
    """Runs by names that say how they differ from the others of their experiment, as `lr=0.2 seed=1`.

    Where there are several experiments, theirs stands before it, as `lab2a_fir/lr=0.2 seed=1`. Runs that cannot be read
    are left out.
    """
    groups = _by_experiment(folders)
    differing = {experiment: _differing(runs) for experiment, runs in groups.items()}
    columns = dict.fromkeys(key for keys in differing.values() for key in keys if key != "seed")
    found: dict[str, LabelledRun] = {}
    for experiment, runs in groups.items():
        own = [settings_name(run.values(differing[experiment])) for run in runs]
        often = Counter(own)
        for run, name in zip(runs, own, strict=True):
            label = name if often[name] == 1 else f"{name} {run.folder.name}".strip()
            whole = label if label and len(groups) == 1 else f"{experiment}/{label}" if label else experiment
            first = {"experiment": experiment} if len(groups) > 1 else {}
            found[whole] = LabelledRun(run.folder, {**first, **run.values([*columns, "seed"])}, run.card)
    return found


def _by_experiment(folders: Iterable[Path]) -> dict[str, list[_Run]]:
    groups: dict[str, list[_Run]] = defaultdict(list)
    for folder in folders:
        with contextlib.suppress(UserError):
            if card := load_card(folder):
                name = printable(card.experiment).replace("/", "_").lstrip(".")  # of a folder, never of one elsewhere
                groups[name].append(_Run(folder, card, load_config(folder), parse_overrides(card.overrides)))
    return groups


def _differing(runs: list[_Run]) -> list[str]:
    """The keys of which the runs have several values; the seed last."""
    keys = dict.fromkeys(key for run in runs for key in run.typed if key != "seed")
    return [key for key in (*keys, "seed") if len({str(run.values([key])) for run in runs}) > 1]


def settings_name(values: Config) -> str:
    """Settings as a name, which can be that of a folder: `lr=0.2 taps=[20,20] seed=1`."""
    short = shorten_keys(list(values))
    words = [f"{short[key]}={f'{v:g}' if isinstance(v, float) else v}" for key, v in values.items()]
    return printable(" ".join(words)).replace("/", "_")[:LONGEST]


def name_differences(config: Config, others: Sequence[Config]) -> str:
    """The keys of a flat config that others have with another value, as a name: `lr=0.2 net=MIMOCNN`.

    Where another class is built, keys that one of the classes does not have say nothing more.
    """
    absent = object()
    every = [config, *others]
    differing = [key for key in sorted({key for one in every for key in one})
                 if any(one.get(key, absent) != config.get(key, absent) for one in others)]  # fmt: skip
    sections = [key.removesuffix("_target_") for key in differing if key.endswith("_target_")]
    values = {}
    for key in differing:
        if key.endswith("_target_"):
            values[key.removesuffix("._target_")] = str(config.get(key)).rpartition(".")[2]
        elif not (key.startswith(tuple(sections)) and any(key not in one for one in every)):
            value = config.get(key, "-")
            values[key] = str(value).lower() if isinstance(value, bool) else "null" if value is None else value
    return settings_name(values)


def shorten_keys(keys: list[str]) -> dict[str, str]:
    """Each key's last word, or as much of its end as tells it from the others."""
    found = {}
    for key in keys:
        words = key.split(".")
        tails = (".".join(words[-n:]) for n in range(1, len(words) + 1))
        found[key] = next(
            tail for tail in tails if tail == key or sum(k == tail or k.endswith(f".{tail}") for k in keys) == 1
        )
    return found
