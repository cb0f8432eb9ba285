"""The runs in a folder: listed, checked, removed. Nothing heavy is imported, so that a thousand are listed at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from speechml.config.compose import flatten
from speechml.errors import UserError
from speechml.runs.card import CARD, RunCard, load_card
from speechml.runs.choosing import OF_SEARCH, Score, score_column, short_words, validation_score
from speechml.runs.folder import LAST, LOCK, OWNER, lock
from speechml.runs.labels import load_config
from speechml.runs.tables import check_choice, csv_text, table
from speechml.storage.plain_files import read_plain

WORD_BEGIN = re.compile(r" (?=[~+]?[\w./@]+=|~)")  # an override may have spaces within, as [20, 20]
STATES = ("done", "stopped", "failed", "running", "cut off", "damaged")
FORMATS = ("table", "csv", "json")


def is_run(folder: Path) -> bool:
    """Whether a folder is one of a run: it has a card, be it damaged."""
    return (folder / CARD).is_file()


def runs_below(folder: Path) -> Iterator[Path]:
    """The folders of runs in `folder`, itself included, in the order of their names; hidden folders are passed over.

    Raises:
        UserError: no such folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}", fix="speechml-train makes runs/, and a folder in it for each run"
        )
    for place, folders, files in os.walk(folder):
        folders[:] = [] if CARD in files else sorted(name for name in folders if not name.startswith("."))
        if CARD in files:
            yield Path(place)


