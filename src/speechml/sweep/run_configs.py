"""The configs and ids of many runs that differ by a few values, without composing each from its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from speechml.config.compose import plain, resolve_config
from speechml.config.train_config import check_config
from speechml.errors import UserError
from speechml.runs.identity import digest, with_paths_as_text
from speechml.sweep.jobs import Job, dump_job

Value = str | int | float | bool | None
Compose = Callable[[list[str]], DictConfig]  # the config of a run by its overrides, with Hydra's own config in it


class ComposedRun(NamedTuple):
    """What a plan knows of a run."""

    experiment: str
    id: str
    folder: Path
    redo: bool  # whether it is trained although it is done
    engine: str


class Composer:
    """Composes runs by Hydra where they differ by a choice of files; else values are set in a config that is there.

    Composing takes 0.2 s, setting a value and resolving the config some milliseconds.

    Args:
        compose: Hydra's composition.
        is_group: whether a key names a choice among config files.
        fuses: whether runs that can be trained together with others are to be: `engine` is set in their configs.
    """

    def __init__(self, compose: Compose, is_group: Callable[[str], bool], fuses: bool = False) -> None:
        self.compose, self.is_group, self.fuses = compose, cache(is_group), fuses
        self.planned: dict[tuple[str, ...], ComposedRun] = {}
        self.hindrances: Counter[str] = Counter()  # why runs are trained by themselves, and how many
        self.bases: dict[tuple[str, ...], _Base] = {}
        self.parsed: dict[str, Override] = {}
        self.words: list[str] = []  # whose values are set in `current`
        self.current: _Base | None = None  # whose Hydra config is what `${hydra:...}` means

    def run(self, overrides: list[str], is_checked: bool = False) -> ComposedRun:
        """What a plan needs to know of a run.

        Args:
            overrides: of the run.
            is_checked: whether its config is looked at as well, key by key.

        Raises:
            UserError: a config that is checked and wrong, one that trains nothing, or no folder for runs.
        """
        base = self._set(overrides)
        if base.cfg.get("find_lr"):
            raise UserError("find_lr=true trains nothing, so there is nothing to sweep", fix="leave out -m")
        name, runs = str(base.cfg.name), base.cfg.paths.runs
        if not runs:
            raise UserError("paths.runs is empty; it must be a folder")
        config = check_config(resolve_config(base.counted)) if is_checked else plain(base.counted, resolve=True)
        if self.fuses and not any(word.startswith("engine=") for word in overrides):
            from speechml.fused.hindrances import hindrance

            why = hindrance(config)
            self.hindrances.update([why] * bool(why) * (tuple(overrides) not in self.planned))
            config["engine"] = "lightning" if why else "fused"
        identity = digest(config, str(base.cfg.paths.cache))
        run = ComposedRun(
            name, identity, Path(str(runs)) / name / identity, base.cfg.redo is True, str(config["engine"])
        )
        self.planned[tuple(overrides)] = run
        return run

    def config(self, overrides: list[str]) -> DictConfig:
        """The config of a run, with `hydra` in it; valid until the next is asked for."""
        cfg = self._set(overrides).cfg
        OmegaConf.set_readonly(cfg.hydra, False)
        words = [word for word in overrides if not word.startswith("hydra")]
        if self.fuses and not any(word.startswith("engine=") for word in words):
            cfg.engine = (self.planned.get(tuple(overrides)) or self.run(overrides)).engine
            words += ["engine=fused"] * (cfg.engine == "fused")
        cfg.hydra.overrides.task = words
        return cfg

    def job(self, overrides: list[str], number: int, label: str) -> Job:
        """A run as something to be computed."""
        run = self.planned.get(tuple(overrides)) or self.run(overrides)
        cfg = self.config(overrides)
        own = self._set(overrides).own
        if self.fuses:
            own.engine = cfg.engine
        return dump_job(cfg, number, label, run.folder, plain(own))

    def _set(self, overrides: list[str]) -> _Base:
        """A composed config in which the values of the overrides are set."""
        if self.current and self.words == overrides:
            return self.current
        new = [word for word in overrides if word not in self.parsed]
        self.parsed |= zip(new, OverridesParser.create().parse_overrides(new), strict=True)
        parsed = [self.parsed[word] for word in overrides]
        values = _plain_values(parsed, self.is_group)
        rest = [word for word, o in zip(overrides, parsed, strict=True) if o.key_or_group not in values]
        place = (*rest, *values)  # the same keys are set in all that share a base
        if place not in self.bases:
            cfg = self.compose(overrides)
            HydraConfig.instance().set_config(cfg)
            own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
            self.bases[place] = self.current = _Base(cfg, own, with_paths_as_text(own))
        base = self.bases[place]
        if base is not self.current:
            self.current = base
            HydraConfig.instance().set_config(base.cfg)
        for key, value in values.items():
            for config in base:
                OmegaConf.update(config, key, value, force_add=True)
        self.words = list(overrides)
        return base


class _Base(NamedTuple):
    """A composed config, in which values are set for one run after another."""

    cfg: DictConfig  # with Hydra's
    own: DictConfig  # without
    counted: DictConfig  # what the id is made of


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


def last_words(
    params: Mapping[str, object] | None, arguments: Sequence[str], loader: ConfigLoader | None = None
) -> dict[str, Override]:
    """The overrides of a sweeper's `params` and of a command line by their keys: the last word on each key counts.

    Hydra's loader knows the config files that `glob` means.
    """
    words = [f"{key}={'null' if text is None else text}" for key, text in (params or {}).items()]
    found: dict[str, Override] = {}
    for override in OverridesParser.create(loader).parse_overrides([*words, *arguments]):
        key = override.get_key_element().lstrip("+~")
        found.pop(key, None)  # its place is where it is said last
        found[key] = override
    return found
