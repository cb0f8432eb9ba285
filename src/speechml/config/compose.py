"""Where the configs lie, what a composed config may contain, and what is frozen of it into a run."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from speechml.errors import UserError

# Sections that the code reads itself and what it reads of each; a section with `_target_` is checked against the
# signature of what it names instead.
READ: dict[str, set[str]] = {
    "": {
        "name", "seed", "threads", "redo", "test", "find_lr", "objective", "data", "model", "optimizer", "scheduler",
        "trainer", "checkpoint", "callbacks", "logger", "paths", "published", "report",
    },
    "checkpoint": {"monitor", "mode", "test_weights", "every_n_steps", "every_s"},
    "logger": {"tensorboard", "csv"},
    "paths": {"runs", "cache"},
    "published": {"source", "note", "scores", "of", "tolerance"},
}  # fmt: skip
# Given by the user as file or folder names: kept as typed in the identity, made absolute in the frozen config.
PATH_KEYS = ("root", "clean", "noise", "clean_file", "noisy_file")


def conf_dir() -> str:
    """The folder `conf/` of the checkout this module runs from, else the copy inside the wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    if package.parent.name == "src" and (checkout / "conf" / "train.yaml").is_file():
        return str(checkout / "conf")
    return str(package / "conf")


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`; the nearest is ...` for the most similar of `words`, or nothing where none is similar."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def dotted_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all keys in a plain config, sections before what they hold."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from dotted_keys(value, f"{prefix}{key}.")


def flatten(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level of dotted keys."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def check_keys(config: dict[str, Any], only: set[str] | None = None) -> None:
    """Refuse a key that nothing reads, naming the nearest one that something does.

    Args:
        config: plain composed config.
        only: the top-level keys that the calling app reads, where they are not those of training.

    Raises:
        UserError: for the first such key.
    """
    _refuse(config, only or READ[""], "")
    for section, node in config.items():
        if isinstance(node, dict) and "_target_" not in node and section in READ:
            _refuse(node, READ[section], f"{section}.")
        _check_targets(node, f"{section}.")


def _refuse(node: dict[str, Any], known: set[str], prefix: str) -> None:
    for key in node:
        if key not in known:
            near = did_you_mean(prefix + str(key), (prefix + k for k in known))
            raise UserError(f"Nothing reads the key {prefix}{key}{near or f' (known: {sorted(known)})'}")


def _check_targets(node: Any, prefix: str) -> None:
    """Check the keys of every node with a `_target_` against the signature of the class it names."""
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        from speechml.config.instantiate import import_class

        known = parameters(import_class(node["_target_"], prefix)) | {"_target_"}
        if known != {"_target_", "**"} and "**" not in known:
            _refuse(node, known, prefix)
    for key, value in node.items():
        _check_targets(value, f"{prefix}{key}.")


def parameters(cls: type) -> set[str]:
    """Names of the arguments that `cls(...)` takes by keyword; `**` where it takes any.

    Where an `__init__` passes its further keywords on, those of the next class in line count as well.
    """
    found: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        kinds = {
            name: p.kind for name, p in inspect.signature(vars(base)["__init__"]).parameters.items() if name != "self"
        }
        found |= {
            n
            for n, kind in kinds.items()
            if kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        }
        if inspect.Parameter.VAR_KEYWORD not in kinds.values():
            return found
        if base.__module__.split(".")[0] != "speechml":
            return found | {"**"}
    return found


def resolve_config(cfg: DictConfig) -> dict[str, Any]:
    """The composed config as plain containers, every interpolation resolved.

    Raises:
        UserError: a mandatory value (`???`) is missing, or a key that another is taken from; the message names it.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            raise UserError(f"{missing[0]} must be given: add {missing[0]}=VALUE to the command")
        config = OmegaConf.to_container(cfg, resolve=True)
    except InterpolationKeyError as error:
        wanted = re.search(r"'([\w.]+)' not found", str(error))
        if not wanted:
            raise
        group = wanted[1].partition(".")[0]
        raise UserError(
            f"{error.full_key} is taken from {wanted[1]}, which this {group} does not have: choose {group}=... of another kind"
        ) from error
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def make_paths_absolute(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of `config` whose data folders and files are absolute, so that a run can be scored from any folder."""
    data = dict(config["data"])
    for key in PATH_KEYS:
        if isinstance(data.get(key), str):
            data[key] = str(Path(data[key]).expanduser().absolute())
    return {**config, "data": data}
