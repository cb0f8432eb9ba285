"""Where the values of a composed config come from: file after file in Hydra's order, then the command line."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import speechml.config.resolvers  # noqa: F401 (registers them)
from speechml.cli.hydra_app import translate_hydra_errors
from speechml.config.compose import conf_dir
from speechml.errors import UserError

COMMAND_LINE = "the command line"
HYDRA = "Hydra's own defaults"
ABSENT = object()  # no such key, or taken away


class Layer(NamedTuple):
    """A file, or an override, that has a part in the config."""

    name: str
    file: Path | None
    package: str  # dotted place of the file's keys
    config: dict[str, Any]  # at that place
    is_default: bool  # whether what it sets is the default: train.yaml, or the file of a choice


class Step(NamedTuple):
    """A value that a key was given, and by what."""

    value: Any
    name: str
    line: int | None
    comment: str  # beside the key
    is_default: bool

    @property
    def where(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


class Composition:
    """A config as an app would have it, and what it was made of.

    Args:
        config_name: train or evaluate.
        overrides: as on the command line.

    Raises:
        UserError: overrides that Hydra does not understand, or that describe several configs.
    """

    def __init__(self, config_name: str, overrides: list[str]) -> None:
        self.config_name = config_name
        with translate_hydra_errors(config_name), initialize_config_dir(conf_dir(), version_base="1.3"):
            for override in OverridesParser.create().parse_overrides(overrides):
                if override.is_sweep_override():
                    raise UserError(f"{override.input_line} describes several configs; give one value")
            self.cfg = compose(config_name, overrides=overrides, return_hydra_config=True)
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            self.loader: Any = hydra.config_loader
            found: Any = self.loader.compute_defaults_list(config_name, overrides, RunMode.RUN)
        self.raw: Any = OmegaConf.to_container(self.cfg, resolve=False)
        self.choices: dict[str, str | None] = dict(self.cfg.hydra.runtime.choices)
        self._choosing = found.overrides.override_metadata
        self._files, self._words = found.defaults, found.config_overrides

    @cached_property
    def layers(self) -> list[Layer]:
        """What has a part in the config, in the order in which it has its say."""
        found = [self._layer(default) for default in self._files]
        for override in self._words:
            value = ABSENT if override.is_delete() else override.value()
            found.append(Layer(COMMAND_LINE, None, "", _nested(override.key_or_group.split("."), value), False))
        return found

    def _layer(self, default: Any) -> Layer:
        name, file = self.file_of(default.config_path)
        content: Any = OmegaConf.to_container(
            self.loader.repository.load_config(default.config_path).config, resolve=False
        )
        package = default.package or ""
        config = _nested(package.split("."), content) if package else content
        whole = bool(default.primary) or bool(package)
        return Layer(name, file, package, config, whole)

    def file_of(self, config_path: str) -> tuple[str, Path | None]:
        """How a config file is called, and the file itself; of what Hydra ships there is none."""
        source = self.loader.repository.load_config(config_path)
        if not source.path.startswith("file://"):
            return HYDRA, None
        folder = Path(source.path.removeprefix("file://"))
        file = folder / f"{config_path}.yaml"
        if folder == Path(conf_dir()):
            return f"conf/{config_path}.yaml", file
        return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file), file

    @property
    def groups(self) -> list[str]:
        """Names of the groups that there is a choice of in this app."""
        return list(self.choices)

    def options(self, group: str) -> list[str]:
        """The choices of a group."""
        return [str(option) for option in self.loader.get_group_options(group)]

    def chosen_by(self, group: str) -> str:
        """What made the choice of a group."""
        made = self._choosing.get(group)
        if made is not None and made.external_override:
            return COMMAND_LINE
        if made is not None and made.containing_config_path:
            return self.file_of(made.containing_config_path)[0]
        return HYDRA if group.startswith("hydra/") else self.file_of(self.config_name)[0]

    @cached_property
    def default_choices(self) -> dict[str, str | None]:
        """The choices of the app's own file."""
        file = self.file_of(self.config_name)[1]
        lines = yaml.safe_load(file.read_text())["defaults"] if file else []
        return {group: choice for line in lines if isinstance(line, dict) for group, choice in line.items()}

    def group_of(self, key: str) -> str:
        """The group that a key belongs to, as hydra/launcher for hydra.launcher.partition; empty for none."""
        words = key.split(".")
        names = ("/".join(words[:2]), words[0])
        return next((name for name in names if name in self.choices), "")

    def has(self, key: str) -> bool:
        return pick(self.raw, key.split(".")) is not ABSENT

    def value(self, key: str) -> Any:
        """The value, with what it is taken from put in its place as far as that is there; ABSENT for no such key."""
        found = pick(self.raw, key.split("."))
        if "${" not in str(found):
            return found
        HydraConfig.instance().set_config(self.cfg)  # what `${hydra:...}` means
        try:
            node = OmegaConf.select(self.cfg, key, throw_on_resolution_failure=True)
            return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        except OmegaConfBaseException:
            return found

    def steps(self, key: str) -> list[Step]:
        """Who gave the key a value, in order; the last has the last word."""
        words, found = key.split("."), list[Step]()
        for layer in self.layers:
            value = pick(layer.config, words)
            if value is ABSENT:
                continue
            inside = words[len(layer.package.split(".")) :] if layer.package else words
            line, comment = place_in(layer.file, inside) if layer.file else (None, "")
            found.append(Step(value, layer.name, line, comment, layer.is_default))
        return found

    def classes(self, key: str) -> list[str]:
        """Names of the classes that the sections around a key build, the nearest first, without their packages."""
        words, found = key.split("."), []
        for end in range(len(words), 0, -1):
            name = pick(self.raw, [*words[:end], "_target_"])
            found += [name.rpartition(".")[2]] if isinstance(name, str) else []
        return found

    def of_option(self, group: str, option: str) -> dict[str, Any]:
        """What an option's file and those that it builds on set, at their place in the config."""
        source = self.loader.repository.load_config(f"{group}/{option}")
        found: dict[str, Any] = {}
        for default in source.defaults_list or []:
            name = getattr(default, "path", None)
            if isinstance(name, str) and name != "_self_":
                found = _merged(found, self.of_option(group, name))
        content: Any = OmegaConf.to_container(source.config, resolve=False)
        is_global = "_global_" in ((source.header or {}).get("package") or "")
        own = content if is_global else _nested(group.split("/"), content)
        return _merged(found, own)


