"""The runs of a sweep as lines on a terminal: those that have ended, and below them those that are being trained."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from speechml.runs.catalogue import count_epochs
from speechml.runs.tables import format_duration
from speechml.sweep.status import Progress


class Board:
    """Tells of runs on standard error; on a terminal a line for each that is being trained, in a log only their ends.

    Args:
        total: number of runs.
    """

    def __init__(self, total: int) -> None:
        self.progress = Progress(total)
        self.live = sys.stderr.isatty()
        self.running: dict[int, tuple[Path, str, float]] = {}
        self.lines = 0  # on the screen now

    def begins(self, number: int, folder: Path, what: str) -> None:
        """A run has a process."""
        self.running[number] = folder, what, time.monotonic()
        if not self.live:
            print(f"begins  {what}", file=sys.stderr, flush=True)

    def ended(self, number: int, error: str) -> None:
        """A run has ended."""
        folder, what, _ = self.running.pop(number)
        self._wipe()
        self.progress.ended(folder, what, error)

    def refresh(self) -> None:
        """Draw the lines of the runs that are being trained."""
        if not self.live:
            return
        self._wipe()
        width = shutil.get_terminal_size().columns - 1
        for folder, what, began in self.running.values():
            text = f"  {what}  epoch {count_epochs(folder) or 0}  {format_duration(time.monotonic() - began)}"
            print(text[:width], file=sys.stderr)
            self.lines += 1
        sys.stderr.flush()

    def close(self) -> None:
        """Leave only what has ended on the screen."""
        self._wipe()

    def _wipe(self) -> None:
        if self.lines:
            sys.stderr.write(f"\x1b[{self.lines}F\x1b[J")
            self.lines = 0
