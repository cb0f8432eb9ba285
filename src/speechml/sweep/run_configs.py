"""The configs and ids of many runs that differ by a few values, without composing each from its files."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from speechml.config.compose import plain
from speechml.runs.identity import digest, with_paths_as_text
from speechml.sweep.jobs import Job, dump_job

Value = str | int | float | bool | None
Compose = Callable[[list[str]], DictConfig]  # the config of a run by its overrides, with Hydra's own config in it


class ComposedRun(NamedTuple):
    """What a plan knows of a run."""

    experiment: str
    id: str
    runs: str  # folder for runs
    redo: bool  # whether it is trained although it is done

    @property
    def folder(self) -> Path:
        """Of the run."""
        return Path(self.runs) / self.experiment / self.id


class Composer:
    """Composes runs by Hydra where they differ by a choice of files; else values are set in a config that is there.

    Composing takes 0.2 s, setting a value and resolving the config some milliseconds.

    Args:
        compose: Hydra's composition.
        is_group: whether a key names a choice among config files.
    """

    def __init__(self, compose: Compose, is_group: Callable[[str], bool]) -> None:
        self.compose, self.is_group = compose, cache(is_group)
        self.bases: dict[tuple[str, ...], _Base] = {}
        self.parsed: dict[str, Override] = {}
        self.known: _Base | None = None  # whose Hydra config is what `${hydra:...}` means

    @classmethod
    def of_sweep(cls, loader: ConfigLoader, master: DictConfig) -> Composer:
        """By Hydra's config loader and the config that Hydra has composed for the sweep."""
        return cls(
            lambda words: loader.load_sweep_config(master, words), lambda key: bool(loader.get_group_options(key))
        )

    def run(self, overrides: list[str]) -> ComposedRun:
        """What a plan needs to know of a run."""
        return self._set(overrides).run()

    def config(self, overrides: list[str]) -> DictConfig:
        """The config of a run, with `hydra` in it; valid until the next is asked for."""
        cfg = self._set(overrides).cfg
        OmegaConf.set_readonly(cfg.hydra, False)
        cfg.hydra.overrides.task = [word for word in overrides if not word.startswith("hydra")]
        return cfg

    def job(self, overrides: list[str], number: int, label: str) -> Job:
        """A run as something to be computed."""
        return dump_job(self.config(overrides), number, label, self.run(overrides).folder)

    def _set(self, overrides: list[str]) -> _Base:
        """A composed config in which the values of the overrides are set."""
        new = [word for word in overrides if word not in self.parsed]
        self.parsed |= zip(new, OverridesParser.create().parse_overrides(new), strict=True)
        parsed = [self.parsed[word] for word in overrides]
        values = _plain_values(parsed, self.is_group)
        rest = [word for word, o in zip(overrides, parsed, strict=True) if o.key_or_group not in values]
        place = (*rest, *values)  # the same keys are set in all that share a base
        if place not in self.bases:
            self.bases[place] = _Base(self.compose(overrides))
            self.known = None
        base = self.bases[place]
        if base is not self.known:
            self.known = base
            HydraConfig.instance().set_config(base.cfg)
        base.set(values)
        return base


class _Base:
    """A composed config, in which values are set for one run after another."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        HydraConfig.instance().set_config(cfg)
        self.counted = with_paths_as_text(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))

    def set(self, values: dict[str, Value]) -> None:
        for key, value in values.items():
            OmegaConf.update(self.cfg, key, value, force_add=True)
            OmegaConf.update(self.counted, key, value, force_add=True)

    def run(self) -> ComposedRun:
        return ComposedRun(
            str(self.cfg.name),
            digest(plain(self.counted, resolve=True)),
            str(self.cfg.paths.runs),
            self.cfg.redo is True,
        )


def _plain_values(overrides: list[Override], is_group: Callable[[str], bool]) -> dict[str, Value]:
    """Those of the overrides that only set a plain value which nothing else on the line touches, by key."""
    found: dict[str, Value] = {}
    for override in overrides:
        key = override.key_or_group
        others = [o.key_or_group for o in overrides if o is not override]
        is_alone = not any(o == key or o.startswith(f"{key}.") or key.startswith(f"{o}.") for o in others)
        is_special = (
            key.startswith(("paths.", "hydra.")) or is_group(key) or override.package is not None
            or override.is_delete() or override.is_sweep_override()
        )  # fmt: skip
        if is_alone and not is_special:
            value = override.value()
            if isinstance(value, Value) and "${" not in str(value) and value != "???":
                found[key] = value
    return found