def pick(node: Any, words: list[str]) -> Any:
    """The value at a dotted place; the keys of a mapping may have dots themselves. ABSENT where there is none."""
    if not words:
        return node
    if isinstance(node, dict):
        for end in range(1, len(words) + 1):
            name = ".".join(words[:end])
            if name in node:
                found = pick(node[name], words[end:])
                if found is not ABSENT:
                    return found
    if isinstance(node, list) and words[0].isdigit() and int(words[0]) < len(node):
        return pick(node[int(words[0])], words[1:])
    return ABSENT


def _nested(words: list[str], value: Any) -> dict[str, Any]:
    for word in reversed(words):
        value = {word: value}
    return dict(value)


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    found = dict(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = _merged(found[key], value) if both else value
    return found


def place_in(file: Path, words: list[str]) -> tuple[int | None, str]:
    """Line of a key in a YAML file, and the comment beside it."""
    text = file.read_text()
    node, line, end = yaml.compose(text, Loader=yaml.SafeLoader), None, None
    while words and isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value).split(".")
            if name == words[: len(name)]:
                node, line, words = value, key.start_mark.line, words[len(name) :]
                block = isinstance(value, yaml.CollectionNode) and not value.flow_style
                end = key.end_mark if block else value.end_mark
                break
        else:
            return None, ""
    if words or line is None or end is None:
        return None, ""
    rest = text.splitlines()[end.line][end.column :]
    comment = re.search(r"^[:,\s}\]]*#\s*(.*\S)", rest)
    return line + 1, comment[1] if comment else ""


def heading(file: Path | None) -> str:
    """The first comment of a config file: what it is, in a sentence."""
    for line in file.read_text().splitlines() if file else []:
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            return line.lstrip("# ").strip()
    return ""
