"""Where the configs lie, and a composed config as plain values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from speechml.errors import UserError


def conf_dir() -> str:
    """The folder `conf/` of the checkout this module runs from, else the copy inside the wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    if package.parent.name == "src" and (checkout / "conf" / "train.yaml").is_file():
        return str(checkout / "conf")
    return str(package / "conf")


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
