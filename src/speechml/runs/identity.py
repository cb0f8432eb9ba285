"""The name of a run: a hash of everything in its config that can change the result, and of nothing else."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

# Keys that cannot change a number: where things lie, what is shown, what is said of others' results.
WITHOUT_EFFECT = (
    "hydra", "name", "paths", "logger", "redo", "find_lr", "objective", "published", "report",
    "callbacks.progress", "callbacks.listening",
    "callbacks.figures", "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.log_every_n_steps",
    "trainer.profiler", "data.download", "checkpoint.every_n_steps", "checkpoint.every_s",
)  # fmt: skip
# Keys that what a `_target_` names has got since, each with what held before there was a choice: runs of then keep their ids.
LATER: dict[str, dict[str, Any]] = {"speechml.data.SpokenWords": {"split": "official"}}


def run_id(cfg: DictConfig) -> str:
    """Ten hexadecimal digits that are the same for equal experiments, alone or in a sweep, on any machine.

    Interpolations of `${paths...}` stay text, so the machine's own folders do not count, and everything else is
    resolved, so a data folder given by hand does.
    """
    return digest(OmegaConf.to_container(with_paths_as_text(cfg), resolve=True))


def with_paths_as_text(cfg: DictConfig) -> DictConfig:
    """A copy in which interpolations of `${paths...}` resolve to their own text."""
    cfg = copy.deepcopy(cfg)
    with open_dict(cfg):
        for key in cfg.paths:
            cfg.paths[key] = f"\\${{paths.{key}}}"  # an escaped interpolation
    return cfg


def digest(config: Any) -> str:
    """The id of a resolved config, whose keys without effect do not count."""
    counted = without_later_keys(config)
    for key in WITHOUT_EFFECT:
        _leave_out(counted, key.split("."))
    text = json.dumps(counted, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def without_later_keys(node: Any) -> Any:
    """A copy of a config without the keys of LATER that have the value which held before."""
    if isinstance(node, list):
        return [without_later_keys(value) for value in node]
    if not isinstance(node, dict):
        return node
    later = LATER.get(str(node.get("_target_")), {})
    return {k: without_later_keys(v) for k, v in node.items() if k not in later or v != later[k]}


def _leave_out(node: dict[str, Any], words: list[str]) -> None:
    """Take a key out of a mapping whose sections are not to be changed."""
    if len(words) == 1:
        node.pop(words[0], None)
    elif isinstance(node.get(words[0]), dict):
        node[words[0]] = dict(node[words[0]])
        _leave_out(node[words[0]], words[1:])
