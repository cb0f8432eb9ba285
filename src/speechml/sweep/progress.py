"""The runs of a sweep on standard error: a line for each that has ended, and on a terminal those that are being trained."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from speechml.runs.catalogue import count_epochs
from speechml.runs.sweep_record import SweepRun
from speechml.runs.tables import format_duration, printable
from speechml.sweep.jobs import Job
from speechml.sweep.status import UNENDED, row_of


class Progress:
    """Tells of runs as they begin and end.

    Args:
        total: number of runs.
        live: whether those that are being trained have a line each, below those that have ended; on terminals only.
    """

    def __init__(self, total: int, live: bool = False) -> None:
        self.total, self.count = total, 0
        self.live = live and sys.stderr.isatty()
        self.running: dict[str, tuple[str, float]] = {}  # label and begin by folder
        self.lines = 0  # on the screen now

    def begin(self, job: Job) -> None:
        """A run is computed from now on."""
        self.running[job.folder] = job.label, time.monotonic()
        if not self.live:
            print(f"begins  {job.label}", file=sys.stderr, flush=True)

    def end(self, folder: str | Path, label: str, error: str = "") -> None:
        """A run has ended, with an error or without."""
        self.running.pop(str(folder), None)
        self.count += 1
        row = row_of(SweepRun(Path(folder)))
        score = f"{row.shown_score}  " if row.score is not None else ""
        took = f"{row.shown_time}  " if row.state == "done" and row.seconds is not None else ""
        state = row.state if not error or row.state in UNENDED else "failed"
        why = f": {error[:300]}" if error and error != "stopped" else ""
        self.close()
        line = f"{self.count}/{self.total}  {state}{why}  {score}{took}{label}  {folder}"
        print(printable(line), file=sys.stderr, flush=True)

    def redraw(self) -> None:
        """Draw the lines of the runs that are being trained."""
        if not self.live:
            return
        self.close()
        width = shutil.get_terminal_size().columns - 1
        for folder, (label, began) in self.running.items():
            text = f"  {label}  epoch {count_epochs(Path(folder)) or 0}  {format_duration(time.monotonic() - began)}"
            print(text[:width], file=sys.stderr)
            self.lines += 1
        sys.stderr.flush()

    def close(self) -> None:
        """Leave only what has ended on the screen."""
        if self.lines:
            sys.stderr.write(f"\x1b[{self.lines}F\x1b[J")
            self.lines = 0
