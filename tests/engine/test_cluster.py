"""Ranks that a cluster has started: they train what rank 0 says, as ranks that it started itself."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, composed, succeed
from speechml.engine import ranks
from speechml.engine.distributed import RankInfo, check_rank_counts, count_processes, rank_info
from speechml.errors import UserError
from speechml.sweep.training import train_checked
from stress_resume import differences

TWO = (
    *TINY, "experiment=lab2b_mimo_cnn", "data.batch_size=4", "optimizer=adam", "threads=1", "callbacks.figures=null",
    "callbacks.listening=null", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=2",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]) % 20000 + 2000


def as_srun_starts(words: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """Two processes with the variables that Slurm gives to the tasks of a step."""
    common = {
        **os.environ, "SLURM_STEP_NUM_TASKS": "2", "SLURM_NODEID": "0", "SLURM_JOB_ID": "7", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    both = [
        subprocess.Popen(
            [str(Path(sys.executable).with_name("speechml-train")), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**common, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
        )
        for rank in "01"
    ]  # fmt: skip
    ended = [process.communicate(timeout=200) for process in both]
    return [subprocess.CompletedProcess(words, p.returncode, *texts) for p, texts in zip(both, ended, strict=True)]


@pytest.mark.slow
def test_ranks_of_a_cluster_train_what_ranks_of_ours_do(workplace: Path) -> None:
    succeed("speechml-train", *TWO, "paths.runs=ours")
    theirs = as_srun_starts([*TWO])
    assert [done.returncode for done in theirs] == [0, 0], [done.stderr for done in theirs]
    run = next((workplace / "runs" / "lab2b_mimo_cnn").iterdir())
    assert differences(next((workplace / "ours" / "lab2b_mimo_cnn").iterdir()), run) == []
    # Done already: the second rank has nothing to do, and ends.
    assert [done.returncode for done in as_srun_starts([*TWO])] == [0, 0]


def test_a_config_is_refused_by_rank_0_alone(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    for name in ("PROCID", "LOCALID", "NODEID", "JOB_ID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    for name, value in {"SLURM_STEP_NUM_TASKS": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"optimizer\.lr is -1"):
        train_checked(composed("train", *TWO, "optimizer.lr=-1"))
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert train_checked(composed("train", *TWO, "optimizer.lr=-1")) is None


def test_a_rank_hears_of_each_time_that_a_run_is_worked_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Store(dict[str, str]):
        def check(self, keys: list[str]) -> bool:
            return all(key in self for key in keys)

    trained = []
    store = Store({"run 1": '["folder"]'})
    for name, value in {"PATIENCE_S": 0, "_open_store": lambda _: store, "train_rank": trained.append}.items():
        monkeypatch.setattr(ranks, name, value)
    for _ in range(2):  # of the second time nothing is said, and it ends
        ranks.follow(RankInfo(1, 2, 1, 0, "localhost", 1), "run")
    assert trained == [Path("folder")]


@pytest.mark.slow
def test_torchrun_starts_ranks_as_well(workplace: Path) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    done = subprocess.run([*words, "-m", "speechml.train", *TWO], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert len(list((workplace / "runs" / "lab2b_mimo_cnn").iterdir())) == 1


@pytest.mark.parametrize(
    ("place", "processes", "nodes", "says"),
    [
        (None, 4, 2, "started alone; launch it with hydra/launcher=slurm, or by srun --nodes=2"),
        (RankInfo(0, 2, 0, 0, "a", 1), 1, 1, "has started 2 processes, and the run has 1"),
        (RankInfo(1, 4, 0, 1, "a", 1), 4, 2, "leave --distribution out"),
    ],
)
def test_other_numbers_of_processes_are_refused(place: RankInfo | None, processes: int, nodes: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_rank_counts(place, processes, nodes)


def test_a_process_in_an_allocation_that_srun_did_not_start_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    assert rank_info() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert rank_info() is None


@pytest.mark.parametrize(
    ("trainer", "count"),
    [
        ({"accelerator": "cpu", "devices": 1}, 1),
        ({"accelerator": "cpu", "devices": 2}, 2),
        ({"accelerator": "cpu", "devices": "auto"}, 1),
        ({"accelerator": "gpu", "devices": "auto"}, 4),
        ({"accelerator": "auto", "devices": -1, "num_nodes": 2}, 8),
        ({"accelerator": "gpu", "devices": [0, 3]}, 2),
        ({"accelerator": "gpu", "devices": "1,2,3"}, 3),
        ({"accelerator": "mps", "devices": 1}, 1),
    ],
)
def test_the_number_of_processes_is_known_before_lightning_starts_them(
    trainer: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert count_processes(trainer) == count
