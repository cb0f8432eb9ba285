"""Runs side by side on one machine: threads and GPUs divided, crashes kept to their runs, stopped without loss."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, command, read_card
from speechml.sweep import local
from speechml.sweep.jobs import Job, Outcome
from speechml.sweep.local import Pool
from speechml.sweep.progress import Progress
from stress_resume import differences

PROGRAM = str(Path(sys.executable).with_name("speechml-train"))
SIDE = ("hydra/launcher=local", "hydra.launcher.n_jobs=2")
RUN = ("experiment=lab2b_mimo_cnn", *TINY, "data.batch_size=4", "optimizer=adam", "threads=1", "callbacks.figures=null")


def holders(workplace: Path) -> dict[Path, int]:
    """The processes that train, by run, of those that have done an epoch."""
    found = {}
    for table in workplace.glob("runs/lab2b_mimo_cnn/*/metrics.csv"):
        words = (table.parent / ".lock").read_text().split()
        if table.read_text().count("\n") > 1 and read_card(table.parent).get("state") == "running":
            found[table.parent] = int(words[1])
    return found


def begun(workplace: Path, *words: str) -> tuple[subprocess.Popen[str], dict[Path, int]]:
    """A sweep of two runs at a time, once both have done an epoch: its client, and who trains each."""
    client = subprocess.Popen(
        [PROGRAM, "-m", *RUN, *SIDE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while len(found := holders(workplace)) < 2 and time.monotonic() < until:
        assert client.poll() is None, client.communicate()
        time.sleep(0.05)
    return client, found


@pytest.mark.slow
def test_a_process_that_dies_fails_its_run_alone(workplace: Path) -> None:
    client, found = begun(workplace, "seed=0,1,2", "trainer.max_epochs=12")
    victim, number = next(iter(found.items()))
    os.kill(number, signal.SIGKILL)
    out, told = client.communicate(timeout=200)
    assert client.returncode == 2, told
    assert "1 of the runs failed" in told
    assert "its process died (killed by signal 9)" in told
    assert "Traceback" not in told
    states = {folder: read_card(folder)["state"] for folder in (workplace / "runs" / "lab2b_mimo_cnn").iterdir()}
    assert sorted(states.values()) == ["done", "done", "running"]
    assert states[victim] == "running"
    assert "3 runs: 2 done, 1 cut off" in out
    again = command("speechml-train", "-m", *RUN, *SIDE, "seed=0,1,2", "trainer.max_epochs=12")
    assert again.returncode == 0, again.stderr
    assert "2 done already, 1 to go on with" in again.stderr


@pytest.mark.slow
def test_runs_that_are_stopped_together_go_on_as_if_they_had_not_been(workplace: Path) -> None:
    words = ("seed=0,1", "trainer.max_epochs=15")
    client, found = begun(workplace, *words)
    os.killpg(client.pid, signal.SIGINT)  # as Ctrl-C in a terminal
    _, told = client.communicate(timeout=60)
    assert client.returncode == 75, told
    assert "Traceback" not in told
    assert {read_card(folder)["state"] for folder in found} == {"stopped"}
    assert all(read_card(folder)["command"].startswith("speechml-train -m ") for folder in found)
    again = command("speechml-train", "-m", *RUN, *SIDE, *words)
    assert again.returncode == 0, again.stderr
    assert "2 to go on with" in again.stderr
    whole = command("speechml-train", "-m", *RUN, *words, "paths.runs=whole")  # one after the other, in one process
    assert whole.returncode == 0, whole.stderr
    for folder in found:
        assert differences(workplace / "whole" / folder.parent.name / folder.name, folder) == []


@pytest.mark.slow
def test_a_sweep_can_be_cancelled_from_another_terminal(workplace: Path) -> None:
    client, _ = begun(workplace, "seed=0,1", "trainer.max_epochs=300")
    (folder,) = workplace.glob("runs/.sweeps/lab2b_mimo_cnn/*")
    ended = command("speechml", "sweep", "cancel", str(folder))
    assert ended.returncode == 0, ended.stderr
    client.send_signal(signal.SIGTERM)  # somebody is impatient, while the others are being stopped
    _, told = client.communicate(timeout=60)
    assert client.returncode == 75, told
    assert command("speechml", "sweep", "wait", str(folder)).returncode == 1
    assert command("speechml", "sweep", "cancel", str(folder)).returncode == 2


def job(number: int, label: str = "") -> Job:
    return Job(number, {}, label, f"/runs/x/{number}")


def outcomes(pool: Pool, *labels: str) -> dict[int, Outcome]:
    """What became of jobs of a pool, by their numbers."""
    pool.submit([job(number, label) for number, label in enumerate(labels)])
    return {job.number: outcome for job, outcome in pool.outcomes()}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that load nothing: each job's error is what its process sees, and the job `die` kills it."""
    program = """if True:
        import json, os, sys, time
        for line in iter(sys.stdin.readline, ""):
            print("printed", flush=True)
            if json.loads(line)["label"] == "die":
                os.kill(os.getpid(), 9)
            time.sleep(0.3)
            seen = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
            os.write(int(sys.argv[2]), (json.dumps({"error": json.dumps(seen)}) + "\\n").encode())
    """
    start: Any = subprocess.Popen
    monkeypatch.setattr(
        local, "start_worker", lambda *words, **keys: start([sys.executable, "-c", program, *words], **keys)
    )


