"""Sweeps as jobs of a Slurm cluster: what can be known without one."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from conftest import SMALL_CARD, TINY, command, composed, write_card
from speechml.engine.signals import Stopped
from speechml.errors import UserError
from speechml.runs.identity import run_id
from speechml.sweep import slurm, slurm_commands, slurm_task
from speechml.sweep.jobs import Job, Outcome, dump_job, load_job
from speechml.sweep.schema import SlurmLauncher
from speechml.sweep.slurm_commands import job_script, resources
from speechml.sweep.slurm_task import requeue_task
from speechml.sweep.status import Progress
from speechml.sweep.sweep_command import options_of, read_options
from speechml.sweep.trial import trial_of

QUICK = ("report=false", "threads=1", "trainer.max_epochs=1", "callbacks.figures=null", "callbacks.listening=null")
FIR = ("experiment=lab2a_fir", *TINY, *QUICK)
SLURM = ("-m", "hydra/launcher=slurm")


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=3", "+data.count=40"],
        ["experiment=words_tuned", "data=spoken_words", "paths.cache=mine"],
        ["hparams_search=mimo_cnn", "optimizer.lr=0.3"],
    ],
)
def test_a_frozen_config_is_the_same_run_elsewhere(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = run_id(composed("train", *overrides))
    content = json.loads(
        json.dumps(asdict(dump_job(composed("train", *overrides, keep_hydra=True), 5, "", Path("x"))))
    )  # as it travels
    monkeypatch.setattr(sys, "argv", ["somewhere", "else"])
    cfg = load_job(Job(**content))
    assert run_id(cfg) == wanted
    assert Path(cfg.paths.runs).is_absolute()
    place = trial_of(content["config"]["hydra"])
    assert (place is not None) == any("hparams" in word for word in overrides)
    if place:
        assert (place.number, place.execution) == (5, 0)


def test_the_script_follows_the_runs_and_the_keys() -> None:
    plain = resources(
        options_of(SlurmLauncher, partition="main", mem_gb=4), {"devices": 1, "num_nodes": 1, "accelerator": "cpu"}
    )
    assert plain == {
        "partition": "main", "mem": "4GB", "cpus-per-task": 1, "time": 60, "job-name": "speechml", "nodes": 1,
        "ntasks-per-node": 1, "signal": "USR1@120", "requeue": True,
    }  # fmt: skip
    keys = options_of(SlurmLauncher, 
        gpus_per_node=4, additional_parameters={"reservation": "x", "signal": "USR1@5"}, srun_args=["--label"],
        setup=["module load cuda"], python="apptainer exec image.sif python",
    )  # fmt: skip
    lines = job_script(
        keys, {"devices": "auto", "num_nodes": 2, "accelerator": "gpu"}, Path("/s/0.jsonl"), 300, Path("/l")
    )
    flags = dict(
        line.removeprefix("#SBATCH --").split("=", 1) for line in lines.splitlines() if "=" in line and "#" in line
    )
    assert (flags["nodes"], flags["ntasks-per-node"], flags["gpus-per-node"]) == ("2", "4", "4")
    assert (flags["array"], flags["output"]) == ("0-299%256", "/l/%A_%a_0_log.out")
    assert (flags["reservation"], flags["signal"]) == ("x", "USR1@5")
    assert lines.endswith(
        "module load cuda\nsrun --unbuffered --output /l/%A_%a_%t_log.out --cpus-per-task=1 --kill-on-bad-exit=1 --label "
        "apptainer exec image.sif python -u -m speechml.worker slurm /s/0.jsonl\n"
    )


def test_numbers_are_text_where_slurm_wants_text() -> None:
    words = ("account=12345", "mem_per_gpu=16", "comment=1.5", "srun_args=[-n,2]", "additional_parameters=null")
    overrides = [f"hydra.launcher.{word}" for word in words]
    cfg = composed("train", "hydra/launcher=slurm", *overrides, keep_hydra=True)
    script = job_script(read_options(cfg, "launcher", SlurmLauncher), {}, Path("/s/0.jsonl"), 1, Path("/l"))
    for line in ("--account=12345", "--mem-per-gpu=16", "--comment=1.5", "--kill-on-bad-exit=1 -n 2 "):
        assert line in script


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("timeout_min=1", "jobs would be told to stop when they begin; raise hydra.launcher.timeout_min"),
        ("timeout_min='1:00'", "hydra.launcher.timeout_min is 1:00"),
        ("array_parallelism=-1", "hydra.launcher.array_parallelism is -1"),
        ("runs_per_job=0", "hydra.launcher.runs_per_job is 0"),
        ("srun_args=-n", "hydra.launcher.srun_args is -n; it must be a list of words, or null"),
        ("account=[a]", "hydra.launcher.account is .*; it must be text or a number, or null"),
        ("+queue=main", "there is no key hydra.launcher.queue"),
    ],
)
def test_keys_that_jobs_cannot_have_are_refused(word: str, says: str) -> None:
    name = f"+hydra.launcher.{word[1:]}" if word.startswith("+") else f"hydra.launcher.{word}"
    with pytest.raises(UserError, match=says):
        read_options(composed("train", "hydra/launcher=slurm", name, keep_hydra=True), "launcher", SlurmLauncher)


def test_without_slurm_there_is_one_sentence(workplace: Path) -> None:
    nothing = {**os.environ, "PATH": str(workplace)}
    done = command("speechml-train", *SLURM, *FIR, "seed=0,1", env=nothing)
    assert done.returncode == 2, done.stderr
    assert "there is no Slurm on this machine (scontrol is not found)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(workplace.glob("runs/lab2a_fir"))


def test_a_job_that_gets_no_step_on_is_not_queued_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("speechml.sweep.slurm_task.ask", lambda *words: asked.append(words[-1]))
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    said = [requeue_task(tmp_path / "run.json", 3, step) for step in (5, 9, 9, 12, None, 12)]
    assert said[:5] == [""] * 5
    assert "its time limit ends before a step is done" in said[5]
    assert asked == ["7_3"] * 5


def test_a_job_that_met_its_limit_says_so_and_notes_of_earlier_versions_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slurm" / "ended").mkdir(parents=True)
    runs = [
        {"job": f"7_{i}", "folder": folder, "shown": f"seed={i}"} for i, folder in enumerate((str(tmp_path / "a"), "."))
    ]
    (tmp_path / "slurm" / "7.json").write_text(json.dumps({"user": "me", "runs": runs}))
    monkeypatch.setattr(slurm_commands, "queue", lambda _: {"7_0": ("RUNNING", "None"), "7_1": ("PENDING", "None")})
    assert {folder: queued.state for folder, queued in slurm.still_queued(tmp_path).items()} == {
        tmp_path / "a": "in a job"
    }
    launcher = slurm.SlurmLauncher(options_of(SlurmLauncher), tmp_path, 1, Progress(0))
    monkeypatch.setattr(slurm_commands, "queue", lambda _: {})
    monkeypatch.setattr(slurm_commands, "end_of", lambda _: "TIMEOUT, exit code 0:0")
    monkeypatch.setattr(slurm, "ASK_S", (0.0, 0.0))
    monkeypatch.setattr(slurm, "LOOK_S", 0.0)
    assert list(launcher.outcomes()) == []  # of another launch
    told = capsys.readouterr().err
    assert "its job 7_0 met its time limit before it was queued again; raise hydra.launcher.timeout_min" in told


def test_only_the_jobs_of_runs_that_are_waited_for_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [Job(number, {"config": {}}, f"seed={number}", str(tmp_path / str(number))) for number in (0, 1)]
    monkeypatch.setattr(slurm_commands, "queue", lambda _: {"7": ("RUNNING", "None")})
    monkeypatch.setattr(slurm_commands, "widest_array", lambda: 9)
    monkeypatch.setattr(slurm_commands, "submit_script", lambda *_: "7")
    slurm.SlurmLauncher(options_of(SlurmLauncher), tmp_path, 1).submit(runs[:1])
    launcher = slurm.SlurmLauncher(options_of(SlurmLauncher), tmp_path, 1)
    monkeypatch.setattr(slurm_commands, "submit_script", lambda *_: "8")
    (tmp_path / "slurm" / "6.json").write_text("{")  # of jobs that nobody waits for
    launcher.submit(runs)
    monkeypatch.setattr(slurm_commands, "queue", lambda _: {})
    monkeypatch.setattr(slurm_commands, "end_of", lambda _: "COMPLETED")
    monkeypatch.setattr(slurm, "ASK_S", (0.0, 0.0))
    monkeypatch.setattr(slurm, "LOOK_S", 0.0)
    errors = [outcome.error for _, outcome in launcher.outcomes()]
    assert [error.partition(" has ended")[0] for error in errors] == ["its job 7", "its job 8"]


@pytest.mark.parametrize("before", ["", "0 1"])
@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize(("others", "code"), [(0, 0), (1, 75)])
def test_a_job_that_a_signal_met_when_its_run_was_done_says_what_its_card_says(
    others: int, code: int, signal_name: str, before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other runs, where it has any, are what it is queued for again."""
    config = {"config": {"checkpoint": {"monitor": "val/loss"}, "objective": None}}
    jobs = [Job(number, config, "", str(tmp_path / f"run{number}")) for number in range(1 + others)]
    (tmp_path / "0.jsonl").write_text(json.dumps([asdict(job) for job in jobs]) + "\n")
    (tmp_path / "ended").mkdir()
    (tmp_path / "run0").mkdir()
    write_card(tmp_path / "run0", {**SMALL_CARD, "state": "done", "monitored": 0.25})
    if before:  # how far it got, and how often in a row it got no further
        (tmp_path / "ended" / "run0.step").write_text(before)

    def stop(job: Job) -> Outcome:  # noqa: ARG001 (as compute is called)
        raise Stopped(signal_name, None)

    monkeypatch.setattr(slurm_task, "compute", stop)
    monkeypatch.setattr(slurm_task, "ask", lambda *_: "")
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    assert slurm_task.compute_task(tmp_path / "0.jsonl") == code
    outcome = slurm.read_outcome(tmp_path / "ended" / "run0.json")
    assert (outcome.value, outcome.failure) == (0.25, "")
    assert not (tmp_path / "ended" / "run1.json").exists()


