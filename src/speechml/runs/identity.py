"""The name of a run: a hash of everything in its config that can change the result, and of nothing else."""

from __future__ import annotations

import copy
import hashlib
import json
from functools import cache

from omegaconf import DictConfig, OmegaConf, open_dict

from speechml.config.schema import keys_of, room_schemas, schema_of, walk
from speechml.config.third_party import Trainer
from speechml.config.train_config import TrainConfig, fill_groups
from speechml.contracts import Config


@cache
def keys_without_effect() -> tuple[str, ...]:
    """Dotted keys that cannot change a number: where things lie, what is shown, what is said of others' results."""
    keys = [("hydra", False), *((name, known.effect) for name, known in walk(TrainConfig))]
    keys += [(f"trainer.{name}", known.effect) for name, known in keys_of(Trainer).items()]
    keys += [
        (f"data.{name}", known.effect) for schema in room_schemas("data") for name, known in keys_of(schema).items()
    ]
    return tuple(dict.fromkeys(name for name, effect in keys if not effect))


def run_id(cfg: DictConfig) -> str:
    """Ten hexadecimal digits that are the same for equal experiments, alone or in a sweep, on any machine.

    Interpolations of `${paths...}` stay text, so the machine's own folders do not count, and everything else is
    resolved, so a data folder given by hand does.
    """
    config = OmegaConf.to_container(with_paths_as_text(cfg), resolve=True)
    assert isinstance(config, dict)
    return digest({str(key): value for key, value in config.items()})


def with_paths_as_text(cfg: DictConfig) -> DictConfig:
    """A copy in which interpolations of `${paths...}` resolve to their own text."""
    cfg = copy.deepcopy(cfg)
    with open_dict(cfg):
        for key in cfg.paths:
            cfg.paths[key] = f"\\${{paths.{key}}}"  # an escaped interpolation
    return cfg


def digest(config: Config) -> str:
    """The id of a resolved config, whose keys without effect do not count."""
    counted = without_later_keys(fill_groups(config))
    for key in keys_without_effect():
        _leave_out(counted, key.split("."))
    text = json.dumps(counted, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def without_later_keys(config: Config) -> Config:
    """A copy of a config without the keys that came later, where they have the value that held before: old runs keep ids."""
    later = _later_keys(None)
    return {k: _without_later_keys(v) for k, v in config.items() if k not in later or v != later[k]}


def _without_later_keys(node: object) -> object:
    if isinstance(node, list):
        return [_without_later_keys(value) for value in node]
    if not isinstance(node, dict):
        return node
    later = _later_keys(str(node.get("_target_")))
    return {k: _without_later_keys(v) for k, v in node.items() if k not in later or v != later[k]}


@cache
def _later_keys(target: str | None) -> dict[str, object]:
    """The later keys of a class, or of the whole config, with their defaults."""
    schema = TrainConfig if target is None else schema_of(target)
    return {name: known.default for name, known in keys_of(schema).items() if known.later} if schema else {}


def _leave_out(node: Config, words: list[str]) -> None:
    """Take a key out of a mapping whose sections are not to be changed."""
    if len(words) == 1:
        node.pop(words[0], None)
    elif isinstance(node.get(words[0]), dict):
        node[words[0]] = dict(node[words[0]])
        _leave_out(node[words[0]], words[1:])
