"""Commands forked from a process that has loaded the packages, which takes most of the time of a short one."""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import os
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LIMIT_S = 300  # a command that takes longer hangs
PROGRAMS = {"speechml": "cli:app", "speechml-train": "train:main", "speechml-evaluate": "evaluate:main"}
# What commands import on their way.
MODULES = [
    "speechml.engine.train", "speechml.models", "speechml.data.spoken_pairs", "speechml.report.run_page",
    "torch.utils.tensorboard", "tensorboard", "pystoi", "pesq", "scipy.signal", "tqdm",
]  # fmt: skip


def run_forked(
    words: Sequence[str], place: Path, environment: Mapping[str, str], output: Path, errors: Path | None = None,
    *, limit_s: float = LIMIT_S, limits: Mapping[str, int] | None = None,
) -> int | None:  # fmt: skip
    """Run `speechml-train`, `speechml-evaluate` or `speechml` as in a process of its own.

    Args:
        words: the command.
        place: the folder that it works in.
        environment: its variables.
        output: file for what it prints.
        errors: file for what it prints to stderr; None: `output`.
        limit_s: how long it may take.
        limits: `cpu_s`, seconds that it may compute, and `memory_mb`, memory that it may have beside what is loaded.

    Returns:
        The exit code; None where it hung and was killed.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(MODULES)
    arguments = (words, place, dict(environment), output, errors or output, dict(limits or {}))
    process = server.Process(target=become, args=arguments)
    process.start()
    process.join(limit_s)
    if process.exitcode is None:
        process.kill()
        return None
    return process.exitcode


def become(
    words: Sequence[str], place: Path, environment: dict[str, str], output: Path, errors: Path, limits: dict[str, int]
) -> None:
    """Be a command until its end, in a process that was just forked."""
    if "cpu_s" in limits:
        resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_s"],) * 2)
    if "memory_mb" in limits:
        loaded = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (loaded + (limits["memory_mb"] << 20),) * 2)
    for number, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # found anew, in this environment
    sys.argv = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    module, _, function = PROGRAMS[words[0]].partition(":")
    try:
        getattr(importlib.import_module(f"speechml.{module}"), function)()
    finally:
        atexit._run_exitfuncs()  # which a forked process leaves out, and a command of its own does not
