"""What the tests of stopping and of going on share: tiny runs, and something that happens in the middle of a step."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import composed
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.signals import Stopped
from speechml.engine.train import train
from speechml.runs.identity import run_id
from speechml.tasks.base import Task
from stress_resume import TASKS

SMALL = ("threads=1", "callbacks.figures=null", "callbacks.progress=null", "report=false")
GENRE = (*SMALL, *TASKS["genre"], "trainer.max_epochs=2", "data.batch_size=9")  # 20 steps
# The others as in scripts/stress.py, shorter.
OTHERS = {
    "waveform": (
        *SMALL, *TASKS["waveform"][:-1], "trainer.max_epochs=2", "data.batch_size=8", "callbacks.listening.recordings=1",
    ),
    "magnitude": (*SMALL, *TASKS["magnitude"], "trainer.max_epochs=2", "++trainer.limit_train_batches=3"),
    "words": (*SMALL, *TASKS["words"], "data.voices=6", "trainer.max_steps=20", "model.net.width=8"),
}  # fmt: skip


def run_in(place: str | Path, *words: str) -> Path:
    """Launch into the folder `place`, which is no part of a run's identity; the run's folder."""
    cfg = composed("train", *words, f"paths.runs={place}")
    train(cfg)
    return Path(place) / cfg.name / run_id(cfg)


def stop_in(place: str, step: int, number: int, *words: str) -> Path:
    """As `run_in`, stopped by a signal in the middle of a step."""
    with at_step(step, ask(number)), pytest.raises(Stopped) as stopped:
        run_in(place, *words)
    assert stopped.value.code == 75
    return next(Path(place).glob("*/*"))


@contextlib.contextmanager
def at_step(step: int, action: Callable[[], Any]) -> Iterator[None]:
    """Inside, `action` is called in the middle of the step of that number, from 1, of this session."""
    training_step, passed = Task.training_step, []

    def interrupted(self: Any, batch: Any, batch_idx: int) -> Any:
        passed.append(batch_idx)
        if len(passed) == step:
            action()
        return training_step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Task, "training_step", interrupted)
        yield


def ask(number: int) -> Callable[[], None]:
    """Send a signal to this process."""
    return lambda: os.kill(os.getpid(), number)


def steps_of(run: Path) -> int:
    return int(read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"])
