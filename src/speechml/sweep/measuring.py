"""What a run of a sweep will take in memory and time, from a short training of it in a process of its own."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf, open_dict

from speechml.children import start_worker
from speechml.contracts import Config
from speechml.errors import UserError
from speechml.sweep.jobs import Job, load_job
from speechml.tasks.training_length import count_batches, count_epochs

BATCHES = 16  # of training that are measured
WARM = 4  # of them that are not counted: the first take longer


@dataclass(frozen=True)
class Measured:
    """What a short training took.

    Attributes:
        memory_bytes: of the process at most.
        gpu_bytes: that torch has reserved on a GPU at most; 0 without one.
        start_s: until packages were loaded.
        fixed_s: of a run beside its batches and the validations of its training: data, test, figures, page.
        batch_s: of a training batch, the next one's loading included.
        validation_s: of a validation within the training.
        batches, validations: of a whole training, at most: it may stop early.
    """

    memory_bytes: int
    gpu_bytes: int
    start_s: float
    fixed_s: float
    batch_s: float
    validation_s: float
    batches: int
    validations: int

    @property
    def run_s(self) -> float:
        """Seconds that a whole run takes."""
        return self.fixed_s + self.batches * self.batch_s + self.validations * self.validation_s


class _Clock(pl.Callback):
    """Notes when batches end, and how long validations take."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.validations: list[float] = []
        self.batches = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self.batches = count_batches(trainer.datamodule.train_dataloader()) or 0  # type: ignore[attr-defined] # Lightning sets it
        self.ends.append(time.perf_counter())

    def on_train_batch_end(self, *_: object) -> None:
        self.ends.append(time.perf_counter())

    def on_validation_start(self, *_: object) -> None:
        self.begun = time.perf_counter()

    def on_validation_end(self, *_: object) -> None:
        self.validations.append(time.perf_counter() - self.begun)


class _Trial:
    """What the engine is given as the trial of a search, for the sake of its callback."""

    needs_validation = False

    def __init__(self) -> None:
        self.clock = _Clock()

    def callbacks(self, watched: str, ranks: int) -> list[pl.Callback]:  # noqa: ARG002 (as trials are asked)
        """The clock."""
        return [self.clock]

    def check_pruned(self) -> None:
        """Nothing is pruned."""


def measure_here(job: Job, start_s: float) -> Measured:
    """Train and test the run of a job in this process, but for all batches after the first ones.

    Args:
        start_s: that loading has taken.
    """
    from speechml.engine.train import train

    cfg, trial, began = load_job(job), _Trial(), time.perf_counter()
    trainer: Config = OmegaConf.to_container(cfg.trainer, resolve=True)  # type: ignore[assignment] # a mapping
    with tempfile.TemporaryDirectory() as runs:
        _shorten(cfg, runs)
        train(cfg, trial)
    took, clock = time.perf_counter() - began, trial.clock
    counted = clock.ends[min(WARM, len(clock.ends) - 2) :]
    batch_s, validation_s = (counted[-1] - counted[0]) / (len(counted) - 1), sum(clock.validations)
    node = {"min_epochs": None, **trainer, **count_epochs(trainer, clock.batches)}
    epochs = int(node["max_epochs"])
    usual = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Measured(
        usual, _gpu_bytes(), start_s, took - (len(clock.ends) - 1) * batch_s - validation_s, batch_s, validation_s,
        epochs * clock.batches, math.ceil(epochs / (node.get("check_val_every_n_epoch") or 1)),
    )  # fmt: skip


def _shorten(cfg: DictConfig, runs: str) -> None:
    """Let a config be of a training of a few batches, in a folder of its own."""
    with open_dict(cfg):
        OmegaConf.update(cfg, "trainer.limit_train_batches", BATCHES, force_add=True)
        changes = {"trainer.max_epochs": 1, "trainer.max_steps": -1, "trainer.check_val_every_n_epoch": 1,
                   "paths.runs": runs, "engine": "lightning", "redo": False}  # fmt: skip
        for key, value in changes.items():
            OmegaConf.update(cfg, key, value)


def _gpu_bytes() -> int:
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0


def measure(job: Job) -> Measured:
    """What the run of a job takes, measured in a process of its own. Raises UserError where it fails."""
    results, theirs = os.pipe()
    process = start_worker(
        "measure",
        str(theirs),
        pass_fds=(theirs,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    printed, _ = process.communicate(f"{json.dumps(asdict(job))}\n".encode())
    with os.fdopen(results) as answers:
        line = answers.readline()
    if not line:
        last = [line.removeprefix("error: ") for line in printed.decode(errors="replace").strip().splitlines()[-1:]]
        raise UserError(
            f"{job.label or job.folder} could not be measured", "".join(last) or f"exit code {process.returncode}"
        )
    return Measured(**json.loads(line))


def describe(measured: Measured, label: str, count: int) -> str:
    """What was measured of one run, and what so many take one after another."""
    from speechml.runs.tables import format_duration, format_size

    gpu = f", {format_size(measured.gpu_bytes)} of the GPU" if measured.gpu_bytes else ""
    one = f"{format_size(measured.memory_bytes)} of memory{gpu}, {format_duration(measured.run_s)} at most"
    several = f"; {count} one after another {format_duration(measured.start_s + count * measured.run_s)}" * (count > 1)
    return f"Measured on {label or 'the run'}: {one}{several}"
