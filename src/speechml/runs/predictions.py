"""predictions.npz: one row a test item."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


def write_predictions(path: Path, items: dict[int, dict[str, float]], names: list[str]) -> None:
    """Write each score of each recording, with its name; arrays of equal length, no objects."""
    order = sorted(items)
    columns = {key: np.array([items[i][key] for i in order]) for key in (items[order[0]] if order else {})}
    part = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        np.savez(part, name=np.array([names[i] for i in order], dtype=str), **columns)  # type: ignore[arg-type]
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
