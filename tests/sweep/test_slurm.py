"""Sweeps as jobs of a Slurm cluster: what can be known without one, and what a real one on this machine shows."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, command, composed, read_card, speechml, succeed
from speechml.errors import UserError
from speechml.runs.identity import run_id
from speechml.sweep import slurm, slurm_commands
from speechml.sweep.jobs import Job, dump_job, load_job
from speechml.sweep.schema import SlurmLauncher
from speechml.sweep.slurm_commands import job_script, resources
from speechml.sweep.slurm_task import requeue_task
from speechml.sweep.status import Progress
from speechml.sweep.sweep_command import options_of, read_options
from speechml.sweep.trial import trial_of
from stress_slurm import slurm as disturbed

ROOT = Path(__file__).parents[2]
SANDBOX = ROOT / "scripts" / "slurm_sandbox.sh"
UP = "SLURM_CONF" in os.environ and subprocess.run([str(SANDBOX), "status"], capture_output=True).returncode == 0
needs_slurm = pytest.mark.skipif(not UP, reason="no Slurm is up: scripts/slurm_sandbox.sh up && make test-slurm")
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


def waited(what: Callable[[], object], patience_s: float = 300.0) -> None:
    """Until something is so, however busy the machine is."""
    until = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.2)


def rows(workplace: Path) -> list[int]:
    """The epochs in the table of the one run."""
    tables = [path.read_text().splitlines()[1:] for path in workplace.glob("runs/*/*/metrics.csv")]
    return [int(line.split(",")[0]) for table in tables for line in table]


@needs_slurm
def test_a_disturbed_sweep_ends_as_one_that_was_left_alone() -> None:
    """Preemption, kill -9, a node without power, scancel; the time limit in scripts/stress.py slurm."""
    assert disturbed(runs=4, epochs=25, times=1, limit_min=60) == 0


@needs_slurm
def test_a_time_limit_costs_no_step(workplace: Path) -> None:
    """A job whose time is nearly up, by its administrator, is told of it, saves, is queued again, and goes on."""
    words = (*FIR, "trainer.max_epochs=1000000", "checkpoint.every_s=null", "seed=0")
    succeed("speechml-train", *SLURM, "hydra.launcher.wait=false", "hydra.launcher.signal_delay_s=30", *words)
    (folder,) = workplace.glob("runs/.sweeps/lab2a_fir/*")
    (note,) = folder.glob("slurm/*.json")

    def update(what: str) -> None:
        subprocess.run(["scontrol", "update", f"JobId={note.stem}", what], check=True)

    waited(lambda: len(rows(workplace)) > 3)
    update("EndTime=now+60")  # Slurm looks every 30 s, so that the job has half a minute at least
    waited(lambda: any("queued again" in log.read_text() for log in folder.glob("slurm/logs/*.out")))
    update("TimeLimit=60")
    before = len(rows(workplace))
    waited(lambda: len(rows(workplace)) > before + 3)
    succeed("speechml", "sweep", "cancel", str(folder))
    assert command("speechml", "sweep", "wait", str(folder)).returncode == 1
    assert [read_card(run)["state"] for run in workplace.glob("runs/lab2a_fir/*")] == ["stopped"]
    # Nothing was saved but at the signal: what was done was not done again.
    epochs = rows(workplace)
    assert epochs == list(range(epochs[0], epochs[0] + len(epochs)))


@needs_slurm
def test_two_nodes_train_one_run(workplace: Path) -> None:
    words = (
        *FIR, "experiment=lab2b_mimo_cnn", "data.batch_size=4", "trainer=ddp", "trainer.accelerator=cpu", "trainer.num_nodes=2",
    )  # fmt: skip
    succeed("speechml-train", *SLURM, 'hydra.launcher.setup=["export MASTER_ADDR=127.0.0.1"]', *words, "seed=0,1")
    ours = command("speechml-train", *words, "seed=0", "trainer.num_nodes=1", "trainer.devices=2", "paths.runs=ours")
    assert ours.returncode == 0, ours.stderr
    values = {json.dumps(_card(run)["scores"], sort_keys=True) for run in workplace.glob("runs/lab2b_mimo_cnn/*")}
    assert json.dumps(_card(next(workplace.glob("ours/*/*")))["scores"], sort_keys=True) in values


def _card(run: Path) -> dict[str, Any]:
    return read_card(run) if (run / "card.json").exists() else {}


@needs_slurm
def test_the_client_may_leave_and_the_same_command_waits_again(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*SLURM, *FIR, "trainer.max_epochs=5", "seed=range(4)", "hydra.launcher.runs_per_job=2")
    client = subprocess.Popen(
        [str(Path(sys.executable).with_name("speechml-train")), *words], stderr=subprocess.PIPE, text=True
    )
    waited(lambda: list(workplace.glob("runs/.sweeps/*/*/slurm/[0-9]*.json")))
    client.kill()
    client.communicate()
    (folder,) = workplace.glob("runs/.sweeps/lab2a_fir/*")
    assert speechml(monkeypatch, "sweep", "status", str(folder)) == 0
    told = capsys.readouterr().out
    assert "queued (" in told or "in a job (" in told
    again = command("speechml-train", *words)
    assert again.returncode == 0, again.stderr
    assert "of them have jobs already" in again.stderr
    assert "submitted" not in again.stderr
    assert speechml(monkeypatch, "sweep", "wait", str(folder)) == 0
    assert "4 runs: 4 done" in capsys.readouterr().out


@needs_slurm
@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("hydra.launcher.partition=nowhere", "there are: main, urgent"),
        ("hydra.launcher.constraint=gold", "Slurm refused (sbatch)"),
        ("hydra.launcher.gpus_per_node=3", "Slurm refused (sbatch)"),
    ],
)
def test_what_slurm_refuses_is_one_sentence(word: str, says: str, workplace: Path) -> None:
    done = command("speechml-train", *SLURM, *FIR, "seed=0,1", word)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(workplace.glob("runs/lab2a_fir"))


@needs_slurm
def test_a_run_that_is_refused_in_its_job_is_told_of(workplace: Path) -> None:  # noqa: ARG001
    done = command("speechml-train", *SLURM, *FIR, "optimizer.lr=-1,0.1", "optimizer=sgd")
    assert done.returncode == 2, done.stderr
    assert "is -1; it must be a number" in done.stderr
    assert "2 runs: 1 failed, 1 done" in done.stdout or "2 runs: 1 done, 1 failed" in done.stdout


@needs_slurm
def test_a_search_has_its_trials_computed_by_slurm(workplace: Path) -> None:
    words = [
        f"hydra{word}"
        for word in ("/sweeper=optuna", ".sweeper.n_trials=3", ".sweeper.n_jobs=2", ".sweeper.sampler=random")
    ]
    done = succeed("speechml-train", *SLURM, *FIR, *words, "optimizer.lr=interval(0.1,1)")
    assert "Trials: 3 done" in done.stdout
    assert len(list(workplace.glob("runs/lab2a_fir/*"))) == 3


@needs_slurm
def test_more_runs_than_an_array_takes_are_several_arrays(workplace: Path) -> None:
    succeed("speechml-train", *SLURM, *FIR, "seed=range(12)", "hydra.launcher.wait=false")
    assert len(list(workplace.glob("runs/.sweeps/*/*/slurm/[0-9]*-*.jsonl"))) == 2
    (folder,) = workplace.glob("runs/.sweeps/lab2a_fir/*")
    succeed("speechml", "sweep", "cancel", str(folder))
    ended = command("speechml", "sweep", "wait", str(folder))
    assert ended.returncode == 1
    assert "not begun" in ended.stdout
    assert not {"running", "queued", "in a job"} & set(re.findall(r"[a-z]+(?: a job)?", ended.stdout))


@needs_slurm
def test_the_readmes_sweep_runs_on_a_cluster(workplace: Path) -> None:
    """The command of "On a cluster", with four short runs."""
    found = re.search(r"^speechml-train -m hydra/launcher=slurm .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert found
    few = found[0].replace("range(25)", "range(2)").replace("0.05,0.1,0.2,0.5", "0.1,0.2")
    done = succeed(*shlex.split(few), *TINY, "trainer.max_epochs=1")
    assert "4 runs: 4 done" in done.stdout
    assert len(list((workplace / "runs" / "lab2b_mimo_cnn").iterdir())) == 4


@needs_slurm
def test_a_question_that_slurm_does_not_answer_is_asked_again(workplace: Path) -> None:
    """A squeue that fails now and then, and another folder for scripts, lose no job."""
    stand_in = workplace / "bin" / "squeue"
    stand_in.parent.mkdir()
    real = subprocess.run(["which", "squeue"], capture_output=True, text=True, check=True).stdout.strip()
    stand_in.write_text(
        f'#!/bin/sh\n[ -e failed ] || {{ touch failed; echo "error: no answer" >&2; exit 1; }}\nexec {real} "$@"\n'
    )
    stand_in.chmod(0o755)
    patched = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    words = (*SLURM, *FIR, "seed=0,1", "hydra.launcher.submitit_folder=elsewhere/%j")
    done = succeed("speechml-train", *words, env=patched)
    assert "no answer" in done.stderr
    assert "2 runs: 2 done" in done.stdout
    assert len(list(workplace.glob("elsewhere/**/*log.out"))) == 2
