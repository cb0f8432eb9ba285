"""The folder of a sweep, held by one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from speechml.errors import FolderBusy
from speechml.runs.folder import lock


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a sweep's folder alone.

    Raises:
        FolderBusy: another sweep has it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock(folder))
        except FolderBusy as error:
            what = f"the same sweep is being computed by {error.owner}, in {folder}"
            fix = f"wait for it (speechml sweep wait {folder})"
            raise FolderBusy(error.folder, error.owner, what, fix) from error
        yield
