"""Sweeps as jobs of a Slurm cluster: what a real one on this machine shows."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, command, read_card, speechml, succeed
from stress_slurm import slurm as disturbed

ROOT = Path(__file__).parents[2]
SANDBOX = ROOT / "scripts" / "slurm_sandbox.sh"
UP = "SLURM_CONF" in os.environ and subprocess.run([str(SANDBOX), "status"], capture_output=True).returncode == 0
needs_slurm = pytest.mark.skipif(not UP, reason="no Slurm is up: scripts/slurm_sandbox.sh up && make test-slurm")
QUICK = ("report=false", "threads=1", "trainer.max_epochs=1", "callbacks.figures=null", "callbacks.listening=null")
FIR = ("experiment=lab2a_fir", *TINY, *QUICK)
SLURM = ("-m", "hydra/launcher=slurm")


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
    go = workplace / "go"  # or the jobs could be done before the second client has begun
    waits = f'hydra.launcher.setup=["while [ ! -e {go} ]; do sleep 0.1; done"]'
    words = (*SLURM, *FIR, "trainer.max_epochs=5", "seed=range(4)", "hydra.launcher.runs_per_job=2", waits)
    program = [str(Path(sys.executable).with_name("speechml-train")), *words]
    client = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    waited(lambda: list(workplace.glob("runs/.sweeps/*/*/slurm/[0-9]*.json")))
    client.kill()
    client.communicate()
    (folder,) = workplace.glob("runs/.sweeps/lab2a_fir/*")
    assert speechml(monkeypatch, "sweep", "status", str(folder)) == 0
    told = capsys.readouterr().out
    assert "queued (" in told or "in a job (" in told
    again = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert again.stderr is not None
    first = again.stderr.readline() + again.stderr.readline()
    go.touch()
    rest = again.stderr.read()
    assert again.wait() == 0, first + rest
    assert "of them have jobs already" in first, first + rest
    assert "submitted" not in first + rest
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
    assert "is -1; it must be a number" in done.stderr  # which can be known before anything is submitted
    assert not list(Path().glob("runs/*"))
    done = command("speechml-train", *SLURM, *FIR, "optimizer=lbfgs,sgd", "+trainer.accumulate_grad_batches=2")
    assert done.returncode == 2, done.stderr
    assert "LBFGS computes its batch several times a step" in done.stderr
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
def test_the_sweep_of_the_pages_runs_on_a_cluster(workplace: Path) -> None:
    """The command of the page on clusters, with four short runs."""
    found = re.search(
        r"^speechml-train -m hydra/launcher=slurm .*$", (ROOT / "docs" / "cluster.md").read_text(), re.MULTILINE
    )
    assert found
    few = found[0].replace("range(25)", "range(2)").replace("[10,10],[20,20],[40,40],[80,80]", "[10,10],[20,20]")
    done = succeed(*shlex.split(few), *TINY, "trainer.max_epochs=1")
    assert "4 runs: 4 done" in done.stdout
    assert len(list((workplace / "runs" / "mimo_cnn_tuned").iterdir())) == 4


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
