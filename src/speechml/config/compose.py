"""From files and overrides to a composed config, and from that to plain values."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationResolutionError, OmegaConfBaseException

import speechml.config.resolvers  # noqa: F401 (registers them)
from speechml.config.hydra_compat import compose_config, find_sweep
from speechml.config.schema import did_you_mean, empty_none, keys_of
from speechml.config.third_party import Trainer
from speechml.contracts import Config
from speechml.errors import UserError

WITH_NONE = ("callbacks", "logger", "metrics", "scheduler")  # groups with a file `none`
WHOLE = ("experiment", "debug", "hparams_search")  # groups whose files set keys of any section
NEEDED = ("data", "model", "optimizer", "trainer", "checkpoint", "paths", "hydra")


def conf_dir() -> str:
    """The folder `conf/` of the checkout this module runs from, else the copy inside the wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    if package.parent.name == "src" and (checkout / "conf" / "train.yaml").is_file():
        return str(checkout / "conf")
    return str(package / "conf")


def compose_app(config_name: str, overrides: list[str]) -> DictConfig:
    """The config of an app with some overrides, as the app gets it.

    Raises:
        UserError: an override that Hydra does not understand, or that describes several configs.
    """
    words = adapt_overrides(overrides, config_name)
    with as_command(words), translate_hydra_errors(words):
        if several := find_sweep(words):
            raise UserError(f"{several} describes several configs", fix="give one value")
        cfg = compose_config(conf_dir(), config_name, words)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


@contextmanager
def as_command(words: list[str]) -> Iterator[None]:
    """Inside, the command line is as if an app had been given these words: sweeps are named by it."""
    before, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        yield
    finally:
        sys.argv = before


def adapt_overrides(words: Iterable[str], config_name: str = "train") -> list[str]:
    """Overrides as Hydra takes them: `GROUP=null` for none of it, keys of the Trainer that no file sets, further metrics.

    Raises:
        UserError: null for a group without which there is nothing to do.
    """
    return [_adapt(word, config_name) for word in words]


def _adapt(word: str, config_name: str) -> str:
    key, _, value = word.partition("=")
    further = key.startswith("trainer.") and key.removeprefix("trainer.") in _further_trainer_keys()
    if further or (key == "metrics" and value.startswith("{")):
        return f"++{word}"
    values = value.split(",")
    if key in WITH_NONE and "null" in values:
        return f"{key}={','.join('none' if one == 'null' else one for one in values)}"
    if value == "null" and (key in WHOLE or (key, config_name) == ("data", "evaluate")):
        return f"~{key}"
    if key in NEEDED and "null" in values:
        raise UserError(f"{word} leaves nothing to compute with", fix=f"choose {key}=NAME (see --help)")
    return word


@cache
def _further_trainer_keys() -> set[str]:
    """What Lightning's Trainer takes and conf/trainer/cpu.yaml, on which the others build, does not set."""
    text = (Path(conf_dir()) / "trainer" / "cpu.yaml").read_text()
    return {*keys_of(Trainer), *Trainer.FURTHER} - set(re.findall(r"^(\w+):", text, re.MULTILINE))


@contextmanager
def translate_hydra_errors(words: Sequence[str] = ()) -> Iterator[None]:
    """Inside, what Hydra refuses of a config that is made with some overrides becomes one sentence.

    Raises:
        UserError: that sentence.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(hydra_sentence(error, words)) from error


def hydra_sentence(error: Exception, words: Sequence[str]) -> str:
    """What Hydra refuses of a config, with the nearest valid key where it speaks of an unknown one."""
    if isinstance(error, OverrideParseException):
        sweeps = "sweeps key=choice(a, b), key=range(1, 4) or key=interval(0, 1)"
        return f"{error.override!r} is not understood; overrides are written key=value, {sweeps} (see --help)"
    if isinstance(error, MissingConfigException) and error.options:
        name = str(error.missing_cfg_file)
        near = did_you_mean(name.rpartition("/")[2], error.options)
        return f"there is no {name}{near} (there are: {', '.join(error.options)})"
    if isinstance(error.__cause__, (ConfigAttributeError, ConfigKeyError)) and error.__cause__.full_key:
        return _unknown_key(str(error.__cause__.full_key), error.__cause__.parent_node)
    if isinstance(error, HydraException) and not {"-m", "--multirun"} & set(words) and (several := find_sweep(words)):
        return f"{several} describes several runs; add -m, or write a list as key=[a,b]"
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line and not line.startswith(("full_key", "object_type")))


def _unknown_key(name: str, section: object) -> str:
    """What to say of a key that a section does not have; other choices of its group may."""
    group, _, rest = name.partition(".")
    files = sorted((Path(conf_dir()) / group).glob("*.yaml"))
    having = [
        f"{group}={file.stem}" for file in files if rest in set(OmegaConf.load(file))
    ]  # `in` alone passes over ???
    if rest and having:
        return f"there is no key {name} in this {group}; it belongs to {' or '.join(having)}"
    names = map(str, section) if isinstance(section, DictConfig) else ()
    known = [f"{name.removesuffix(name.rpartition('.')[2])}{key}" for key in names]
    return f"there is no key {name}{did_you_mean(name, known if rest else [*known, *WHOLE])}"


def resolve_config(cfg: DictConfig) -> Config:
    """The composed config as plain containers, every interpolation resolved.

    Raises:
        UserError: a mandatory value (`???`) is missing, or a key that another is taken from; the message names it.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            raise UserError(f"{missing[0]} must be given", fix=f"add {missing[0]}=VALUE to the command")
        config = OmegaConf.to_container(cfg, resolve=True)
    except InterpolationResolutionError as error:
        raise _unresolved(str(error.full_key), cfg) from error
    assert isinstance(config, dict)
    return empty_none({str(key): value for key, value in config.items()})


def _unresolved(name: str, cfg: DictConfig) -> UserError:
    """What to say of a value that is taken from another key which is not there."""
    text = str(flatten(OmegaConf.to_container(cfg, resolve=False)).get(name, ""))
    for wanted in re.findall(r"\$\{([a-z]\w*(?:\.\w+)*)\}", text):
        group = wanted.partition(".")[0]
        if group not in cfg:
            return UserError(f"there is no {group}, from which {name} is taken", fix=f"choose {group}=NAME")
        if OmegaConf.select(cfg, wanted) is None:
            what = f"{name} is taken from {wanted}, which this {group} does not have"
            return UserError(what, fix=f"choose {group}=... of another kind")
    return UserError(f"{name} must be given", why=f"it is taken from {text}", fix=f"add {name}=VALUE to the command")


def dotted_keys(node: object, prefix: str = "") -> Iterator[str]:
    """The dotted names of all keys in a plain config, sections before what they hold."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from dotted_keys(value, f"{prefix}{key}.")


def flatten(node: object, prefix: str = "") -> Config:
    """A nested mapping as one level of dotted keys."""
    found: Config = {}
    for key, value in node.items() if isinstance(node, dict) else ():
        found |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
