"""Runs that are killed at random moments and continued must end as the run that was left alone, bit for bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PROGRAM = str(Path(sys.executable).with_name("speechml-train"))
# A tiny run of each task, with what has a state: dropout, augmentation, momentum, a schedule, early stopping.
ALL = ("threads=1", "checkpoint.every_n_steps=3", "callbacks.figures=null")
TASKS: dict[str, tuple[str, ...]] = {
    "waveform": (
        "experiment=lab2b_mimo_cnn", "+data.count=40", "data.batch_size=4", "optimizer=adam", "scheduler=one_cycle",
        "trainer.max_epochs=6", "callbacks.listening=null",
    ),
    "magnitude": (
        "experiment=hw2_cnn2d_tuned", "data=spoken_pairs", "+data.count=40", "data.batch_size=4", "trainer.max_epochs=3",
        "+trainer.limit_train_batches=8", "callbacks.listening=null",
    ),
    "words": (
        "experiment=words_tuned", "data=spoken_words", "data.voices=10", "data.batch_size=16", "trainer.max_steps=40",
        "callbacks=words_book", "callbacks.figures=null",
    ),
    "genre": (
        "experiment=genre_mlp", "data.root=features.npz", "model.net.dropout=0.2", "trainer.max_epochs=20",
        "data.batch_size=4",
    ),
}  # fmt: skip


def make_features(path: Path, each: int = 60) -> None:
    """Rows of 12 features, `each` of three genres, in the format of the exercise."""
    draws = np.random.default_rng(0)
    genres = np.repeat([0, 1, 2], each)
    rows = draws.normal(genres[:, None] * np.linspace(0.2, 1.5, 12), 1.0, (len(genres), 12))
    np.savez(path, Xdata=np.abs(rows) + 0.1, Ydata=genres[:, None])


def differences(one: Path, other: Path) -> list[str]:
    """What is not equal between two runs' checkpoints, scores, predictions, rows of metrics and events, in words."""
    import torch

    found: list[str] = []
    for name in ("last", "best"):
        a, b = (
            torch.load(run / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=True)
            for run in (one, other)
        )
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "resume"):
            found += [f"{name}.ckpt: {place}" for place in _unequal(a.get(key), b.get(key), key)]
    cards = [json.loads((run / "card.json").read_text()) for run in (one, other)]
    for key in ("scores", "monitored", "epochs", "state"):
        found += [f"card.json: {place}" for place in _unequal(cards[0][key], cards[1][key], key)]
    with np.load(one / "predictions.npz") as a, np.load(other / "predictions.npz") as b:
        found += [f"predictions.npz: {place}" for place in _unequal(dict(a), dict(b), "")]
    if (one / "metrics.csv").read_text() != (other / "metrics.csv").read_text():
        found.append("metrics.csv")
    return found + [f"events: {place}" for place in _unequal(events(one), events(other), "")]


# Times and places.
PASSING = ("training_s", "logs", "dirpath", "best_model_path", "best_k_models", "kth_best_model_path")


