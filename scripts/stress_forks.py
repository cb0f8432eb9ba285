"""A server that forks commands of speechml-train: they need not import torch again, which takes seconds."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT_S = 240  # a launch that takes longer hangs
# What a launch imports on its way, so that the server has it before it forks.
MODULES = (
    "speechml.train", "speechml.engine.train", "speechml.engine.trainer", "speechml.models", "speechml.tasks",
    "speechml.callbacks", "speechml.data", "speechml.data.spoken_pairs", "speechml.data.synthetic.espeak",
    "speechml.runs.predictions", "soundfile", "soxr", "lightning.pytorch", "lightning.pytorch.loggers", "tensorboard",
    "torch.utils.tensorboard", "torchmetrics", "pystoi", "scipy.signal", "pesq", "tqdm", "hydra.core.hydra_config",
    "hydra._internal.core_plugins.basic_launcher", "torch._dynamo",
)  # fmt: skip


def environment(place: Path) -> dict[str, str]:
    """One thread, and a cache and temporary files of our own, empty at first."""
    ours = {"OMP_NUM_THREADS": "1", "SPEECHML_CACHE": str(place / "cache"), "TMPDIR": str(place / "tmp")}
    return {**os.environ, **ours}


@contextmanager
def fork_server(place: Path, processes: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has imported everything, computed nothing, and forks a launch for each that it is told of."""
    server = subprocess.Popen(
        [sys.executable, __file__, str(processes)], cwd=place / "work", env=environment(place), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with server:
        yield server
        assert server.stdin is not None
        server.stdin.close()


def forked(server: subprocess.Popen[str], commands: list[list[str]], outputs: list[Path]) -> list[int]:
    """The exit codes of commands that the server runs, each saying what it says into its output."""
    from speechml.storage.progress import progress

    assert server.stdin is not None
    assert server.stdout is not None
    batch = [(words, str(output)) for words, output in zip(commands, outputs, strict=True)]
    server.stdin.write(json.dumps(batch) + "\n")
    server.stdin.flush()
    codes: dict[int, int] = {}
    for _ in progress(batch, len(batch), "launching"):
        line = server.stdout.readline()
        if not line:
            raise SystemExit("the server of launches has ended")
        number, code = line.split()
        codes[int(number)] = int(code)
    return [codes[number] for number in range(len(batch))]


def serve(processes: int) -> None:
    """The server: read batches of launches, fork at most `processes` at once, write the number and code of each."""
    import importlib

    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"note: {name} is not imported ahead ({error})", file=sys.stderr)
    threads = len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").is_dir() else 1
    if threads > 1:
        raise SystemExit(f"the server of launches has {threads} threads and cannot fork safely")
    for line in sys.stdin:
        running: dict[int, int] = {}
        for number, (words, output) in enumerate(json.loads(line)):
            if len(running) == processes:
                reap(running)
            pid = os.fork()
            if not pid:
                become(words, output)
            running[pid] = number
        while running:
            reap(running)


def reap(running: dict[int, int]) -> None:
    """Wait for a launch and tell its code."""
    pid, status = os.wait()
    if pid in running:
        print(running.pop(pid), os.waitstatus_to_exitcode(status), flush=True)


def become(words: list[str], output: str) -> None:
    """Be a launch until its end, in a process that was just forked."""
    from speechml.train import main

    signal.alarm(LIMIT_S)  # ends the process
    said, nothing = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), os.open(os.devnull, os.O_RDONLY)
    for old, new in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(old, new)
    sys.argv, code = words, 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
