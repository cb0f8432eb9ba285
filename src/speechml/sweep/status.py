"""What has become of the runs of a sweep, by their cards: a table, and what to do about those without an end."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from speechml.errors import UserError
from speechml.runs.card import load_card
from speechml.runs.catalogue import printable, state_of
from speechml.runs.sweep_record import SweepRun
from speechml.runs.tables import format_duration, format_score, table

UNENDED = ("failed", "damaged", "cut off", "stopped")  # what a person may want to look at, the worst first
SHOWN = 5  # commands and errors


class Row(NamedTuple):
    """A run in a table."""

    folder: Path
    state: str
    score_name: str
    score: float | None
    seconds: float | None  # of training
    overrides: Sequence[str]
    shown: str
    error: str
    data: tuple[str, str]  # what must be equal for the scores to be comparable, and the fingerprint


def row_of(run: SweepRun) -> Row:
    """A run as its card describes it; a run without a card has not begun, or was refused."""
    folder, overrides, what, error = run.folder, run.overrides, run.label, run.error
    try:
        card = load_card(folder)
        if card is None:
            return Row(folder, "failed" if error else "not begun", "", None, None, overrides, what, error, ("", ""))
        overrides = overrides or tuple(card.overrides)
        name = card.headline or ""
        sources = sorted(word.lstrip("+") for word in overrides if word.lstrip("+").startswith("data"))
        data = f"{card.experiment} {' '.join(sources)}", card.data.fingerprint
        told = card.error or card.stopped or ""
        return Row(
            folder, state_of(folder, card), name, card.scores.get(name), card.training_s, overrides,
            what or " ".join(overrides), " ".join(told.split()), data,
        )  # fmt: skip
    except UserError as wrong:
        return Row(folder, "damaged", "", None, None, overrides, what, str(wrong), ("", ""))


def status_table(runs: Sequence[SweepRun], queued: dict[Path, str] | None = None) -> str:
    """The runs, what they scored, and for those without an end why, and the command that goes on.

    Args:
        runs: as the sweep names them.
        queued: what the cluster says of those that it has.
    """
    rows = [row_of(run) for run in runs]
    waiting = queued or {}
    rows = [
        row._replace(state=waiting[row.folder.absolute()])
        if row.state in ("not begun", "stopped", "cut off", "failed") and row.folder.absolute() in waiting else row
        for row in rows
    ]  # fmt: skip
    cells = []
    for row in rows:
        score = (
            "-" if row.score is None else f"{row.score_name} {format_score(row.score, row.score_name.endswith('_db'))}"
        )
        took = "-" if row.seconds is None else format_duration(row.seconds)
        cells.append([row.folder.parent.name, row.folder.name, row.state, score, took, row.shown])
    header = ["experiment", "id", "state", "score", "time", "overrides"]
    lines = [table(header, [[printable(cell) for cell in line] for line in cells], left=(0, 1, 2, 3, 5)), ""]
    counts = Counter(row.state.partition(" (")[0] for row in rows)
    told = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    lines.append(f"{len(rows)} run{'s' * (len(rows) != 1)}: {told}")
    return "\n".join([*lines, *_compared(rows), *_unended(rows)])


def _compared(rows: list[Row]) -> list[str]:
    """A sentence where runs that should be of one data set are not."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.data[1]:
            found[row.data[0]].add(row.data[1])
    return [
        f"note: {name.split()[0]}: the runs are of unequal recordings ({', '.join(sorted(prints))}), so their scores do "
        "not compare; redo=true trains the older ones again"
        for name, prints in found.items() if len(prints) > 1
    ]  # fmt: skip


def _unended(rows: list[Row]) -> list[str]:
    """Why runs have no end, and what goes on with each."""
    found = sorted((row for row in rows if row.state in UNENDED), key=lambda row: UNENDED.index(row.state))
    lines = []
    for row in found[:SHOWN]:
        words = [word for word in row.overrides if word.lstrip("+").partition("=")[0] != "redo"]
        why = f": {printable(row.error[:300])}" if row.error else ""
        begun = (
            f"{row.folder} {row.state}"
            if (row.folder / "card.json").exists()
            else f"{row.shown}: refused before it began"
        )
        lines += ["", f"{printable(begun)}{why}", f"  {printable(shlex.join(['speechml-train', *words]))}"]
    if len(found) > SHOWN:
        lines += ["", f"... and {len(found) - SHOWN} more; the sweep's command goes on with all of them"]
    return lines


class Progress:
    """One line for each run of a sweep that has ended, on the terminal or in a log.

    Args:
        total: number of runs.
    """

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0
        self.began = time.monotonic()

    def begins(self, what: str) -> None:
        """Say that a run begins, for who waits for it."""
        print(f"{self.count + 1}/{self.total}  begins  {what}", file=sys.stderr, flush=True)

    def ended(self, folder: Path, what: str, error: str = "") -> None:
        """Say what came of a run."""
        self.count += 1
        row = row_of(SweepRun(folder))
        score = (
            "" if row.score is None else f"{row.score_name} {format_score(row.score, row.score_name.endswith('_db'))}  "
        )
        took = "" if row.seconds is None or row.state != "done" else f"{format_duration(row.seconds)}  "
        state = row.state if not error or row.state in UNENDED else "failed"
        why = f": {error[:300]}" if error and error != "stopped" else ""
        told = f"{self.count}/{self.total}  {state}{why}  {score}{took}{what}  {folder}"
        print(printable(told), file=sys.stderr, flush=True)