@pytest.mark.usefixtures("stand_in")
def test_each_process_sees_one_gpu_and_its_share_of_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local, "cores", lambda: 8)
    pool = Pool(4, ["GPU-a", "3"], tmp_path / "logs")
    seen = [json.loads(outcome.error) for outcome in outcomes(pool, *"abcd").values()]
    pool.close()
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in seen) == ["3", "3", "GPU-a", "GPU-a"]
    assert {one["OMP_NUM_THREADS"] for one in seen} == {"2"}
    assert {log.read_text() for log in (tmp_path / "logs").iterdir()} == {"printed\n"}


@pytest.mark.usefixtures("stand_in")
def test_a_process_that_follows_a_dead_one_takes_its_gpu(tmp_path: Path) -> None:
    pool = Pool(2, ["a", "b"], tmp_path / "logs")
    first = outcomes(pool, "", "die")
    assert "its process died (killed by signal 9)" in first[1].error
    assert first[1].may_retry
    seen = [json.loads(outcome.error)["CUDA_VISIBLE_DEVICES"] for outcome in outcomes(pool, "", "").values()]
    pool.close()
    assert sorted(seen) == ["a", "b"]


@pytest.mark.parametrize(
    ("visible", "listed", "found"),
    [
        ("0,2", "", ["0", "2"]),
        ("", "GPU 0: H100", []),
        (None, "GPU 0: H100\nGPU 1: H100\n", ["0", "1"]),
        (None, "", []),
    ],
)
def test_gpus_are_those_that_are_visible(
    visible: str | None, listed: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    stand_in = tmp_path / "nvidia-smi"
    stand_in.write_text(f"#!/bin/sh\nprintf '{listed}'\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert local.visible_gpus() == found


def test_a_terminal_has_a_line_for_each_run_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress(2, live=True)
    for number in (0, 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "metrics.csv").write_text("epoch\n" + "1\n" * (number + 3))
        progress.begin(Job(number, {}, f"seed={number}", str(folder)))
    progress.redraw()
    assert "seed=0  epoch 3" in (told := capsys.readouterr().err)
    assert "seed=1  epoch 4" in told
    progress.end(tmp_path / "0", "seed=0", "a reason")
    told = capsys.readouterr().err
    assert told.startswith("\x1b[2F\x1b[J")  # the two lines make room
    assert "1/2  failed: a reason" in told
    progress.redraw()
    assert "seed=0" not in capsys.readouterr().err


def test_the_worker_program_answers_what_it_cannot_compute_and_ends_when_there_are_no_more_jobs(tmp_path: Path) -> None:
    """The worker program itself; what a run prints or reads is neither a job nor an outcome."""
    pool = Pool(1, [], tmp_path / "logs")
    pool.submit([job(0)])
    ((_, outcome),) = pool.outcomes()
    assert outcome.error.startswith("KeyError")  # no config
    assert outcome.may_retry
    assert "Traceback" in (tmp_path / "logs" / "worker-0.log").read_text()
    (worker,) = pool.workers
    assert worker
    pool.close()
    assert worker.process.returncode == 0
