"""What is used of Hydra beyond its documented interface; each name has a test that says what to do when it is gone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from speechml.config.compose import plain
from speechml.contracts import Config

ABSENT: object = object()  # no such key, or taken away
MUST_BE_GIVEN = "???"  # OmegaConf's mark of a value that must be given


@dataclass(frozen=True)
class Source:
    """A file, or an override, that has a part in a config.

    Attributes:
        name: as conf/optimizer/sgd.yaml.
        config: what it sets, at its place in the whole.
        is_default: whether what it sets is the default: train.yaml, or the file of a choice.
    """

    name: str
    config: Config
    is_default: bool


@dataclass(frozen=True)
class Composition:
    """A config as an app gets it, and what it was made of."""

    cfg: DictConfig
    loader: ConfigLoader
    folder: str
    config_name: str
    words: list[str]

    @cached_property
    def sources(self) -> list[Source]:
        """What has a part in the config, in the order in which it has its say."""
        defaults = self.loader.compute_defaults_list(self.config_name, self.words, RunMode.RUN)
        sources = []
        for default in defaults.defaults:
            content = nest(default.package or "", plain(self._load(default.config_path).config))
            is_default = bool(default.primary or default.package)
            sources.append(Source(self._name(default.config_path), content, is_default))
        for override in defaults.overrides.config_overrides:
            value = ABSENT if override.is_delete() else override.value()
            sources.append(Source("the command line", nest(override.key_or_group, value), False))
        return sources

    @cached_property
    def raw(self) -> Config:
        """The plain config, interpolations as they are written."""
        return plain(self.cfg)

    @cached_property
    def choices(self) -> dict[str, str | None]:
        """What was chosen of each group."""
        return dict(self.cfg.hydra.runtime.choices)

    def value(self, key: str) -> object:
        """The value of a key, interpolations resolved as far as they can be; ABSENT for no such key."""
        HydraConfig.instance().set_config(self.cfg)  # what `${hydra:...}` means
        try:
            value = OmegaConf.select(self.cfg, key, default=pick(self.raw, key), throw_on_missing=True)
            return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException:
            return MUST_BE_GIVEN

    def options(self, group: str) -> list[str]:
        """The choices of a group."""
        return [str(option) for option in self.loader.get_group_options(group)]

    def content(self, group: str, option: str) -> Config:
        """What the file of a choice sets, at its place in the config."""
        return nest(group.replace("/", "."), plain(self._load(f"{group}/{option}").config))

    def file_of(self, config_path: str) -> Path | None:
        """A config file, as optimizer/sgd; None of what Hydra or a plugin ships."""
        file = Path(self._load(config_path).path.removeprefix("file://")) / f"{config_path}.yaml"
        return file if file.is_file() else None

    def _load(self, config_path: str) -> ConfigResult:
        result: ConfigResult = self.loader.repository.load_config(config_path)  # type: ignore[attr-defined] # ConfigLoaderImpl
        return result

    def _name(self, config_path: str) -> str:
        file = self.file_of(config_path)
        if file is None:
            return "Hydra's own defaults"
        if file.is_relative_to(self.folder):
            return f"conf/{file.relative_to(self.folder)}"
        return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)


def find_sweep(words: Iterable[str]) -> str:
    """The first override that describes several runs, or nothing."""
    overrides = OverridesParser.create().parse_overrides([word for word in words if not word.startswith("-")])
    return next((str(override.input_line) for override in overrides if override.is_sweep_override()), "")


def compose_with_sources(folder: str, config_name: str, words: list[str]) -> Composition:
    """The config of an app, with `hydra` in it. Needs no Hydra app, and leaves one that runs alone."""
    with initialize_config_dir(folder, version_base="1.3"):
        cfg = compose(config_name, overrides=words, return_hydra_config=True)
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        return Composition(cfg, hydra.config_loader, folder, config_name, words)


def pick(node: object, key: str) -> object:
    """The value at a dotted place; the keys of a mapping may have dots themselves. ABSENT where there is none."""
    if not isinstance(node, dict):
        return ABSENT
    if key in node:
        return node[key]
    inner = (pick(value, key.removeprefix(f"{name}.")) for name, value in node.items() if key.startswith(f"{name}."))
    return next((value for value in inner if value is not ABSENT), ABSENT)


def nest(place: str, value: object) -> Config:
    """A mapping that has a value at a dotted place."""
    for word in reversed(place.split(".") if place else []):
        value = {word: value}
    assert isinstance(value, dict)
    return value


def override_text(value: object) -> str:
    """A value as it would stand on the command line, quoted where it must be. Without it: write the quoting here."""
    return Override._get_value_element_as_str(value)  # type: ignore[arg-type] # of any kind that its grammar knows
