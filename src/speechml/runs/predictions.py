"""predictions.npz: one row a test item."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

Row = TypeVar("Row")


def write_predictions(
    path: Path, items: Mapping[int, Mapping[str, object]], names: list[str], **about: np.ndarray
) -> None:
    """Write the name and each figure of each item, arrays of equal length without objects, and what is said `about` all."""
    order = sorted(items)
    columns = {key: np.array([items[i][key] for i in order]) for key in (items[order[0]] if order else {})}
    part = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        np.savez(part, name=np.array([names[i] for i in order], dtype=str), **columns, **about)  # type: ignore[arg-type]
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def tested_items(items: Mapping[int, Row], scored: Mapping[str, list[int]]) -> dict[int, Row]:
    """The rows of the test items; of all that was scored where no part is called test.

    Args:
        items: rows of a test by the number of the item.
        scored: numbers of the items that a test scores, by the name of their part.
    """
    wanted = set(scored.get("test") or [number for part in scored.values() for number in part])
    return {number: row for number, row in items.items() if number in wanted}
