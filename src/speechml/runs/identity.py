"""The name of a run: a hash of everything in its config that can change the result, and of nothing else."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

# Keys that cannot change a number: where things lie, what is shown, what is said of others' results.
WITHOUT_EFFECT = (
    "hydra", "name", "paths", "logger", "redo", "find_lr", "objective", "published", "callbacks.progress", "callbacks.listening",
    "callbacks.figures", "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.log_every_n_steps",
    "trainer.profiler", "data.download", "checkpoint.every_n_steps", "checkpoint.every_s",
)  # fmt: skip


def run_id(cfg: DictConfig) -> str:
    """Ten hexadecimal digits that are the same for equal experiments, alone or in a sweep, on any machine.

    Interpolations of `${paths...}` stay text, so the machine's own folders do not count, and everything else is
    resolved, so a data folder given by hand does.
    """
    cfg = copy.deepcopy(cfg)
    with open_dict(cfg):
        for key in cfg.paths:
            cfg.paths[key] = f"\\${{paths.{key}}}"  # an escaped interpolation resolves to its own text
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in WITHOUT_EFFECT:
        *sections, last = key.split(".")
        node = config
        for section in sections:
            node = node.get(section) or {}
        node.pop(last, None)
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