def lock_owner(folder: Path) -> str | None:
    """Who holds the lock of a run's folder; None where nobody does.

    Nothing is written, and other readers are not in the way.
    """
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW  # or a pipe would be waited for
        with os.fdopen(os.open(folder / LOCK, flags), errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(OWNER).strip() or "another process"
    except OSError:
        pass
    return None


def state_of(folder: Path, card: RunCard) -> str:
    """What the card says; `cut off` where it says that the run goes on, but no process has it."""
    return "cut off" if card.state == "running" and lock_owner(folder) is None else card.state


class Entry(NamedTuple):
    """The line of a run in a list."""

    experiment: str
    id: str
    state: str
    started: str | None = None
    epochs: int | None = None  # trained; while a run is not done, those that its table has
    score_name: str | None = None
    score: float | None = None
    overrides: str = ""
    tags: str = ""  # separated by commas
    note: str = ""
    validation_name: str | None = None  # of the score that it is chosen by
    validation: float | None = None
    warnings: int = 0  # sentences in its card


def make_entry(folder: Path) -> Entry:
    """The line of a run in a list; where the card is damaged, what the folder's name tells."""
    try:
        card = load_card(folder)
    except UserError:
        card = None
    if card is None:
        return Entry(folder.resolve().parent.name, folder.resolve().name, "damaged")
    epochs = count_epochs(folder) if card.epochs is None else card.epochs
    score, chosen = card.scores[card.headline] if card.headline else None, validation_score(card)
    words = " ".join(word for word in card.overrides if word not in OF_SEARCH)
    return Entry(card.experiment, card.id, state_of(folder, card), card.started, epochs, card.headline, score, words,
                 ",".join(card.tags or []), card.note or "", chosen and chosen.name, chosen and chosen.value,
                 len(card.warnings or ()))  # fmt: skip


def count_epochs(folder: Path) -> int | None:
    """Epochs that a run's table of metrics has; None where there is no table."""
    try:
        return max(0, read_plain(folder, "metrics.csv").count(b"\n") - 1)
    except OSError:
        return None


def describe_progress(folder: Path) -> str:
    """How far a run is, in brackets: its epochs, where it keeps a table of them, and whether it could go on from anything."""
    epochs, lines, keeps_table = count_epochs(folder), list[str](), True
    with contextlib.suppress(UserError):  # no config of a run
        keeps_table = bool(flatten(load_config(folder)).get("logger.csv", True))
    if epochs is not None or keeps_table:
        lines.append(f"{epochs or 0} epoch{'s' * (epochs != 1)}")
    if not (folder / "checkpoints" / LAST).exists():
        lines.append("nothing saved yet")
    return f" ({', '.join(lines)})" if lines else ""


def _place(line: Entry) -> tuple[str, bool, float, str]:
    """Of each experiment the best by validation first, then those without a score; else as they began."""
    score = _score(line.validation_name, line.validation)
    return line.experiment, score is None, score.rank if score else 0.0, line.started or ""


def format_list(folder: Path, state: str | None, form: str, tags: Iterable[str] = (), note: str = "") -> str:
    """All runs in a folder as a table, CSV or JSON.

    Args:
        folder: with runs at any depth.
        state: only runs of this state; None: all.
        form: one of FORMATS.
        tags: only runs that have all of them.
        note: only runs whose note has this in it, small or capital.

    Raises:
        UserError: no such folder, state or form.
    """
    check_choice("--format", form, FORMATS)
    check_choice("--state", state or STATES[0], STATES)
    entries = [line for line in map(make_entry, runs_below(folder)) if state in (None, line.state)
               and {*tags} <= {*line.tags.split(",")} and note.casefold() in line.note.casefold()]  # fmt: skip
    entries.sort(key=_place)
    if form == "json":
        return json.dumps([line._asdict() for line in entries], indent=1) + "\n"
    if form == "csv":
        return csv_text(Entry._fields, entries)
    if entries:
        return _as_table(entries)
    wanted = [*([f"the tag {' and '.join(tags)}"] if tags else []), *([f"{note!r} in its note"] if note else [])]
    such = f" with {' and '.join(wanted)}" if wanted else ""
    return f"no run{f' that is {state}' if state else 's' * (not such)}{such} in {folder}\n"


def _as_table(entries: list[Entry]) -> str:
    """The validation score first, by which runs are chosen, and then that of the test."""
    validation, validations = score_column([_score(e.validation_name, e.validation) for e in entries], "validation")
    test, tests = score_column([_score(e.score_name, e.score) for e in entries], "test")
    words, shared = short_words(
        [(e.experiment, None if e.state == "damaged" else WORD_BEGIN.split(e.overrides)) for e in entries]
    )
    rows = [
        [e.experiment, e.id, e.state + " !" * bool(e.warnings), (e.started or "-")[:16].replace("T", " "),
         "-" if e.epochs is None else str(e.epochs), own, last, typed, e.tags]
        for e, own, last, typed in zip(entries, validations, tests, words, strict=True)
    ]  # fmt: skip
    header = ["experiment", "id", "state", "started", "epochs", validation, test, "overrides", "tags"]
    width = 9 if any(line.tags for line in entries) else 8
    left = (0, 1, 2, 3, 7, 8, *[5] * (validation == "validation"), *[6] * (test == "test"))
    lines = [table(header[:width], [row[:width] for row in rows], left)]
    if shared:
        lines.append(f"\nAll with: {' '.join(shared)}")
    if count := sum(bool(line.warnings) for line in entries):
        lines.append(f"\n! {count} with warnings, which speechml runs show FOLDER tells")
    return "\n".join(lines) + "\n"


def _score(name: str | None, value: float | None) -> Score | None:
    return None if name is None or value is None else Score(name, value)


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder, by its relative name."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # a run in training replaces its files
            if path.is_symlink() or path.is_file():
                sizes[str(path.relative_to(folder))] = path.lstat().st_size
    return sizes


def no_run(folder: Path) -> UserError:
    """The refusal of a folder that is none of a run."""
    if folder.is_dir() and any(is_run(place) for place in folder.iterdir() if place.is_dir()):
        return UserError(
            f"{folder} is no run but a folder of runs", fix=f"name runs in it, or all of them as {folder}/*"
        )
    why = f"it has no {CARD}" if folder.is_dir() else "it is a file" if folder.exists() else "there is no such folder"
    return UserError(f"{folder} is no run", why, "give one as in runs/words_tuned/ID; speechml runs list names them")


def require_card(folder: Path) -> RunCard:
    """The card of a run.

    Raises:
        UserError: no run, or one whose card is damaged.
    """
    if (card := load_card(folder)) is None:
        raise no_run(folder)
    return card


def check_removable(folders: list[Path]) -> dict[Path, int]:
    """The folders of runs that can be removed, without their repetitions, and the bytes in each.

    Raises:
        UserError: no run, a link, a folder with further runs in it, or one that another process holds.
    """
    sizes: dict[Path, int] = {}
    for folder in folders:
        if not is_run(folder):
            raise no_run(folder)
        if folder.is_symlink():
            raise UserError(f"{folder} is a link", fix=f"give the folder that it leads to, {folder.resolve()}")
        others = [card.parent for card in folder.rglob(CARD) if card.parent != folder]
        if others:
            raise UserError(f"{folder} holds other runs, as {others[0]}", fix="give one run")
        if owner := lock_owner(folder):
            raise UserError(f"{folder} is held by {owner}", fix="stop it, or wait for it, and then remove the run")
        sizes[folder.resolve()] = sum(file_sizes(folder).values())
    return sizes


def remove(folder: Path) -> None:
    """Delete a run, all of it; a launch at the same time is refused, or begins anew in a folder of its own.

    Args:
        folder: as `check_removable` gives it.

    Raises:
        FolderBusy: another process has it.
        UserError: it is gone already, or cannot be deleted.
    """
    aside = folder.with_name(f".{folder.name}.removed-{os.getpid()}")
    try:
        with lock(folder):
            if not is_run(folder):  # another process was faster, and the lock has made the folder again
                (folder / LOCK).unlink()
                with contextlib.suppress(OSError):
                    folder.rmdir()
                raise no_run(folder)
            folder.rename(aside)
            shutil.rmtree(aside)
    except OSError as error:
        left = aside if aside.exists() else folder
        raise UserError(f"{left} cannot be deleted", why=str(error.strerror), fix="make it writable") from error
