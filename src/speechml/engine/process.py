"""What every process of a run does before it computes."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import Any

from speechml.engine.signals import SIGNALS

own_threads: list[int] = []  # what the machine and its launcher gave this process, first

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def prepare(config: dict[str, Any]) -> None:
    """What every process of a run does first."""
    quiet_third_parties()
    keep_memory()
    skip_filling()
    exact_float32()
    import torch

    own_threads.append(torch.get_num_threads())
    torch.set_num_threads(int(config["threads"] or own_threads[0]))  # the run before may have had another number


def set_seed(seed: int) -> None:
    """Seed the generators of Python, numpy and torch; Lightning's function would leave variables in the environment."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def keep_memory() -> None:
    """Let the allocator keep what large tensors have freed, instead of giving it back and taking it anew at every step.

    By glibc's defaults each tensor of more than a few MB is fresh pages from the system, which it must clear: half of a
    training step of lab 2B's network (55 ms instead of 105 ms on two cores). Without glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def end_with(parent: int) -> None:
    """Let a thread end this process as soon as `parent`, by its number, has ended, whatever ended it.

    Helpers of a killed process would else go on, and hold its locks.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)


def start_worker(kind: str, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start `python -m speechml.worker`, which ends with this process; signals wait until it can note them.

    Args:
        kind, words: of its command line, around the number of this process.
        options: of `subprocess.Popen`.
    """
    command = [sys.executable, "-u", "-m", "speechml.worker", kind, str(os.getpid()), *words]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # which the other inherits: it is loading for seconds
    try:
        return subprocess.Popen(command, **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def exact_float32() -> None:
    """Make float32 mean float32 on GPUs too: cuDNN's convolutions round their inputs to 10 bits (TF32) by default."""
    import torch

    torch.backends.cudnn.allow_tf32 = False


def skip_filling() -> None:
    """Do not write a value into every new tensor in deterministic mode.

    That guards against reading memory that was never written, at half the speed again; nothing here does so, and the
    tests compare runs bit for bit.
    """
    import torch

    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def quiet_third_parties() -> None:
    """Silence what Lightning prints of itself; what a person needs to know is said by speechml."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorBoard's native parts
    # Batches are gathered from memory by index: loader processes would only copy.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # The run folder is ours, and a resumed run finds its checkpoints there on purpose.
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
    # The epoch may be shorter than Lightning's default logging period; the loggers get epochs.
    warnings.filterwarnings("ignore", ".*The number of training batches .* is smaller than the logging interval.*")
    # Every rank has the items of all ranks when scores are computed, so there is nothing to average.
    warnings.filterwarnings("ignore", ".*It is recommended to use .*sync_dist=True.*")
    # Of a login node; what a cluster starts is started by speechml, or said in the environment.
    warnings.filterwarnings("ignore", ".*The `srun` command is available.*")
    # Lightning's own tree flattening asks for a newer spelling.
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
