"""What any process of ours asks of its machine, before anything heavy is loaded and before it computes."""

from __future__ import annotations

import ctypes
import getpass
import io
import locale
import logging
import os
import platform
import random
import signal
import sys
import warnings
from typing import TypeVar

# A terminal's Ctrl-C, its end, `kill`, and what clusters send ahead of a time limit or a preemption.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
IGNORED_WARNINGS = (
    # Batches are gathered from memory by index: loader processes would only copy.
    ".*does not have many workers.*",
    # The run folder is ours, and a resumed run finds its checkpoints there on purpose.
    ".*Checkpoint directory .* exists and is not empty.*",
    # The epoch may be shorter than Lightning's default logging period; the loggers get epochs.
    ".*The number of training batches .* is smaller than the logging interval.*",
    # Every rank has the items of all ranks when scores are computed, so there is nothing to average.
    ".*It is recommended to use .*sync_dist=True.*",
    # Of a login node; what a cluster starts is started by speechml, or said in the environment.
    ".*The `srun` command is available.*",
    # Lightning's own tree flattening asks for a newer spelling.
    ".*isinstance.treespec, LeafSpec.*",
)

HOMES = ("SPEECHML_RUNS", "SPEECHML_CACHE", "SPEECHML_CONF")  # variables that name folders
Value = TypeVar("Value")
own_threads: list[int] = []  # what the machine and its launcher gave this process, first


def adapt_to_environment() -> None:
    """Read and write text as UTF-8 whatever the locale says, escape what the terminal cannot show, and expand `~`.

    In a process with another encoding, Python is begun again in its UTF-8 mode: names and files would be read wrongly.
    """
    if not sys.flags.utf8_mode and locale.getencoding().lower().replace("-", "") != "utf8":
        os.environ["PYTHONUTF8"] = "1"  # of the processes that this one starts
        os.environ.setdefault("PYTHONIOENCODING", f"{locale.getencoding()}:backslashreplace")
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for name in HOMES:
        if os.environ.get(name, "").startswith("~"):  # as it is written in a file of a service or a container
            os.environ[name] = os.path.expanduser(os.environ[name])  # noqa: PTH111 (pathlib raises where there is no home)


def user_name() -> str:
    """Who runs this process: the name of the user, or the number, where a container knows no name of it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())


def prepare_process(threads: int | None) -> None:
    """What every process of a run does first: quiet, memory, exact arithmetic, the number of threads.

    Args:
        threads: that compute; None: those that the process was given.
    """
    import torch

    keep_memory()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorBoard's native parts
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    # In deterministic mode torch writes a value into every new tensor, against reading memory that was never written, at
    # half the speed again; nothing here does so, and the tests compare runs bit for bit.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32: convolutions would round their inputs to 10 bits
    own_threads.append(torch.get_num_threads())
    torch.set_num_threads(threads or own_threads[0])  # the run before may have had another number


def keep_memory() -> None:
    """Let the allocator keep what large tensors have freed, instead of giving it back and taking it anew at every step.

    By glibc's defaults each tensor of more than a few MB is fresh pages from the system, which it must clear: half of a
    training step of lab 2B's network (55 ms instead of 105 ms on two cores). Without glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def set_seed(seed: int) -> None:
    """Seed the generators of Python, numpy and torch; Lightning's function would leave variables in the environment."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def in_group() -> bool:
    """Whether this process is one of a group that trains together."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def gather_from_ranks(own: Value) -> list[Value]:
    """What each rank gives, in their order."""
    import torch.distributed as dist

    if not in_group():
        return [own]
    gathered = [own] * dist.get_world_size()
    dist.all_gather_object(gathered, own)
    return gathered
