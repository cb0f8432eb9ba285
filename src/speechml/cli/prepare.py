"""The data of a run without the run: packed ahead of time, or looked into."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from speechml.config.compose import resolve_config
from speechml.config.instantiate import build
from speechml.config.train_config import TrainConfig, make_paths_absolute
from speechml.contracts import SPLITS
from speechml.engine.process import prepare as prepare_process
from speechml.runs.card import DataCard
from speechml.runs.catalogue import format_size
from speechml.storage.files import record_builds


def prepare(cfg: DictConfig) -> str:
    """Build everything that a run of `cfg` would build of its data: what was found and made, in words.

    Args:
        cfg: as `compose_app` gives it.

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
        cfg: as `compose_app` gives it; its model is left out, which may ask of the data what other kinds of them have.

    Raises:
        UserError: an unknown key, or data that cannot be used.
    """
    with open_dict(cfg):
        cfg.pop("model", None)
    config = make_paths_absolute(TrainConfig.from_config(resolve_config(cfg), absent=("model",)).raw)
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
