"""The GPUs of this machine: which there are, whether runs fit on one, and the driver's server that several share it by."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from speechml.errors import UserError
from speechml.sweep.jobs import Job
from speechml.sweep.local import Pool
from speechml.sweep.status import Progress

SERVER = "nvidia-cuda-mps-control"  # NVIDIA's Multi-Process Service, https://docs.nvidia.com/deploy/mps/
INSTANCE = re.compile(r"\(UUID: (MIG-[^)]+)\)")  # a part of a GPU, as `nvidia-smi -L` lists it
ASKED_S = 20  # for an answer of the driver


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; of divided ones the instances."""
    import torch  # takes seconds, so where nothing else knows

    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if names is None and count and (instances := INSTANCE.findall(_ask("nvidia-smi", "-L"))):
        return instances
    return [str(i) for i in range(count)] if names is None else [name.strip() for name in names.split(",")][:count]


def _ask(*words: str) -> str:
    """What a program of the driver says; nothing where it is not there."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=ASKED_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


class SharedGpus(Pool):
    """Runs computed by several processes on each GPU, by way of the driver's server where it has one.

    Args:
        capacity: number of processes.
        gpus: that they are spread over.
        per_gpu: processes on each.
        logs: folder for what they print.
    """

    def __init__(
        self, capacity: int, gpus: Sequence[str], per_gpu: int, logs: Path, progress: Progress | None = None
    ) -> None:
        super().__init__(capacity, gpus, logs, progress)
        self.per_gpu, self.is_checked, self.server = per_gpu, False, start_server(gpus)
        for worker in self.workers:
            worker.environment |= self.server

    def submit(self, jobs: Sequence[Job]) -> None:
        if jobs and not self.is_checked:
            from speechml.sweep.measuring import measure

            check_memory(measure(jobs[0]).gpu_bytes, self.per_gpu)
            self.is_checked = True
        super().submit(jobs)

    def close(self) -> None:
        super().close()
        if self.server:
            stop_server(self.server)


def check_memory(run_bytes: int, per_gpu: int, free: Sequence[int] | None = None) -> None:
    """Raises UserError where so many runs do not fit beside one another on the smallest GPU.

    Args:
        run_bytes: of GPU memory that one takes.
        per_gpu: runs at a time.
        free: bytes of each GPU; None: they are asked.
    """
    if free is None:
        import torch

        free = [torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())]
    if not free or not run_bytes or run_bytes * per_gpu <= min(free):
        return
    fitting = min(free) // run_bytes
    what = f"{per_gpu} runs of {run_bytes / 1e9:.1f} GB each do not fit into the {min(free) / 1e9:.1f} GB that are free on a GPU"
    fix = f"set hydra.launcher.per_gpu={fitting}" if fitting else "lower data.batch_size, or use a larger GPU"
    raise UserError(what, fix=fix)


def start_server(gpus: Sequence[str]) -> dict[str, str]:
    """Start the driver's server, by which kernels of several processes run beside one another; what its clients need.

    Nothing where there is none, where the user has one, or for instances, which it does not serve together.
    """
    if (
        not shutil.which(SERVER)
        or "CUDA_MPS_PIPE_DIRECTORY" in os.environ
        or any(name.startswith("MIG-") for name in gpus)
    ):
        return {}
    place = tempfile.mkdtemp(prefix="mps")  # short, since it holds sockets
    environment = {"CUDA_MPS_PIPE_DIRECTORY": place, "CUDA_MPS_LOG_DIRECTORY": place}
    try:
        subprocess.run(
            [SERVER, "-d"], env={**os.environ, **environment}, timeout=ASKED_S, check=True, capture_output=True
        )
    except (OSError, subprocess.SubprocessError):  # without rights to: processes then take turns
        shutil.rmtree(place, ignore_errors=True)
        return {}
    return environment


def stop_server(environment: dict[str, str]) -> None:
    """End a server that `start_server` has started."""
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            [SERVER],
            input=b"quit\n",
            env={**os.environ, **environment},
            timeout=ASKED_S,
            check=False,
            capture_output=True,
        )
    shutil.rmtree(environment["CUDA_MPS_PIPE_DIRECTORY"], ignore_errors=True)
