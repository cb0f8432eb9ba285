"""What of a config makes a run this one and no other: its id, a hash of all that can change the result, and its settings."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from omegaconf import DictConfig, open_dict

from speechml.config.compose import mask_secrets, plain
from speechml.config.schema import Schema, data_keys, keys_of, schema_of, walk
from speechml.config.third_party import Trainer, interval_of
from speechml.config.train_config import TrainConfig, fill_groups, with_modes
from speechml.contracts import Config

LIMITS = frozenset({"limit_train_batches", "overfit_batches", "accumulate_grad_batches"})  # what shortens an epoch


def run_id(cfg: DictConfig) -> str:
    """Ten hexadecimal digits that are the same for equal experiments, alone or in a sweep, on any machine.

    Interpolations of `${paths...}` stay text, so the machine's own folders do not count, and everything else is
    resolved, so a data folder given by hand does.
    """
    return digest(plain(with_paths_as_text(cfg), resolve=True), str(cfg.paths.cache))


def with_paths_as_text(cfg: DictConfig) -> DictConfig:
    """A copy in which interpolations of `${paths...}` resolve to their own text."""
    cfg = copy.deepcopy(cfg)
    with open_dict(cfg):
        if cfg.get("init") and cfg.init.get("from"):
            cfg.init["from"] = str(cfg.init["from"])  # which is read, so that its weights count
        for key in cfg.paths:
            cfg.paths[key] = f"\\${{paths.{key}}}"  # an escaped interpolation
    return cfg


def digest(config: Config, cache: str = "") -> str:
    """The id of a resolved config, whose keys without effect do not count, and of `init.from` the weights.

    In the folder `cache` their checksum is remembered, for runs that go on. Raises UserError where there are none.
    """
    counted = with_modes(without_later_keys(fill_groups(config)))
    init = counted.pop("init", None) or {}
    if init.get("from"):
        # By its name: reading weights takes torch, and whoever computes an id, a sweep's plan as well, must read the same.
        checksum = import_module("speechml.engine.parent").weights_checksum(init["from"], cache)
        counted["init"] = {name: value for name, value in init.items() if value} | {"from": checksum}
    trainer, callbacks = counted.get("trainer"), (counted.get("callbacks") or {}).values()
    scheduled = any(str(node.get("_target_")).endswith(".GradientAccumulationScheduler") for node in callbacks if node)
    if isinstance(trainer, dict) and trainer.get("max_steps", -1) != -1 and (scheduled or LIMITS & trainer.keys()):
        counted["budget"] = "limited"  # such runs were longer or shorter before: theirs is another id
    if (schedule := counted.get("scheduler")) and isinstance(schedule, dict):  # once all moved on at every step
        moves = {"interval": "epoch"} if interval_of(schedule) == "epoch" else {}
        counted["scheduler"] = {name: value for name, value in schedule.items() if name != "interval"} | moves
    for key in keys_without_effect(config):
        _leave_out(counted, key.split("."))
    if (recipe := _recipe(config)) > 1:
        counted["recipe"] = recipe
    text = json.dumps(counted, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _recipe(config: Config) -> int:
    """Which of the recordings that a data module has made under equal keys are meant."""
    schema = schema_of(_data_class(config))
    return schema.recipe(config["data"]) if schema else 1


def _leave_out(node: Config, words: list[str]) -> None:
    """Take a key out of a mapping whose sections are not to be changed."""
    if len(words) == 1:
        node.pop(words[0], None)
    elif isinstance(node.get(words[0]), dict):
        node[words[0]] = dict(node[words[0]])
        _leave_out(node[words[0]], words[1:])


def keys_without_effect(config: Config) -> tuple[str, ...]:
    """Dotted keys that cannot change a number: where things lie, what is shown, what is said of others' results."""
    return _keys_without_effect(_data_class(config))


@cache
def _keys_without_effect(data_class: str) -> tuple[str, ...]:
    sections = [
        ("", walk(TrainConfig)),
        ("trainer.", keys_of(Trainer).items()),
        ("data.", data_keys(data_class).items() if schema_of(data_class) else ()),  # of others none is known
    ]
    return ("hydra", *(prefix + name for prefix, keys in sections for name, known in keys if not known.effect))


def _data_class(config: Config) -> str:
    data = config.get("data")
    return str(data.get("_target_")) if isinstance(data, dict) else ""


def without_later_keys(config: Config) -> Config:
    """A copy of a config without the keys that came later, where they have the value that held before: old runs keep ids."""
    later = {name: one.default for name, one in keys_of(TrainConfig).items() if one.later}
    return {k: _without_later_keys(v) for k, v in config.items() if k not in later or v != later[k]}


def _without_later_keys(node: object, section: type[Schema] | None = None) -> object:
    """The same of a part of a config; `section` is the schema of one that names no class."""
    if isinstance(node, list):
        return [_without_later_keys(value) for value in node]
    if not isinstance(node, dict):
        return node
    schema = schema_of(str(node["_target_"])) if "_target_" in node else section
    known = keys_of(schema) if schema else {}
    later = {name: one.default for name, one in known.items() if one.later}
    return {k: _without_later_keys(v, known[k].section if k in known else None) for k, v in node.items()
            if k not in later or v != later[k]}  # fmt: skip


def run_settings(config: Config, overrides: Sequence[str]) -> Config:
    """What TensorBoard is told of a run by itself: what its command set, and what every run has."""
    texts = {"optimizer.lr": None, **overridden_keys(config, overrides), "seed": None}
    values = {key: setting_value(config, key, text) for key, text in texts.items()}
    shown = {key: value for key, value in values.items() if mask_secrets(f"{key}={value}") == f"{key}={value}"}
    return {"experiment": config["name"], **{key: value for key, value in shown.items() if value is not None}}


def overridden_keys(config: Config, overrides: Sequence[str]) -> dict[str, str]:
    """The keys that a command set and that may change a number, with their text; choices of a group among them."""
    without_effect = tuple(f"{name}." for name in (*keys_without_effect(config), "experiment"))
    words = (word.lstrip("+").partition("=") for word in overrides)
    return {key: text for key, equals, text in words
            if equals and "@" not in key and not f"{key}.".startswith(without_effect)}  # fmt: skip


def setting_value(config: Config, key: str, text: str | None) -> bool | float | str | None:
    """What a key has come to in a config: a number, a truth value or text; of a group, what was chosen (`text`)."""
    node: object = config
    for word in key.split("."):
        node = node.get(word) if isinstance(node, dict) else None
    if node is None or isinstance(node, dict):
        return text
    known = data_keys(_data_class(config)).get(key.removeprefix("data."))
    if key == "init.from" or (known and known.is_path):
        return Path(str(node)).name
    return node if isinstance(node, (bool, int, float, str)) else str(node).replace(" ", "")
