"""A sweep on a real Slurm whose jobs are ended in every way a cluster knows must end as one that was left alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stress_resume import differences, state_of

BIN = Path(sys.executable).parent
SANDBOX = Path(__file__).with_name("slurm_sandbox.sh")
ROWS = 3  # epochs that a run has done when something happens to it
PATIENCE_S = 900.0


def sweep(runs: int, epochs: int) -> list[str]:
    """The words of a sweep of tiny runs with what has a state: momentum, a schedule."""
    return [
        "-m", "experiment=lab2b_mimo_cnn", f"seed=range({runs})", "+data.count=40", "data.batch_size=4", "optimizer=adam",
        "scheduler=one_cycle", f"trainer.max_epochs={epochs}", "threads=1", "checkpoint.every_s=3", "callbacks.figures=null",
        "callbacks.listening=null",
    ]  # fmt: skip


def ask(*words: str) -> str:
    """What a command of Slurm's prints, whether it succeeds or not."""
    return subprocess.run(words, capture_output=True, text=True, timeout=120).stdout


def running(place: Path, but: set[str], client: subprocess.Popen[bytes]) -> tuple[str, str, Path]:
    """A job of main that trains and has done some epochs: its number, node, and run; waits for one.

    Raises:
        TimeoutError: there is none, and will be none where the client has ended.
    """
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and client.poll() is None:
        for line in ask("squeue", "-h", "--array", "-p", "main", "-t", "RUNNING", "-o", "%i|%N").splitlines():
            job, node = line.split("|")
            found = _run_of(place, job)
            if job not in but and found and len(_lines(found / "metrics.csv")) > ROWS and state_of(found) == "running":
                return job, node, found
        time.sleep(0.3)
    raise TimeoutError("no job has trained")


def _run_of(place: Path, job: str) -> Path | None:
    """The run that a job computes, as its log says."""
    logs = sorted(place.glob(f".sweeps/*/*/slurm/logs/{job}_0_log.out"))
    found = re.findall(r"^run (\S+)", logs[-1].read_text(), re.MULTILINE) if logs else []
    return Path(found[-1]) if found else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def preempted(job: str, node: str, run: Path) -> None:  # noqa: ARG001 (all that can happen is called alike)
    """Somebody urgent needs the node for some seconds."""
    ask("sbatch", "-p", "urgent", "-w", node, "--output=/dev/null", "--wrap", "sleep 3")


def cancelled(job: str, node: str, run: Path) -> None:  # noqa: ARG001
    """The job is killed through Slurm."""
    ask("scancel", "--signal=KILL", job)


def killed(job: str, node: str, run: Path) -> None:  # noqa: ARG001
    """The process dies without a word, as for want of memory."""
    found = re.match(r"process (\d+)", (run / ".lock").read_text())
    if found:
        os.kill(int(found[1]), signal.SIGKILL)


def without_power(job: str, node: str, run: Path) -> None:  # noqa: ARG001
    """The node's slurmd dies with all that it has started, and comes back."""
    time.sleep(8.0)  # a job that has just begun would be forgotten by Slurm's controller itself
    for word in ("kill-node", "start-node"):
        subprocess.run([str(SANDBOX), word, node], check=True, timeout=120)


EVENTS: list[Callable[[str, str, Path], None]] = [preempted, killed, without_power, cancelled]


def slurm(runs: int = 12, epochs: int = 60, times: int = 2, limit_min: int = 1) -> int:
    """Disturb a sweep, launch it again, and compare all runs with undisturbed ones; the number of faults.

    Args:
        runs: of the sweep.
        epochs: of a run.
        times: how often each event happens.
        limit_min: time limit of a job; with a minute every run that takes longer than half of it is stopped by it besides.
    """
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        os.environ.setdefault("SPEECHML_CACHE", str(place / "cache"))
        words = sweep(runs, epochs)
        program = str(BIN / "speechml-train")
        local = ["hydra/launcher=local", "hydra.launcher.n_jobs=2", f"paths.runs={place / 'alone'}"]
        began = time.monotonic()
        subprocess.run([program, *words, *local], cwd=place, check=True)
        print(f"{runs} runs alone: {time.monotonic() - began:.0f} s", flush=True)
        limits = ["hydra/launcher=slurm", f"hydra.launcher.timeout_min={limit_min}", "hydra.launcher.signal_delay_s=30"]
        command = [program, *words, *limits, f"paths.runs={place / 'runs'}"]
        began = time.monotonic()
        client = subprocess.Popen(command, cwd=place)
        seen: set[str] = set()
        for event in EVENTS * times:
            job, node, run = running(place / "runs", seen, client)
            seen.add(job)
            print(f"{time.monotonic() - began:.0f} s: {event.__name__}: job {job} on {node}, {run.name}", flush=True)
            event(job, node, run)
        first = client.wait(PATIENCE_S)
        states = sorted(state_of(run) for run in (place / "runs").glob("[!.]*/*"))
        print(f"the first launch ended with {first} after {time.monotonic() - began:.0f} s: {states}", flush=True)
        second = subprocess.run(command, cwd=place, timeout=PATIENCE_S).returncode if first else 0
        return _faults(place, runs, second)


def _faults(place: Path, runs: int, code: int) -> int:
    found = [run for run in (place / "runs").glob("[!.]*/*") if state_of(run) == "done"]
    faults = [f"{len(found)} of {runs} runs are done"] * (len(found) != runs) + [f"exit code {code}"] * (code != 0)
    for run in found:
        faults += [f"{run.name}: {what}" for what in differences(place / "alone" / run.parent.name / run.name, run)]
    limits = sum("queued again" in log.read_text() for log in place.glob("runs/.sweeps/*/*/slurm/logs/*.out"))
    told = f"{len(found)} runs done, {limits} jobs met their time limit, {len(faults)} faults"
    print("\n".join([told, *faults]), flush=True)
    return len(faults)
