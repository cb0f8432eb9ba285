"""The settings by which runs of an experiment differ, and short names made of them. Nothing heavy is imported."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from speechml.configs import PATH_KEYS
from speechml.errors import BadInput
from speechml.runs.catalogue import DAMAGE, printable
from speechml.runs.folder import read_card
from speechml.runs.identity import WITHOUT_EFFECT

LONGEST = 120  # letters of a name
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Shown(NamedTuple):
    """A run as it is shown beside others."""

    folder: Path
    settings: dict[str, Any]  # by which it may differ from them
    card: dict[str, Any]


class _Run(NamedTuple):
    folder: Path
    card: dict[str, Any]
    config: dict[str, Any]
    typed: dict[str, str]

    def values(self, keys: Iterable[str]) -> dict[str, Any]:
        found = {key: value_of(self.config, key, self.typed.get(key)) for key in keys}
        return {key: value for key, value in found.items() if value is not None}


def typed(overrides: Sequence[str]) -> dict[str, str]:
    """The keys that a command set and that may change a number, with their text; choices of a group among them."""
    found = {}
    for word in overrides:
        key, equals, text = word.lstrip("+").partition("=")
        idle = any(key == name or key.startswith(f"{name}.") for name in WITHOUT_EFFECT)
        if equals and key != "experiment" and not idle and "@" not in key:
            found[key] = text
    return found


def value_of(config: dict[str, Any], key: str, text: str | None) -> Any:
    """What a key has come to in a config: a number, a truth value or text; of a group, what was chosen (`text`)."""
    node: Any = config
    for word in key.split("."):
        node = node.get(word) if isinstance(node, dict) else None
    if node is None or isinstance(node, dict):
        return text
    if key.rpartition(".")[2] in PATH_KEYS:
        return Path(str(node)).name
    return node if isinstance(node, (bool, int, float, str)) else str(node).replace(" ", "")


def settings_of(config: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """What TensorBoard is told of a run by itself: what its command set, and what every run has."""
    given = {"optimizer.lr": None, **typed(overrides), "seed": None}
    values = {key: value_of(config, key, text) for key, text in given.items()}
    return {"experiment": config["name"], **{key: value for key, value in values.items() if value is not None}}


def shown(folders: Iterable[Path]) -> dict[str, Shown]:
    """Runs by names that say how they differ from the others of their experiment, as `lr=0.2 seed=1`.

    Where there are several experiments, theirs stands before it, as `lab2a_fir/lr=0.2 seed=1`. Runs that cannot be read
    are left out.
    """
    groups = _by_experiment(folders)
    differing = {experiment: _differing(runs) for experiment, runs in groups.items()}
    columns = dict.fromkeys(key for keys in differing.values() for key in keys if key != "seed")
    found: dict[str, Shown] = {}
    for experiment, runs in groups.items():
        own = [named(run.values(differing[experiment])) for run in runs]
        often = Counter(own)
        for run, name in zip(runs, own, strict=True):
            told = name if often[name] == 1 else f"{name} {run.folder.name}".strip()
            whole = told if told and len(groups) == 1 else f"{experiment}/{told}" if told else experiment
            first = {"experiment": experiment} if len(groups) > 1 else {}
            found[whole] = Shown(run.folder, {**first, **run.values([*columns, "seed"])}, run.card)
    return found


def _by_experiment(folders: Iterable[Path]) -> dict[str, list[_Run]]:
    groups: dict[str, list[_Run]] = defaultdict(list)
    for folder in folders:
        with contextlib.suppress(BadInput, OSError, yaml.YAMLError, *DAMAGE):
            card = read_card(folder) or {}
            config = yaml.load((folder / "config.yaml").read_text(), Loader)
            groups[str(card["experiment"])].append(_Run(folder, card, dict(config), typed(card["overrides"])))
    return groups


def _differing(runs: list[_Run]) -> list[str]:
    """The keys of which the runs have several values; the seed last."""
    keys = dict.fromkeys(key for run in runs for key in run.typed if key != "seed")
    return [key for key in (*keys, "seed") if len({str(run.values([key])) for run in runs}) > 1]


def named(values: dict[str, Any]) -> str:
    """Settings as a name, which can be that of a folder: `lr=0.2 taps=[20,20] seed=1`."""
    short = shortened(list(values))
    words = [f"{short[key]}={f'{v:g}' if isinstance(v, float) else v}" for key, v in values.items()]
    return printable(" ".join(words)).replace("/", "_")[:LONGEST]


def shortened(keys: list[str]) -> dict[str, str]:
    """Each key's last word, or as much of its end as tells it from the others."""
    found = {}
    for key in keys:
        words = key.split(".")
        tails = (".".join(words[-n:]) for n in range(1, len(words) + 1))
        found[key] = next(
            tail for tail in tails if tail == key or sum(k == tail or k.endswith(f".{tail}") for k in keys) == 1
        )
    return found
