"""What has become of the runs of a sweep, by their cards: a table, and what to do about those without an end."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from speechml.errors import UserError
from speechml.runs.card import load_card
from speechml.runs.catalogue import state_of
from speechml.runs.sweep_record import SweepRun
from speechml.runs.tables import format_duration, format_score, printable, table

UNENDED = ("failed", "damaged", "cut off", "stopped")  # what a person may want to look at, the worst first
NOT_COMPUTED = ("not begun", "stopped", "cut off", "failed")  # as far as a card tells: a cluster may have it
SHOWN = 5  # commands and errors


class Queued(NamedTuple):
    """What a cluster says of a run that it has."""

    state: str  # queued, or in a job
    job: str  # its number, and perhaps why it waits


class Row(NamedTuple):
    """A run in a table."""

    folder: Path
    state: str
    job: str = ""  # of a cluster, that has it
    score_name: str = ""
    score: float | None = None
    seconds: float | None = None  # of training
    overrides: tuple[str, ...] = ()
    label: str = ""
    error: str = ""
    data: tuple[str, str] = ("", "")  # what must be equal for the scores to be comparable, and the fingerprint

    @property
    def shown_score(self) -> str:
        """The score with its name."""
        return (
            "-"
            if self.score is None
            else f"{self.score_name} {format_score(self.score, self.score_name.endswith('_db'))}"
        )

    @property
    def shown_time(self) -> str:
        """Of training."""
        return "-" if self.seconds is None else format_duration(self.seconds)


def row_of(run: SweepRun) -> Row:
    """A run as its card describes it; a run without a card has not begun, or was refused."""
    try:
        card = load_card(run.folder)
    except UserError as error:
        return Row(run.folder, "damaged", overrides=run.overrides, label=run.label, error=str(error))
    if card is None:
        state = "failed" if run.error else "not begun"
        return Row(run.folder, state, overrides=run.overrides, label=run.label, error=run.error)
    overrides = run.overrides or tuple(card.overrides)
    sources = sorted(word.lstrip("+") for word in overrides if word.lstrip("+").startswith("data"))
    return Row(
        run.folder, state_of(run.folder, card), "", card.headline or "", card.scores.get(card.headline or ""),
        card.training_s, overrides, run.label or " ".join(overrides), " ".join((card.error or card.stopped or "").split()),
        (f"{card.experiment} {' '.join(sources)}", card.data.fingerprint),
    )  # fmt: skip


def status_table(runs: Sequence[SweepRun], queued: Mapping[Path, Queued] = MappingProxyType({})) -> str:
    """The runs, what they scored, and for those without an end why, and the command that goes on.

    Args:
        runs: as the sweep names them.
        queued: what the cluster says of those that it has.
    """
    rows = [row_of(run) for run in runs]
    for i, row in enumerate(rows):
        if row.state in NOT_COMPUTED and (queue := queued.get(row.folder.absolute())):
            rows[i] = row._replace(state=queue.state, job=queue.job)
    cells = [
        [row.folder.parent.name, row.folder.name, f"{row.state} ({row.job})" if row.job else row.state, row.shown_score,
         row.shown_time, row.label]
        for row in rows
    ]  # fmt: skip
    header = ["experiment", "id", "state", "score", "time", "overrides"]
    lines = [table(header, [[printable(cell) for cell in line] for line in cells], left=(0, 1, 2, 3, 5)), ""]
    counts = Counter(row.state for row in rows)
    summary = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    lines.append(f"{len(rows)} run{'s' * (len(rows) != 1)}: {summary}")
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
            else f"{row.label}: refused before it began"
        )
        lines += ["", f"{printable(begun)}{why}", f"  {printable(shlex.join(['speechml-train', *words]))}"]
    if len(found) > SHOWN:
        lines += ["", f"... and {len(found) - SHOWN} more; the sweep's command goes on with all of them"]
    return lines
