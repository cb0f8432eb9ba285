"""predictions.npz: one row a test item."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from speechml.storage.files import new_version


def write_predictions(
    path: Path, items: Mapping[int, Mapping[str, object]], scored: Mapping[str, list[int]], names: list[str],
    **about: np.ndarray,
) -> None:  # fmt: skip
    """Write the name and each figure of each test item, or of all that was scored where no part is called test.

    Args:
        path: of the file; it holds arrays without objects.
        items: figures by the number of the item.
        scored: numbers of the items that a test scores, by the name of their part.
        names: of the items, by their number.
        about: what is said of all of them.
    """
    tested = set(scored.get("test") or [number for part in scored.values() for number in part])
    order = sorted(tested & items.keys())
    columns = {key: np.array([items[i][key] for i in order]) for key in (items[order[0]] if order else {})}
    with new_version(path) as part, part.open("wb") as file:
        np.savez(file, name=np.array([names[i] for i in order], dtype=str), **columns, **about)  # type: ignore[arg-type]
