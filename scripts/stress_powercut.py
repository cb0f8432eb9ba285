"""What a power cut may leave of a run: every prefix of what it wrote, with what was not synced kept, dropped or torn."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import forked
from stress_faults import GENRE, build_library, environment, make_place, runs_of, unequal_runs
from stress_leavings import left_over, wrong_end

WORDS = ("speechml-train", *GENRE, "report=true")  # three savings


class Call(NamedTuple):
    """What a system call did, and the data that it wrote."""

    what: str
    path: str
    other: str
    file: int
    at: int
    data: bytes


def read_log(path: Path) -> list[Call]:
    """The calls that scripts/faults.c has recorded."""
    calls, log = [], io.BytesIO(path.read_bytes())
    while line := log.readline():
        about = json.loads(line)
        data = log.read(about.pop("size"))
        calls.append(Call(**about, data=data))
    return calls


class Disk:
    """Files as programs see them, and as far as they were synced.

    A file that is written anew, or renamed, is the same for the disk; names go to the disk in their order, at the latest with
    the next `fsync`, which a journal makes one of all names.
    """

    def __init__(self) -> None:
        self.names: dict[str, int | None] = {}  # the number of each file, None of a folder
        self.synced_names: dict[str, int | None] = {}
        self.content: dict[int, bytearray] = {}
        self.synced: dict[int, bytes] = {}

    def do(self, call: Call) -> None:
        """Do what a system call did."""
        what, path, other, file, at, data = call
        if what in ("create", "empty"):
            self.names[path], self.content[file] = file, bytearray()
            if what == "create":
                self.synced.pop(file, None)  # the number of a file that was removed
        elif what == "mkdir":
            self.names[path] = None
        elif what == "write" and file in self.content:
            content = self.content[file]
            content.extend(bytes(max(0, at - len(content))))
            content[at : at + len(data)] = data
        elif what == "cut" and file in self.content:
            del self.content[file][at:]
        elif what == "rename":
            moved = {
                name: self.names.pop(name) for name in [*self.names] if name == path or name.startswith(f"{path}/")
            }
            self.names |= {other + name.removeprefix(path): number for name, number in moved.items()}
        elif what == "unlink":
            self.names.pop(path, None)
        elif what == "fsync":
            self.synced_names = dict(self.names)
            if file in self.content:
                self.synced[file] = bytes(self.content[file])

    def states(self) -> Iterator[tuple[str, dict[str, bytes | None]]]:
        """What may be on the disk after a power cut now, by how: each file's content by its name, None of a folder."""
        for how, names in (("", self.names), (", names of the last sync", self.synced_names)):
            for data in ("kept", "dropped", "cut short", "torn"):
                yield data + how, {name: None if of is None else self._content(of, data) for name, of in names.items()}

    def _content(self, file: int, data: str) -> bytes:
        now, synced = bytes(self.content[file]), self.synced.get(file, b"")
        half = (len(synced) + len(now)) // 2
        torn = now[:half] + bytes(max(0, len(now) - half))
        return now if now == synced else {"kept": now, "dropped": synced, "cut short": now[:half], "torn": torn}[data]


def write_state(files: dict[str, bytes | None], before: Path, place: Path) -> None:
    """Put the files of a state into a place, those below `before` by their names there."""
    for name, content in sorted(files.items()):
        path = place / Path(name).relative_to(before)
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def wrong_state(place: Path, least_step: int) -> Iterator[str]:
    """What is wrong with a run as it opens: an error that is no sentence, a lost saving, or `done` without being so.

    Args:
        place: that the run lies in.
        least_step: of the last saving that had come to its end.
    """
    from speechml.engine.restore import find_latest
    from speechml.errors import UserError
    from speechml.inference.verify import verify_run
    from speechml.runs.card import load_card

    for run in (path for path in place.glob("work/runs/genre_mlp/*") if path.is_dir()):
        try:
            card = load_card(run)
            if card and card.state == "done":
                yield from (f"done, but {problem}" for problem in verify_run(run).problems)
            latest = find_latest(run)
        except UserError as error:
            yield f"a whole card or checkpoint is refused: {error}"
            continue
        step = latest[1]["global_step"] if latest else 0
        if step < least_step or (least_step and card is None):
            yield f"step {least_step} was saved, and the run would go on from {step}"
    if least_step and not list(place.glob("work/runs/genre_mlp/*")):
        yield "the run is gone"


def powercut(relaunches: int, seed: int = 0, every: int = 1) -> int:
    """Replay what a run with three savings wrote, up to each call; the number of findings.

    Args:
        relaunches: how many of the states are launched again, to be compared with the run that was left alone.
        seed: of their choice.
        every: take each so manyth call only.
    """
    library = build_library("powercut")
    if library is None:
        return 0
    folder = library.parent
    whole = make_place(folder / "whole")
    log, output = folder / "calls.log", folder / "output.txt"
    code = forked.run_forked(WORDS, whole / "work", environment(whole, library, FAULT_LOG=str(log)), output)
    assert code == 0, output.read_text()
    run = next(iter(runs_of(whole).values()))
    disk, states, step, findings = Disk(), list[tuple[str, dict[str, bytes | None], int]](), 0, 0
    calls, steps = read_log(log), _steps(run)
    for number, call in enumerate(calls):
        disk.do(call)
        if (
            call.what == "fsync"
            and call.path == str(run / "checkpoints")
            and str(run / "checkpoints/last.ckpt") in disk.names
        ):
            step = steps(disk.content[disk.names[str(run / "checkpoints/last.ckpt")] or 0])
        if number % every == 0 or number == len(calls) - 1:
            states += [
                (f"call {number}, {call.what} of {Path(call.path).name}: {how}", state, step)
                for how, state in disk.states()
            ]
    place = folder / "state"
    for name, state, least in states:
        write_state(state, whole, place)
        with contextlib.redirect_stderr(io.StringIO()):
            wrong = list(wrong_state(place, least))
        findings += bool(wrong)
        for what in wrong[:3]:
            print(f"{name}: {what}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
    again: Counter[str] = Counter()
    for name, state, _ in random.Random(seed).sample(states, min(relaunches, len(states))):
        wrong = list(_relaunch(state, whole, make_place(place), library))
        findings += bool(wrong)
        again["unequal" if wrong else "equal"] += 1
        for what in wrong[:3]:
            print(f"{name}: launched again: {what}", flush=True)
        shutil.rmtree(place)
    print(
        f"powercut: {len(calls)} calls, {len(states)} states, {sum(again.values())} launched again, {findings} findings"
    )
    if not findings:
        shutil.rmtree(folder)
    return findings


def _steps(run: Path) -> Any:
    """What gives the step of a checkpoint's bytes."""
    from speechml.engine.checkpoint import read_checkpoint

    def step(content: bytearray) -> int:
        path = run.parent / "checkpoint-of-a-state"
        path.write_bytes(content)
        try:
            return int(read_checkpoint(path)["global_step"])
        finally:
            path.unlink()

    return step


def _relaunch(state: dict[str, bytes | None], whole: Path, place: Path, library: Path) -> Iterator[str]:
    """What is wrong with the run that a state becomes when its command is launched again."""
    write_state(state, whole, place)
    output = place.with_suffix(".out")
    output.write_text("")
    code = forked.run_forked(WORDS, place / "work", environment(place, library), output)
    yield from wrong_end(code, output.read_text())
    if code:
        yield f"exit code {code}: {output.read_text()[-300:]}"
        return
    yield from unequal_runs(whole, place)
    yield from left_over(place)