def test_a_job_that_was_killed_when_its_run_was_done_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"config": {"checkpoint": {"monitor": "val/loss"}, "objective": None}}
    runs = [Job(number, config, f"seed={number}", str(tmp_path / str(number))) for number in (0, 1)]
    for run, state in zip(runs, ("done", "running"), strict=True):
        Path(run.folder).mkdir()
        write_card(Path(run.folder), {**SMALL_CARD, "state": state, "monitored": 0.25, "page": True})
    for name, value in {
        "widest_array": 9,
        "submit_script": "7",
        "queue": {},
        "end_of": "FAILED, exit code 0:9",
    }.items():
        monkeypatch.setattr(slurm_commands, name, lambda *_, value=value: value)
    monkeypatch.setattr(slurm, "ASK_S", (0.0, 0.0))
    monkeypatch.setattr(slurm, "LOOK_S", 0.0)
    launcher = slurm.SlurmLauncher(options_of(SlurmLauncher), tmp_path, 1)
    launcher.submit(runs)
    done, cut = (outcome for _, outcome in launcher.outcomes())
    assert (done.value, done.failure) == (0.25, "")
    assert cut.failure.startswith("its job 7_1 has ended before it (FAILED")
    assert "is done, but its job 7_0 has ended before it (FAILED, exit code 0:9)" in capsys.readouterr().err
