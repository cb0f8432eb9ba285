"""The configs and ids of many runs that differ by a few values, without composing each from its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from speechml.runs.identity import digest, with_paths_as_text

PLAIN = (str, int, float, bool, type(None))
Compose = Callable[[list[str]], DictConfig]  # the config of a run by its overrides, with Hydra's own config in it


class Found(NamedTuple):
    """What a plan knows of a run."""

    experiment: str
    id: str
    runs: str  # folder for runs
    epochs: int  # at most
    redo: bool  # whether it is trained although it is done


class Composed:
    """The ids and configs of runs: composed by Hydra where they differ by a choice of files, else changed in place.

    Composing takes a tenth of a second, setting a value some microseconds.

    Args:
        compose: Hydra's composition.
        is_group: whether a key names a choice among config files.
    """

    def __init__(self, compose: Compose, is_group: Callable[[str], bool]) -> None:
        self.compose, self.is_group = compose, cache(is_group)
        self.bases: dict[tuple[str, ...], _Base] = {}
        self.parsed: dict[str, Override] = {}
        self.chosen: _Base | None = None

    @classmethod
    def by(cls, loader: Any, master: DictConfig) -> Composed:
        """Those of a sweep, by Hydra's config loader and the config that Hydra has composed for the sweep."""
        return cls(
            lambda words: loader.load_sweep_config(master, words), lambda key: bool(loader.get_group_options(key))
        )

    def of(self, overrides: list[str]) -> Found:
        """What a plan needs to know of a run."""
        base, values = self._base(overrides)
        identity = base.id_with(values)
        return Found(base.experiment, identity, base.runs, base.epochs, base.resolved.get("redo") is True)

    def config(self, overrides: list[str]) -> DictConfig:
        """The config of a run, with `hydra` in it; valid until the next is asked for."""
        base, values = self._base(overrides)
        return base.config_with(values, overrides)

    def _base(self, overrides: list[str]) -> tuple[_Base, dict[str, Any]]:
        new = [word for word in overrides if word not in self.parsed]
        self.parsed |= zip(new, OverridesParser.create().parse_overrides(new), strict=True)
        given = [self.parsed[word] for word in overrides]
        values = _values(given, self.is_group)
        rest = [word for word, o in zip(overrides, given, strict=True) if o.key_or_group not in values]
        place = (*rest, *values)
        if place not in self.bases or self.bases[place].own_place:
            self.bases[place] = _Base(self.compose(overrides))
            self.chosen = None
        if self.bases[place] is not self.chosen:  # what `${hydra:...}` means
            self.chosen = self.bases[place]
            HydraConfig.instance().set_config(self.chosen.cfg)
        return self.bases[place], values


def _values(given: list[Override], is_group: Callable[[str], bool]) -> dict[str, Any]:
    """Those of the overrides that only set a plain value which nothing else on the line touches, by key."""
    found: dict[str, Any] = {}
    for override in given:
        key, value = override.key_or_group, _plain(override)
        others = [o.key_or_group for o in given if o is not override]
        alone = not any(o == key or o.startswith(f"{key}.") or key.startswith(f"{o}.") for o in others)
        placing = key == "name" or key.startswith("paths.")  # they say where a run is
        special = placing or is_group(key) or override.package is not None or override.is_delete()
        if alone and not special and value is not ...:
            found[key] = value
    return found


def _plain(override: Override) -> Any:
    """The value of an override, or `...` where it is none that can be set as it is."""
    value = override.value() if not override.is_sweep_override() else ...
    return value if isinstance(value, PLAIN) and "${" not in str(value) and value != "???" else ...


class _Base:
    """A composed config, and what is needed to know the id of others that differ from it by values."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        HydraConfig.instance().set_config(cfg)
        self.task = with_paths_as_text(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
        self.interpolated = dict(_interpolated(OmegaConf.to_container(self.task, resolve=False)))
        self.dependent: list[str] | None = None  # those that the values have a part in: the same for every run
        self.resolved: Any = OmegaConf.to_container(self.task, resolve=True)
        self.experiment, self.runs = str(cfg.name), str(cfg.paths.runs)
        texts = OmegaConf.to_container(OmegaConf.masked_copy(cfg, ["name", "paths"]))
        # Whether where the run is depends on other keys, as in name=lab_${seed}.
        self.own_place = "${" in re.sub(r"\$\{(hydra|oc\.env):[^{}]*\}", "", str(texts))

    @property
    def epochs(self) -> int:
        """Of the run whose id was asked for last."""
        given = (self.resolved.get("trainer") or {}).get("max_epochs")
        return given if isinstance(given, int) else -1

    def id_with(self, values: dict[str, Any]) -> str:
        for key, value in values.items():
            if not key.startswith(("hydra.", "paths.")):  # which have no part in it
                OmegaConf.update(self.task, key, value, force_add=True)
                _set(self.resolved, key.split("."), value)
        if self.dependent is None:
            self.dependent = _dependent(self.interpolated, list(values))
        for path in self.dependent:
            found = OmegaConf.select(self.task, path)
            value = OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
            _set(self.resolved, path.split("."), value)
        return digest(self.resolved)

    def config_with(self, values: dict[str, Any], overrides: list[str]) -> DictConfig:
        OmegaConf.set_readonly(self.cfg.hydra, False)
        for key, value in values.items():
            OmegaConf.update(self.cfg, key, value, force_add=True)
        self.cfg.hydra.overrides.task = [word for word in overrides if not word.startswith("hydra")]
        return self.cfg


def _interpolated(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and texts of the values that are taken from others."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, (dict, list)):
            yield from _interpolated(value, f"{prefix}{key}.")
        elif isinstance(value, str) and "${" in value:
            yield f"{prefix}{key}", value


def _dependent(interpolated: dict[str, str], keys: list[str]) -> list[str]:
    """Those whose text has a word of a key in it, or of another such: rather too many than too few."""
    found: list[str] = []
    changed = list(keys)
    while changed:
        words = {word for key in changed for word in key.split(".")}
        changed = [
            path for path, text in interpolated.items()
            if path not in found and (any(word in text for word in words) or "${." in text)
        ]  # fmt: skip
        found += changed
    return found


def _set(node: Any, words: list[str], value: Any) -> None:
    for word in words[:-1]:
        node = node[int(word)] if isinstance(node, list) else node[word]
    if isinstance(node, list):
        node[int(words[-1])] = value
    else:
        node[words[-1]] = value
