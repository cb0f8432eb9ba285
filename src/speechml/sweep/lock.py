"""The folder of a sweep, held by one process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from speechml.errors import FolderBusy
from speechml.runs.folder import lock

WAIT_S = 5.0  # for the workers of a killed sweep to notice and end


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a sweep's folder alone.

    Workers inherit the lock, so those of a killed sweep keep it until they have ended, a fraction of a second later.

    Raises:
        FolderBusy: another sweep has it.
    """
    until = time.monotonic() + WAIT_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock(folder))
                break
            except FolderBusy as error:
                if time.monotonic() > until:
                    what = f"the same sweep is being computed by {error.owner}, in {folder}"
                    fix = f"wait for it (speechml sweep wait {folder})"
                    raise FolderBusy(error.folder, error.owner, what, fix) from error
                time.sleep(0.1)
        yield
