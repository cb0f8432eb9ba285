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

from conftest import SMALL_CARD, TINY, command, composed, read_card, succeed, write_card
from speechml.errors import UserError
from speechml.sweep import gpus, local
from speechml.sweep.jobs import Job, Outcome, compute, dump_job, lost_outcome
from speechml.sweep.local import InProcess, Pool
from speechml.sweep.sweep_command import SweepCommand
from stress_resume import differences

PROGRAM = str(Path(sys.executable).with_name("speechml-train"))
SIDE = ("hydra/launcher=local", "hydra.launcher.n_jobs=2")
RUN = (
    "experiment=lab2b_mimo_cnn",
    "report=false",
    *TINY,
    "data.batch_size=4",
    "optimizer=adam",
    "threads=1",
    "callbacks.figures=null",
)


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
    program, pipe = [PROGRAM, "-m", *RUN, *SIDE, *words], subprocess.PIPE
    client = subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
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
    again = succeed("speechml-train", "-m", *RUN, *SIDE, "seed=0,1,2", "trainer.max_epochs=12")
    assert "2 done already, 1 to go on with" in again.stderr


@pytest.mark.slow
def test_runs_of_a_sweep_that_is_cancelled_go_on_as_if_they_had_not_been_stopped(workplace: Path) -> None:
    words = ("seed=0,1", "trainer.max_epochs=30")
    client, found = begun(workplace, *words)
    (folder,) = workplace.glob("runs/.sweeps/lab2b_mimo_cnn/*")
    succeed("speechml", "sweep", "cancel", str(folder))  # from another terminal
    client.send_signal(signal.SIGTERM)  # somebody is impatient, while the others are being stopped
    _, told = client.communicate(timeout=60)
    assert client.returncode == 75, told
    assert "Traceback" not in told
    assert {read_card(folder)["state"] for folder in found} == {"stopped"}
    for card in map(read_card, found):  # the command is the run's own
        program, *overrides = card["command"].split()
        assert program == "speechml-train"
        assert "-m" not in overrides
        assert f"seed={card['seed']}" in overrides
    assert command("speechml", "sweep", "wait", str(folder)).returncode == 1
    assert command("speechml", "sweep", "cancel", str(folder)).returncode == 2
    again = succeed("speechml-train", "-m", *RUN, *SIDE, *words)
    assert "2 to go on with" in again.stderr
    succeed("speechml-train", "-m", *RUN, *words, "paths.runs=whole")  # one after the other, in one process
    for folder in found:
        assert differences(workplace / "whole" / folder.parent.name / folder.name, folder) == []


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
            (job,) = json.loads(line)
            if job["label"] == "die":
                os.kill(os.getpid(), 9)
            time.sleep(0.3)
            seen = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
            os.write(int(sys.argv[2]), (json.dumps([job["number"], {"error": json.dumps(seen)}]) + "\\n").encode())
    """
    start: Any = subprocess.Popen
    monkeypatch.setattr(
        local, "start_worker", lambda *words, **keys: start([sys.executable, "-c", program, *words], **keys)
    )


@pytest.mark.usefixtures("stand_in")
def test_each_process_sees_one_gpu_and_its_share_of_the_cores_as_does_one_that_follows_a_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local, "cores", lambda: 8)
    pool = Pool(4, ["GPU-a", "3"], tmp_path / "logs")
    first = outcomes(pool, "", "", "", "die")
    assert "its process died (killed by signal 9)" in first[3].error
    assert first[3].may_retry
    seen = [json.loads(outcome.error) for outcome in outcomes(pool, *"abcd").values()]
    pool.close()
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in seen) == ["3", "3", "GPU-a", "GPU-a"]
    assert {one["OMP_NUM_THREADS"] for one in seen} == {"2"}
    assert {log.read_text() for log in (tmp_path / "logs").iterdir()} == {"printed\nprinted\n"}


@pytest.mark.parametrize(
    ("visible", "found"), [("0,2", ["0", "2"]), ("GPU-a, 1,-1", ["GPU-a", "1"]), ("", []), (None, ["0", "1"])]
)
def test_gpus_are_those_that_are_visible(
    visible: str | None, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(found))
    assert gpus.visible_gpus() == found


@pytest.mark.parametrize(
    ("state", "redo", "failure"),
    [("done", False, ""), ("done", True, "it died"), ("running", False, "it died"), ("stopped", False, "stopped")],
)
def test_the_card_tells_what_is_there_of_a_run_whose_process_died(
    state: str, redo: bool, failure: str, tmp_path: Path
) -> None:
    write_card(tmp_path, {**SMALL_CARD, "state": state})
    assert lost_outcome(str(tmp_path), "it died", Job(0, {"config": {"redo": redo}}, "", "")).failure == failure


def test_a_search_computes_its_trials_side_by_side_and_the_run_after_it_alone() -> None:
    command = SweepCommand(composed("train", "hydra.sweep.dir=s", keep_hydra=True), None, [])  # type: ignore[arg-type] # none is asked
    assert command.open_launcher(None, least=2, most=9).capacity == 2
    assert isinstance(command.open_launcher(None, most=1), InProcess)
    assert command.composer is command.composer  # which keeps what it has composed


def test_a_launcher_of_others_is_refused_though_its_class_has_the_name_of_ours() -> None:
    other = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    words = ("hydra.sweep.dir=s", "hydra/launcher=slurm", f"hydra.launcher._target_={other}")
    command = SweepCommand(composed("train", *words, keep_hydra=True), None, [])  # type: ignore[arg-type] # none is asked
    with pytest.raises(UserError, match="cannot compute trainings; choose basic, local or slurm"):
        command.open_launcher(None, most=1)


def test_a_config_is_refused_before_anything_heavy_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("hparams_search=mimo_cnn", "optimizer.lr=-1")
    refused = dump_job(composed("train", *words, keep_hydra=True), 0, "", Path("x"))
    for heavy in ("speechml.sweep.trial", "speechml.engine.train"):
        monkeypatch.setitem(sys.modules, heavy, None)  # it cannot be imported
    assert "optimizer.lr is -1" in compute(refused).error


def test_the_worker_program_answers_what_it_cannot_compute_and_ends_when_there_are_no_more_jobs(tmp_path: Path) -> None:
    """The worker program itself; what a run prints or reads is neither a job nor an outcome."""
    pool = Pool(1, [], tmp_path / "logs")
    pool.submit([job(0)])
    ((_, outcome),) = pool.outcomes()
    assert outcome.error.startswith("KeyError")  # no config
    assert outcome.may_retry
    assert "Traceback" in (tmp_path / "logs" / "worker-0.log").read_text()
    process = pool.workers[0].process
    assert process
    assert process.stdin
    process.stdin.close()
    assert process.wait(60) == 0
    pool.close()


DONE = {**SMALL_CARD, "state": "done", "monitored": 0.25, "scores": {"val/loss": 0.25, "val/acc": 0.5}}


def job_of(folder: Path, **config: object) -> Job:
    return Job(0, {"config": {"checkpoint": {"monitor": "val/loss"}, "objective": None, **config}}, "", str(folder))


@pytest.mark.parametrize(
    ("card", "config", "value", "failure"),
    [
        (DONE, {}, 0.25, ""),
        (DONE, {"objective": "val/acc"}, 0.5, ""),
        (DONE, {"objective": "${checkpoint.monitor}"}, 0.25, ""),
        (DONE, {"objective": "val/f1"}, None, "objective=val/f1 is no score of this run; it has val/acc, val/loss"),
        (DONE, {"redo": True}, None, "it died"),
        ({**DONE, "monitored": None}, {}, None, ""),
        ({**DONE, "page": True}, {}, 0.25, ""),
        ({**DONE, "state": "running"}, {}, None, "it died"),
        ({**DONE, "state": "failed"}, {}, None, "it died"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_process_that_died_when_its_run_was_done_has_the_score_of_the_card(
    card: dict[str, Any], config: dict[str, Any], value: float | None, failure: str, tmp_path: Path
) -> None:
    write_card(tmp_path, card)
    outcome = lost_outcome(str(tmp_path), "it died", job_of(tmp_path, **config))
    assert (outcome.value, outcome.failure) == (value, failure)


def test_what_was_lost_of_a_run_that_is_done_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_card(tmp_path, {**DONE, "page": True})
    lost_outcome(str(tmp_path), "its job 7 has ended before it", job_of(tmp_path))
    said = capsys.readouterr().err
    assert said == (
        f"note: {tmp_path} is done, but its job 7 has ended before it; its page or files are incomplete, and the same "
        "command writes what is missing\n"
    )


@pytest.mark.parametrize(("state", "value", "stopped_by"), [("done", 0.25, ""), ("stopped", None, "a signal")])
def test_a_process_that_a_signal_stopped_too_late_has_the_score_of_the_card(
    state: str, value: float | None, stopped_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start: Any = subprocess.Popen
    program = f"import sys; sys.stdin.readline(); sys.exit({local.RESUMABLE})"
    monkeypatch.setattr(local, "start_worker", lambda *_, **keys: start([sys.executable, "-c", program], **keys))
    write_card(tmp_path, {**DONE, "state": state})
    pool = Pool(1, [], tmp_path / "logs")
    pool.submit([job_of(tmp_path)])
    ((_, outcome),) = pool.outcomes()
    pool.close()
    assert (outcome.value, outcome.stopped_by) == (value, stopped_by)
