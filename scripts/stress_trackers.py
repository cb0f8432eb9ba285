"""Runs that are killed at random moments and continued must stand at each tracker as the run that was left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forked import LIMIT_S, MODULES, become
from stress_resume import make_features, state_of

WORDS = (
    "speechml-train", "experiment=genre_mlp", "data.root=features.npz", "data.batch_size=8", "trainer.max_epochs=5",
    "threads=1", "checkpoint.every_n_steps=3", "callbacks.figures=null", "report=false", "logger=[csv,mlflow,wandb]",
    "trainer.log_every_n_steps=1",
    "++callbacks.lr={_target_: lightning.pytorch.callbacks.LearningRateMonitor, logging_interval: step}",  # a row a step
)  # fmt: skip
Curves = dict[str, list[tuple[int, float]]]  # (step, value), by metric


def trackers(kills: int, seed: int = 0, each: int = 8) -> int:
    """Kill runs by -9 and by TERM, `kills` times in all, go on with them, and read back what trackers have of them.

    Args:
        each: kills of a run.

    Returns:
        The number of runs of which something is doubled, lost or different.
    """
    draws, place = random.Random(seed), Path(tempfile.mkdtemp(prefix="speechml-trackers-"))
    make_features(place / "features.npz")
    begun = time.monotonic()
    alone, _, _ = killed(place, "alone", 0, 0.0, draws)
    _, _, seconds = killed(place, "again", 0, 0.0, draws)  # the database is there
    truth = journal_curves(alone)
    wrong = [f"alone: {text}" for text in differences(alone, truth)]
    done, runs, by = 0, 0, {signal.SIGKILL: 0, signal.SIGTERM: 0}
    while done < kills:
        run, numbers, last = killed(place, f"killed{runs}", min(each, kills - done), 0.8 * seconds, draws)
        seconds = (seconds + last) / 2  # other things may be at work on this machine
        done, runs = done + len(numbers), runs + 1
        for number in numbers:
            by[number] += 1
        found = differences(run, truth)
        wrong += [f"{run}: {'; '.join(found[:5])}"] * bool(found)
        print(f"{run.parent.name}: {len(found)} differences; {done} of {kills}", file=sys.stderr, flush=True)
    for text in wrong:
        print(text)
    if not wrong:
        shutil.rmtree(place)
    steps = len({step for curve in truth.values() for step, _ in curve})
    print(
        f"trackers: {done} kills ({by[signal.SIGKILL]} by -9, {by[signal.SIGTERM]} by TERM) of {runs} runs of {steps} logged "
        f"steps, {len(truth)} curves each, in W&B's files and MLflow's database; {time.monotonic() - begun:.0f} s; "
        f"{len(wrong)} runs with steps doubled, lost or different"
    )  # fmt: skip
    return len(wrong)


def killed(
    place: Path, name: str, kills: int, seconds: float, draws: random.Random
) -> tuple[Path, list[signal.Signals], float]:
    """A run killed at `kills` moments, and launched again until it is done and a launch ends well.

    Returns:
        Its folder, the signals that met it alive, and how long the last launch took, in s.
    """
    met: list[signal.Signals] = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SPEECHML_RUNS": str(place / "runs")}
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(MODULES)
    output = place / f"{name}.txt"
    while True:
        process = server.Process(target=become, args=((*WORDS, f"name={name}"), place, environment, output, output, {}))
        begun = time.monotonic()
        process.start()
        if len(met) < kills:
            process.join(draws.uniform(0, seconds))
            if process.is_alive() and process.pid:
                number = draws.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
                os.kill(process.pid, number)
                met.append(number)
        process.join(LIMIT_S)
        folders = list((place / "runs" / name).glob("*/card.json"))
        if process.exitcode == 0 and folders and state_of(folders[0].parent) == "done":
            return folders[0].parent, met, time.monotonic() - begun
        if process.exitcode not in (-signal.SIGKILL, -signal.SIGTERM, 75):
            raise SystemExit(f"a launch ended with {process.exitcode}: {output.read_text()[-2000:]}")


def differences(run: Path, truth: Curves) -> list[str]:
    """Where the trackers have another number of values at a step than one, or others than the run that was left alone."""
    found = []
    for tracker, curves in (
        ("mlflow", mlflow_curves(run)),
        ("wandb", wandb_curves(run)),
        ("journal", journal_curves(run)),
    ):
        for name in sorted(curves.keys() | truth.keys()):
            mine, expected = sorted(curves.get(name, [])), sorted(truth.get(name, []))
            if mine != expected:
                steps, wanted = ([step for step, _ in curve] for curve in (mine, expected))
                what = "values" if steps == wanted else f"steps {_short(steps, wanted)}"
                found.append(f"{tracker} has other {what} of {name}")
    return found


def _short(steps: list[int], wanted: list[int]) -> str:
    doubled = sorted({step for step in steps if steps.count(step) > 1})
    return f"(doubled {doubled[:5]}, lost {sorted({*wanted} - {*steps})[:5]}, added {sorted({*steps} - {*wanted})[:5]})"


def journal_curves(run: Path) -> Curves:
    """What the run's own journal has."""
    curves: Curves = {}
    for line in (run / "journal.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name, value in row["values"].items():
            curves.setdefault(name, []).append((row["step"], value))
    return curves


def mlflow_curves(run: Path) -> Curves:
    """What MLflow's database has of the one run of that name, read as a database."""
    import sqlite3

    key = json.loads((run / "trackers.json").read_text())["key"]
    with sqlite3.connect(run.parents[1] / ".mlflow" / "mlflow.db") as database:
        of = "SELECT run_uuid FROM tags WHERE key = 'speechml.run' AND value = ?"
        ids = database.execute(of, (key,)).fetchall()
        rows = database.execute(f"SELECT key, step, value FROM metrics WHERE run_uuid IN ({of})", (key,)).fetchall()
    if len(ids) != 1:
        return {"runs": [(len(ids), 0.0)]}
    curves: Curves = {}
    for name, step, value in rows:
        if not name.startswith("final/"):
            curves.setdefault(name, []).append((step, value))
    return curves


def wandb_curves(run: Path) -> Curves:
    """What W&B's file has of a run, read as `wandb sync` would; there must be one file."""
    curves: Curves = {}
    files = list(run.glob("wandb/*/*.wandb"))
    if len(files) != 1:
        return {"files": [(len(files), 0.0)]}
    for record in wandb_records(files[0]):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for name, value in items.items():
                if not name.startswith("_"):
                    curves.setdefault(name, []).append((int(items["_step"]), float(value)))
    return curves


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a W&B file: LevelDB's log format behind seven bytes, each a protocol buffer."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:  # no header fits into the rest of the block
            at += room
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole, at = whole + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # a full one, or the last part
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined] # made when it is imported
            record.ParseFromString(whole)
            whole = b""
            yield record
