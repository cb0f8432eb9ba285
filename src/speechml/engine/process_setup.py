"""What every process of a run does before it computes."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from typing import Any

from speechml.engine.signals import SIGNALS
from speechml.process import keep_memory

own_threads: list[int] = []  # what the machine and its launcher gave this process, first


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


def start_worker(kind: str, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start `python -m speechml.worker`, which ends with this process; signals wait until it can note them.

    Args:
        kind, words: of its command line, around the number of this process.
        options: of `subprocess.Popen`.
    """
    command = [sys.executable, "-P", "-u", "-m", "speechml.worker", kind, str(os.getpid()), *words]
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
