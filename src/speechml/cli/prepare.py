"""The data of a run without the run: packed ahead of time, or looked into."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from omegaconf import DictConfig, open_dict

from speechml.config.compose import resolve_config
from speechml.config.train_config import check_config, make_paths_absolute
from speechml.contracts import SPLITS
from speechml.process import prepare_process
from speechml.runs.catalogue import file_sizes
from speechml.runs.tables import format_size
from speechml.storage.files import builds

if TYPE_CHECKING:
    from speechml.engine.parts import Data


def prepare(cfg: DictConfig) -> str:
    """Build everything that a run of `cfg` would build of its data: what was found and made, in words.

    Args:
        cfg: as `compose_app` gives it.

    Raises:
        UserError: an unknown key, or data that cannot be used.
    """
    start = time.perf_counter()
    builds.clear()
    card = open_data(cfg).card()  # of all splits: their recordings lie in the same packs
    lines = [f"{card.data}: {card.protocol} split"]
    for folder, is_new in builds.items():
        size = format_size(sum(file_sizes(folder).values()))
        lines.append(f"packed       {folder} ({size}{'' if is_new else ', was there already'})")
    if not builds:
        lines.append("packed       nothing: these data are read from their own file")
    lines.append(f"{card.called:<12} " + ", ".join(f"{split} {card.recordings[split]}" for split in SPLITS))
    lines.append(f"fingerprint  {card.fingerprint}")
    lines.append(f"took         {time.perf_counter() - start:.1f} s")
    return "\n".join([*lines, *(f"note: {note}" for note in card.notes)])


def open_data(cfg: DictConfig) -> Data:
    """The data module that a run of `cfg` would have.

    Args:
        cfg: as `compose_app` gives it; its model is left out, which may ask of the data what other kinds of them have.

    Raises:
        UserError: an unknown key, or data that cannot be used.
    """
    with open_dict(cfg):
        cfg.pop("model", None)
    config = make_paths_absolute(check_config(resolve_config(cfg), absent=("model",)))
    prepare_process(config["threads"])
    from speechml.engine.parts import build_data  # torch and Lightning

    return build_data(config)
