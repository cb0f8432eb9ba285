"""A progress bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """`items`, with a bar on standard error where that is a terminal."""
    from tqdm import tqdm

    return iter(tqdm(items, total=total, desc=what, disable=not sys.stderr.isatty(), leave=False))