def _unequal(a: Any, b: Any, place: str) -> list[str]:
    """Where two nested containers differ; arrays and tensors must be equal in every bit."""
    import torch

    if place.rsplit(".", 1)[-1] in PASSING:
        return []
    if isinstance(a, dict) and isinstance(b, dict):
        found = [f"{place}.{key} is in one only" for key in a.keys() ^ b.keys()]
        return found + [text for key in a.keys() & b.keys() for text in _unequal(a[key], b[key], f"{place}.{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [text for i, (x, y) in enumerate(zip(a, b, strict=True)) for text in _unequal(x, y, f"{place}[{i}]")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        same = a.dtype == b.dtype and a.tobytes() == b.tobytes()
    else:
        same = type(a) is type(b) and (a == b or (a != a and b != b))
    return [] if same else [f"{place} is {_short(a)} and {_short(b)}"]


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) < 60 else f"{text[:57]}..."


def events(run: Path) -> list[tuple[str, int, str]]:
    """Tag, step and content of everything in TensorBoard's files, as it is in them, in their order."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader  # type: ignore[import-untyped]
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]

    found = []
    for path in sorted(run.glob("events.out.tfevents.*")):
        for raw in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(raw)
            found += [(value.tag, event.step, _content(value)) for value in event.summary.value]
    return sorted(found)


def _content(value: Any) -> str:
    if value.HasField("metadata") and value.metadata.plugin_data.plugin_name == "hparams":
        return "hparams"  # holds the time at which the run began
    return str(value.simple_value) if value.HasField("simple_value") else value.SerializeToString().hex()


def state_of(run: Path) -> str:
    """What the card says, `` where there is none."""
    try:
        return str(json.loads((run / "card.json").read_text())["state"])
    except FileNotFoundError:
        return ""


def _begin(folder: Path, words: tuple[str, ...], out: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with out.open("ab") as file:
        return subprocess.Popen([PROGRAM, *ALL, *words], cwd=folder, env=environment, stdout=file, stderr=file)


def _appeared(folder: Path, process: subprocess.Popen[bytes]) -> Path | None:
    """The run's folder as soon as this launch has claimed it."""
    while process.poll() is None:
        for card in folder.glob("runs/*/*/card.json"):
            if (card.parent / ".lock").read_text().startswith(f"process {process.pid} "):
                return card.parent
        time.sleep(0.005)
    return next((card.parent for card in folder.glob("runs/*/*/card.json")), None)


def killed(
    folder: Path, words: tuple[str, ...], seconds: float, kills: int, draws: random.Random
) -> tuple[Path, int, float]:
    """A run killed at `kills` moments of `seconds`, if it lives so long, and launched again until it is done.

    Returns:
        Its folder, how often it was killed, and how long the last launch took from its card to its end, in s.
    """
    done = 0
    while True:
        process = _begin(folder, words, folder / "output.txt")
        run, begun = _appeared(folder, process), time.monotonic()
        if done < kills:
            try:
                process.wait(draws.uniform(0, 0.8 * seconds))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                done += 1
        process.wait()
        if run is not None and state_of(run) == "done":
            return run, done, time.monotonic() - begun
        if process.returncode not in (0, -signal.SIGKILL):
            raise SystemExit(f"a launch failed: {(folder / 'output.txt').read_text()[-2000:]}")


def resume(kills: int, seed: int = 0, tasks: tuple[str, ...] = tuple(TASKS)) -> int:
    """Kill runs of each task, `kills` times in all, and compare what they end in; the number of runs that differ."""
    draws, failures, done, runs, went_on = random.Random(seed), 0, 0, 0, 0
    place = Path(tempfile.mkdtemp(prefix="speechml-stress-"))
    alone: dict[str, tuple[Path, float]] = {}
    while done < kills:
        task = tasks[runs % len(tasks)]
        if task not in alone:
            run, _, seconds = killed(_folder(place / task / "alone"), TASKS[task], 0, 0, draws)
            alone[task] = run, seconds
        whole, seconds = alone[task]
        share = min(kills - done, -(-kills // len(tasks)))
        run, times, _ = killed(_folder(place / task / f"killed{runs}"), TASKS[task], seconds, share, draws)
        done, runs = done + times, runs + 1
        went_on += (run.parents[2] / "output.txt").read_text().count("after step")
        found = differences(whole, run)
        if found:
            failures += 1
            print(f"{task}, killed {times} times (seed {seed}): {'; '.join(found[:5])}; kept in {run}")
        print(f"{task}: killed {times} times, {len(found)} differences; {done} of {kills}", file=sys.stderr, flush=True)
    if not failures:
        shutil.rmtree(place)
    print(
        f"resume: {done} kills of {runs} runs of {len(alone)} tasks, {went_on} times continued from a checkpoint "
        f"(else killed before the first); {failures} failures"
    )
    return failures


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    make_features(path / "features.npz")
    return path
