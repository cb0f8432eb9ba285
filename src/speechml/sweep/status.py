"""What has become of the runs of a sweep: a line as each ends, a table, what goes on with those without an end."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from speechml.errors import UserError, echo, printable
from speechml.runs.card import RunCard, load_card
from speechml.runs.catalogue import describe_progress, is_run, lock_owner, state_of
from speechml.runs.choosing import Score, common_name, headline_score, score_column, short_words, validation_score
from speechml.runs.sweep_record import RECORD, SweepRun, is_sweep, list_runs, load_sweep, sweeps_below, words_again
from speechml.runs.tables import format_duration, table
from speechml.sweep.jobs import Job
from speechml.sweep.slurm import Queued, still_queued
from speechml.sweep.slurm_commands import ask

UNENDED = ("failed", "damaged", "cut off", "stopped")  # what a person may want to look at, the worst first
NOT_COMPUTED = ("not begun", "stopped", "cut off", "failed")  # as far as a card tells: a cluster may have it
SHOWN = 5  # commands, errors, sweeps
LOOK_S = 2.0  # between two looks at the cards of a sweep that is waited for


@dataclass(frozen=True)
class Row:
    """A run in a table.

    Attributes:
        error: why it has no end.
        card: None of a run that has not begun, or whose card is damaged.
        time: as it is shown; `-` for none.
        data: what must be equal for the scores to be comparable.
    """

    folder: Path
    state: str
    overrides: tuple[str, ...]
    label: str
    error: str = ""
    card: RunCard | None = None
    time: str = "-"
    data: str = ""
    objective: str = ""

    @property
    def choice(self) -> Score | None:
        """What it is chosen by."""
        return validation_score(self.card, self.objective) if self.card else None

    @property
    def final(self) -> Score | None:
        """What it scores in the end, most often in its test."""
        return headline_score(self.card) if self.card else None

    @property
    def scores(self) -> str:
        """Both on a line: "val/acc 0.5 (test/acc 0.4)"."""
        shown = str(self.choice or "")
        final = str(self.final or "")
        return f"{shown} ({final})" if shown and final else shown or final or "-"


def row_of(run: SweepRun) -> Row:
    """A run as its card describes it; a run without a card has not begun, or was refused."""
    try:
        card = load_card(run.folder)
    except UserError as error:
        return Row(run.folder, "damaged", run.overrides, run.label, str(error))
    if card is None:
        return Row(run.folder, "failed" if run.error else "not begun", run.overrides, run.label, run.error)
    overrides = run.overrides or tuple(card.overrides)
    sources = sorted(word.lstrip("+") for word in overrides if word.lstrip("+").startswith("data"))
    return Row(
        run.folder, state_of(run.folder, card), overrides, run.label,
        error=" ".join((card.error or card.stopped or "").split()), card=card,
        time="-" if card.training_s is None else format_duration(card.training_s),
        data=f"{card.experiment} {' '.join(sources)}", objective=run.objective,
    )  # fmt: skip


def status_table(
    runs: Sequence[SweepRun], queued: Mapping[Path, Queued] = MappingProxyType({}), of_sweep: bool = False
) -> str:
    """The runs, what they scored, and for those without an end why, and the command that goes on."""
    rows, states = [], dict[Path, str]()
    for row in map(row_of, runs):
        if row.state in NOT_COMPUTED and (queue := queued.get(row.folder.absolute())):
            states[row.folder] = f"{queue.state} ({', '.join(filter(None, (queue.run.job, queue.reason)))})"
            row = replace(row, state=queue.state)
        elif row.state in ("running", "cut off"):
            states[row.folder] = row.state + describe_progress(row.folder)
        rows.append(row)
    ranked = rank_rows(rows)
    flaws = _find_flaws(ranked)
    choice, choices = score_column([row.choice for row in ranked], "validation")
    final, finals = score_column([row.final for row in ranked], "test")
    words, shared = short_words([(row.folder.parent.name, row.overrides if row.card else None) for row in ranked])
    labels = [row.label or typed for row, typed in zip(ranked, words, strict=True)]
    is_labelled = all(row.label for row in ranked)  # by what a sweep varies, which its command tells the rest of
    cells = [
        [row.folder.parent.name, row.folder.name, states.get(row.folder, row.state) + " !" * (row.folder in flaws),
         chosen, scored, row.time, label]
        for row, chosen, scored, label in zip(ranked, choices, finals, labels, strict=True)
    ]  # fmt: skip
    header = ["experiment", "id", "state", choice, final, "time", "overrides"]
    counts = Counter(row.state for row in rows)
    summary = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    total = f"{len(rows)} run{'s' * (len(rows) != 1)}: {summary}"
    left = (0, 1, 2, 6, *[3] * (choice == "validation"), *[4] * (final == "test"))
    common = [f"All with: {printable(' '.join(shared))}"] if shared and not is_labelled else []
    remarks = [*common, total, *_unequal_data(rows), *_scores_remarks(ranked, flaws)]
    return "\n".join([table(header, cells, left), "", *remarks, *_unended(rows, of_sweep)])


def rank_rows(rows: Sequence[Row]) -> list[Row]:
    """The best by validation first, those without a score last; runs of several scores or test sets by experiment before."""
    scored = [row for row in rows if row.card and row.choice]
    sets = {(row.card.data.test_fingerprint, row.choice and row.choice.name) for row in scored if row.card}

    def place(row: Row) -> tuple[str, bool, str, float]:
        group = row.folder.parent.name if len(sets) > 1 else ""
        return (group, False, row.choice.name, row.choice.rank) if row.choice else (group, True, "", 0.0)

    return sorted(rows, key=place)


def _find_flaws(rows: Sequence[Row]) -> dict[Path, list[str]]:
    """What is wrong with runs whose scores are worth little, by their folders."""
    from speechml.report.references import describe_flaws

    flaws = {row.folder: describe_flaws(row.card) for row in rows if row.card and row.state == "done"}
    return {folder: lines for folder, lines in flaws.items() if lines}


def _scores_remarks(rows: Sequence[Row], flaws: Mapping[Path, list[str]]) -> list[str]:
    """How to read the scores: what to choose by, what references score, and which runs are worth little."""
    from speechml.report.references import reference_lines

    done = [(row.folder, row.card) for row in rows if row.card and row.state == "done"]
    lines = reference_lines(done)
    if len(rows) > 1 and any(row.choice for row in rows):
        name = common_name(row.choice for row in rows)
        first = (
            f"The best by {name} first: choose by it" if name else "Choose by the validation score, where runs share it"
        )
        lines.append(f"{first}; test scores are for the end, of the run that was chosen.")
    counts = Counter(text for texts in flaws.values() for text in texts)
    shown = [
        f"! {count} of {len(done)} run{'s' * (len(done) != 1)}: {text}" for text, count in counts.most_common(SHOWN)
    ]
    return [printable(line) for line in [*lines, *shown]]


def _unequal_data(rows: list[Row]) -> list[str]:
    """A sentence where runs that should be of one data set are not."""
    prints: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.card and row.card.data.fingerprint:
            prints[row.data].add(row.card.data.fingerprint)
    return [
        f"note: {data.split()[0]}: the runs are of unequal recordings ({', '.join(sorted(different))}), so their scores do "
        "not compare; redo=true trains the older ones again"
        for data, different in prints.items() if len(different) > 1
    ]  # fmt: skip


def _unended(rows: list[Row], of_sweep: bool) -> list[str]:
    """Why runs have no end, and what goes on with each, and with all of a sweep."""
    unended = sorted((row for row in rows if row.state in UNENDED), key=lambda row: UNENDED.index(row.state))
    lines = []
    for row in unended[:SHOWN]:
        words = words_again(row.folder, row.overrides, row.card)
        what = f"{row.folder} {row.state}" if is_run(row.folder) else f"{row.label}: refused before it began"
        why = f": {row.error[:300]}" if row.error else ""
        lines += ["", printable(f"{what}{why}"), f"  {printable(shlex.join(['speechml-train', *words]))}"]
    if len(unended) > SHOWN:
        lines += ["", f"... and {len(unended) - SHOWN} more"]
    if unended and of_sweep:
        lines += ["", "Each command above trains one run, here; the sweep's own command goes on with all of them."]
    return lines


class Progress:
    """A line on standard error for each run of a sweep that begins, and that has ended; `total` is their number."""

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0

    def begin(self, job: Job) -> None:
        """A run is computed from now on."""
        echo(f"begins  {job.label}", file=sys.stderr, flush=True)

    def end(self, folder: Path, label: str, error: str = "") -> None:
        """A run has ended, with an error or without."""
        self.count += 1
        row = row_of(SweepRun(folder))
        state = row.state if not error or row.state in UNENDED else "failed"
        why = f": {error[:300]}" if error and error != "stopped" else ""
        parts = [f"{state}{why}", row.scores, row.time if row.state == "done" else "-", label, str(folder)]
        line = "  ".join(part for part in (f"{self.count}/{self.total}", *parts) if part != "-")
        echo(line, file=sys.stderr, flush=True)


def queued_below(folder: Path) -> dict[Path, Queued]:
    """The runs in a folder that a cluster has, by folder. Raises UserError where it cannot be asked now."""
    return {run: queued for sweep in sweeps_below(folder) for run, queued in still_queued(sweep).items()}


def _list_all(folder: Path) -> list[SweepRun]:
    """The runs in a folder, and those that its sweeps have yet to begin. Raises UserError where there are none."""
    if is_sweep(folder):
        return list_runs(folder)
    waiting = [run for sweep in sweeps_below(folder) for run in list_runs(sweep) if not is_run(run.folder)]
    try:
        return [*list_runs(folder), *waiting]
    except UserError:
        if not waiting:
            raise
        return waiting


def status_report(folder: Path) -> str:
    """The table of a sweep, and its command where that goes on with it; or that of a folder of runs, and its sweeps."""
    runs, of_sweep = _list_all(folder), is_sweep(folder)
    if not of_sweep:
        runs.sort(key=lambda run: (run.folder.parent.name, row_of(run).label))
    try:
        lines = [status_table(runs, queued_below(folder), of_sweep)]
    except UserError as error:
        lines = [status_table(runs, of_sweep=of_sweep), f"note: {error}; what waits in the queue is not shown"]
    commands = []
    sweeps = sorted(sweeps_below(folder), key=lambda sweep: -(sweep / RECORD).stat().st_mtime)
    for sweep in sweeps[:SHOWN]:
        with suppress(UserError):  # a damaged record
            if command := load_sweep(sweep).command:
                commands.append(f"\n{sweep}\n  {printable(command)}")
    if commands:
        lines += ["\nSweeps, the newest first, and their commands, which go on with what has no end:", *commands]
    if len(sweeps) > SHOWN:
        lines.append(f"\n... and {len(sweeps) - SHOWN} more in {folder / '.sweeps'}")
    return "\n".join(lines)


def wait_for(folder: Path) -> bool:
    """Tell of each run as it ends, until nobody computes or queues one any more; whether all are done."""
    queue = queued_below(folder)

    def is_going_on(run: SweepRun) -> bool:
        state = row_of(run).state
        return state == "running" or (state != "done" and run.folder.absolute() in queue)

    going = list(filter(is_going_on, _list_all(folder)))
    progress = Progress(len(going))
    if not going and not lock_owner(folder):
        echo("nobody computes it now", file=sys.stderr)
    while going or lock_owner(folder):
        with suppress(UserError):  # Slurm does not answer: what it has is as before
            queue = queued_below(folder)
        for run in [run for run in going if not is_going_on(run)]:
            going.remove(run)
            progress.end(run.folder, run.label)
        time.sleep(LOOK_S)
    echo(status_report(folder))
    return all(row_of(run).state == "done" for run in _list_all(folder))


def cancel_sweep(folder: Path) -> str:
    """End a sweep, and say how. Raises UserError where there is nothing to end, or a process of another machine."""
    owner = lock_owner(folder)
    if not is_sweep(folder) and not owner:
        raise UserError(f"{folder} is no folder of a sweep; give one as in runs/.sweeps/EXPERIMENT/ID")
    lines = []
    if jobs := sorted({queued.run.job for queued in still_queued(folder).values()}):
        ask("scancel", *jobs)  # those that run get TERM, save, and stop
        lines.append(f"{len(jobs)} job{'s are' if len(jobs) != 1 else ' is'} cancelled; those that train save first")
    if owner:
        lines.append(_stop_client(folder, owner))
    if not lines:
        raise UserError(
            f"nobody computes the sweep in {folder}", fix=f"speechml sweep status {folder} tells what became of it"
        )
    return "\n".join([*lines, "the sweep's command goes on with it"])


def _stop_client(folder: Path, owner: str) -> str:
    """End the process that holds a sweep, which its record names."""
    if not is_sweep(folder):
        raise UserError(f"{folder} is held by {owner}, and has no {RECORD} yet", fix="stop it there, or try again")
    process = load_sweep(folder).process
    if process is None or owner != f"process {process} on {socket.gethostname()}":
        raise UserError(f"{folder} is held by {owner}; stop it there")
    os.kill(process, signal.SIGTERM)
    return f"process {process} is told to stop; it saves what it trains"
