"""The data of a run without the run: packed ahead of time, or looked into."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict

import speechml.config.resolvers  # noqa: F401 (registers them)
from speechml.cli.hydra_app import translate_hydra_errors
from speechml.config.compose import conf_dir, resolve_config
from speechml.config.instantiate import build
from speechml.config.train_config import TrainConfig, make_paths_absolute
from speechml.contracts import SPLITS
from speechml.engine.process import prepare as prepare_process
from speechml.errors import UserError
from speechml.runs.card import DataCard
from speechml.runs.catalogue import format_size
from speechml.storage.files import record_builds


def prepare(cfg: DictConfig) -> str:
    """Build everything that a run of `cfg` would build of its data: what was found and made, in words.

    Args:
        cfg: as `composed` gives it.

    Raises:
        UserError: an unknown key, or data that cannot be used.
    """
    begun = time.perf_counter()
    with record_builds() as folders:
        card = opened(cfg).card()  # of all parts: their recordings lie in the same packs
    return report(card, folders, time.perf_counter() - begun)


def opened(cfg: DictConfig) -> Any:
    """The data module that a run of `cfg` would have.

    Args:
        cfg: as `composed` gives it; its model is left out, which may ask of the data what other kinds of them have.

    Raises:
        UserError: an unknown key, or data that cannot be used.
    """
    with open_dict(cfg):
        cfg.pop("model", None)
    with translate_hydra_errors("train"):
        config = resolve_config(cfg)
    config = make_paths_absolute(TrainConfig.from_config(config, absent=("model",)).raw)
    prepare_process(config)
    return build(config["data"], where="data")


def report(card: DataCard, folders: dict[Path, bool], seconds: float) -> str:
    """What there is now, a line each.

    Args:
        card: of the data.
        folders: packs, and whether they were built just now.
        seconds: that it took.
    """
    lines = [f"{card.data}: {card.protocol} split"]
    for folder, built in folders.items():
        lines.append(f"packed       {folder} ({format_size(size(folder))}{'' if built else ', was there already'})")
    if not folders:
        lines.append("packed       nothing: these data are read from their own file")
    counts = ", ".join(f"{part} {card.recordings[part]}" for part in SPLITS)
    lines.append(f"{card.called:<12} {counts}")
    lines.append(f"fingerprint  {card.fingerprint}")
    lines.append(f"took         {seconds:.1f} s")
    return "\n".join([*lines, *(f"note: {note}" for note in card.notes)])


def size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def composed(config_name: str, overrides: list[str]) -> DictConfig:
    """The config of a Hydra app with some overrides, as the app would get it.

    Raises:
        UserError: an override that Hydra does not understand, or that describes several configs.
    """
    with _asked(config_name, overrides), initialize_config_dir(conf_dir(), version_base="1.3"):
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.is_sweep_override():
                raise UserError(f"{override.input_line} describes several data sets; name one at a time")
        cfg = compose(config_name, overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


@contextmanager
def _asked(config_name: str, overrides: list[str]) -> Iterator[None]:
    """Hydra's errors are the user's, in the words of speechml-train; hints and names of sweeps go by these overrides."""
    words, sys.argv = sys.argv, [sys.argv[0], *overrides]
    try:
        with translate_hydra_errors(config_name):
            yield
    except UserError as error:
        raise UserError(str(error).partition("; add -m")[0]) from error
    finally:
        sys.argv = words
