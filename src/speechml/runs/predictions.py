"""predictions.npz: one row a test item, and whose it is."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from speechml.contracts import HIGHER_IS_BETTER
from speechml.errors import UserError, reason
from speechml.runs.card import DAMAGE
from speechml.storage.files import new_version
from speechml.storage.plain_files import read_arrays

TEXTS = ("name", "classes", "speaker", "song", "recording")  # columns; those of a user's own task are not looked into


def write_predictions(
    path: Path, items: Mapping[int, Mapping[str, object]], scored: Mapping[str, list[int]], names: list[str],
    sources: tuple[str, Sequence[str]], **about: np.ndarray,
) -> None:  # fmt: skip
    """Write the name and each figure of each test item, or of all that was scored where no part is called test.

    Args:
        path: of the file; it holds arrays without objects.
        items: figures by the number of the item.
        scored: numbers of the items that a test scores, by the name of their part.
        names: of the items, by their number.
        sources: what the items are pieces of (speaker, song, recording), and of which, empty where it is not known.
        about: what is said of all of them.
    """
    tested = set(scored.get("test") or [number for part in scored.values() for number in part])
    order = sorted(tested & items.keys())
    columns = {key: np.array([items[i][key] for i in order]) for key in (items[order[0]] if order else {})}
    kind, of_items = sources
    about = {kind or "speaker": np.array([of_items[i] for i in order], dtype=str), **about}
    with new_version(path) as part, part.open("wb") as file:
        np.savez(file, name=np.array([names[i] for i in order], dtype=str), **columns, **about)  # type: ignore[arg-type]


def load_predictions(path: Path) -> dict[str, np.ndarray]:
    """The columns of predictions.npz, rows in the order of their names; of a recording in stretches, the held-out one.

    Raises UserError where there is no such file, or it is damaged or empty.
    """
    if not path.exists():
        why = "test=false trains without a test; and a module of yours may give scores of whole sets only"
        fix = "train it with a test, and a task that keeps speechml's contract, to have the items"
        raise UserError(f"{path.parent} has no {path.name}", why, fix)
    try:
        columns = read_arrays(path.parent, path.name)
        count = len(columns["name"])
        if any(len(column) != count for name, column in columns.items() if name != "classes"):
            raise ValueError("columns of unequal length")
        for name, column in columns.items():
            is_text, is_score = name in TEXTS, name.replace("_input", "") in HIGHER_IS_BETTER
            if (is_text or is_score) and (column.ndim != 1 or column.dtype.kind not in ("U" if is_text else "iuf")):
                raise ValueError(f"{name} is of another kind or shape")
        if "logits" in columns:
            label, logits, classes = columns["label"], columns["logits"], len(columns["classes"])
            if (
                label.ndim != 1
                or label.dtype.kind not in "iu"
                or logits.dtype.kind != "f"
                or logits.shape != (count, classes)
            ):
                raise ValueError("labels or logits of another kind or shape")
            if not 0 <= label.min(initial=0) <= label.max(initial=0) < classes:
                raise ValueError("labels of no class")
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, *DAMAGE) as error:
        raise UserError(f"{path} is damaged", reason(error), fix="train the run again") from error
    rows = np.argsort(columns["name"], kind="stable")
    if "heldout" in columns["name"]:
        rows = rows[columns["name"][rows] == "heldout"]
    if not len(rows):
        raise UserError(f"{path} holds no test item; train the run again, with a test")
    return {name: column if name == "classes" else column[rows] for name, column in columns.items()}
