"""Runs of several processes: all start from one config, stop at one step, and leave nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TINY, read_card, succeed
from speechml.engine.checkpoint import read_checkpoint
from speechml.errors import UserError
from speechml.process import prepare_process
from stress_resume import differences

pytestmark = pytest.mark.slow

TWO = (
    *TINY, "experiment=lab2b_mimo_cnn", "data.batch_size=4", "optimizer=adam", "scheduler=one_cycle", "threads=1",
    "callbacks.figures=null", "callbacks.listening=null", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
)  # fmt: skip
PROGRAM = str(Path(sys.executable).with_name("speechml-train"))


def ranks_of(parent: int) -> list[int]:
    """The process numbers of further ranks that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
            if int(words[1]) == parent and b"speechml.worker" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def alive(number: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def training(workplace: Path, *words: str) -> tuple[subprocess.Popen[str], Path, list[int]]:
    """A run of two processes after its first epoch: rank 0, the run's folder, and the other rank's number."""
    process = subprocess.Popen([PROGRAM, *TWO, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 100
    while not (found := list(workplace.glob("runs/lab2b_mimo_cnn/*/metrics.csv"))) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    others = ranks_of(process.pid)
    assert len(others) == 1
    return process, found[0].parent, others


def gone(numbers: list[int], within_s: float = 15) -> bool:
    """Whether processes end by themselves."""
    until = time.monotonic() + within_s
    while any(alive(n) for n in numbers) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(alive(n) for n in numbers)


@pytest.mark.parametrize("further", [(), ("trainer.ema=0.9",)])
def test_two_ranks_stop_at_one_step_and_go_on_as_if_they_had_not(further: tuple[str, ...], workplace: Path) -> None:
    words = ("trainer.max_epochs=15", *further)
    succeed("speechml-train", *TWO, *words, "paths.runs=whole")
    process, folder, others = training(workplace, *words)
    process.send_signal(signal.SIGTERM)  # to one of them
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75, told
    assert "Traceback" not in told
    assert gone(others)
    card = read_card(folder)
    assert card["state"] == "stopped"
    assert 0 < read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] < 120
    succeed("speechml-train", *TWO, *words)
    assert differences(next(Path("whole").glob("*/*")), folder) == []


def test_a_signal_to_all_while_the_other_rank_is_loading_stops_both(workplace: Path) -> None:
    process = subprocess.Popen(
        [PROGRAM, *TWO, "trainer.max_epochs=200"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while not (others := ranks_of(process.pid)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75, told
    assert "Traceback" not in told
    assert gone(others)
    assert json.loads(next(workplace.glob("runs/*/*/card.json")).read_text())["state"] == "stopped"


def test_a_rank_that_is_loading_ends_with_rank_0(workplace: Path) -> None:  # noqa: ARG001
    process = subprocess.Popen([PROGRAM, *TWO], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (others := ranks_of(process.pid)):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert gone(others)


def test_ranks_save_once_in_every_so_many_steps(train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from speechml.engine.saving import Saving

    steps: list[int] = []
    whole = Saving.save

    def save(self: Any, trainer: Any, module: Any, **options: bool) -> None:
        steps.append(trainer.global_step)
        whole(self, trainer, module, **options)

    monkeypatch.setattr(Saving, "save", save)
    train(*TWO, "trainer.max_epochs=2", "checkpoint.every_n_steps=4")
    assert steps == [5, 10, 15, 16]  # agreed upon while the step before is computed; the last at the end


@pytest.mark.parametrize("victim", ["rank 0", "rank 1"])
def test_no_rank_outlives_another_that_was_killed_and_the_run_goes_on(victim: str, workplace: Path) -> None:
    words = ("trainer.max_epochs=15", "checkpoint.every_n_steps=5")
    process, folder, others = training(workplace, *words)
    os.kill(process.pid if victim == "rank 0" else others[0], signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    assert gone([process.pid, *others])
    assert read_card(folder)["state"] == ("running" if victim == "rank 0" else "failed"), told
    if victim == "rank 1":
        assert "one of the other ranks has ended (exit codes [-9];" in told
        assert "after step" in succeed("speechml-train", *TWO, *words).stdout


def test_ranks_with_different_configs_are_stopped_before_the_first_step(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speechml.engine import ranks

    prepare_process(1)  # which every process does once
    before = dict(os.environ)
    other = workplace / "other"
    whole = ranks.start_worker

    def elsewhere(kind: str, folder: str, **options: Any) -> subprocess.Popen[bytes]:
        """The further rank reads a config that was changed."""
        shutil.copytree(folder, other)
        text = (other / "config.yaml").read_text()
        (other / "config.yaml").write_text(text.replace("lr: 0.001", "lr: 0.002"))
        return whole(kind, str(other), **options)

    monkeypatch.setattr(ranks, "start_worker", elsewhere)
    with pytest.raises(UserError, match=r"rank 1 has config [0-9a-f]{10} and rank 0 has [0-9a-f]{10}"):
        train(*TWO, "trainer.max_epochs=1", "optimizer.lr=0.001")
    assert dict(os.environ) == before
    assert gone(ranks_of(os.getpid()))
    (card,) = (json.loads(path.read_text()) for path in workplace.glob("runs/lab2b_mimo_cnn/*/card.json"))
    assert card["state"] == "failed"
    assert not (workplace / "runs" / "lab2b_mimo_cnn" / card["id"] / "metrics.csv").exists()


@pytest.mark.parametrize(
    "launcher",
    [
        ("optimizer.lr=0.001,0.002",),
        ("hydra/launcher=local", "hydra.launcher.n_jobs=2", "optimizer.lr=0.001,0.002"),
    ],
    ids=["basic", "local"],
)  # fmt: skip
def test_every_launcher_gives_each_run_of_two_ranks_its_own_folder_and_config(
    launcher: tuple[str, ...], workplace: Path
) -> None:
    succeed("speechml-train", "-m", *TWO, "trainer.max_epochs=1", *launcher, env=os.environ)
    rates = set()
    for path in workplace.glob("runs/lab2b_mimo_cnn/*/card.json"):
        card = json.loads(path.read_text())
        assert card["state"] == "done"
        content = read_checkpoint(path.parent / "checkpoints" / "best.ckpt")
        rates.add(content["speechml"]["config"]["optimizer"]["lr"])
        with np.load(path.parent / "predictions.npz") as predictions:
            assert len(set(predictions["name"])) == len(predictions["name"]) == card["data"]["recordings"]["test"]
    assert rates == {0.001, 0.002}
    assert gone(ranks_of(1))  # none has lost its parent
