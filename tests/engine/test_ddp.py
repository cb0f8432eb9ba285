"""Runs of several processes: all start from one config, stop at one step, and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TINY, command, read_card, succeed
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.process_setup import prepare
from speechml.errors import UserError
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


def test_two_ranks_stop_at_one_step_and_go_on_as_if_they_had_not(workplace: Path) -> None:
    words = ("trainer.max_epochs=30",)
    succeed("speechml-train", *TWO, *words, "paths.runs=whole")
    process, folder, others = training(workplace, *words)
    process.send_signal(signal.SIGTERM)  # to one of them
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75, told
    assert "Traceback" not in told
    assert gone(others)
    card = read_card(folder)
    assert card["state"] == "stopped"
    assert 0 < read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] < 240
    again = command("speechml-train", *TWO, *words)
    assert again.returncode == 0, again.stderr
    assert differences(next(Path("whole").glob("*/*")), folder) == []


def beginning(place: str, *words: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A run of two processes as soon as rank 0, in a group of processes of its own, has started the other."""
    process = subprocess.Popen(
        [PROGRAM, *TWO, f"paths.runs={place}", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while not (others := ranks_of(process.pid)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process, others


def test_a_signal_to_all_while_the_other_rank_is_loading_stops_both(workplace: Path) -> None:
    process, others = beginning("runs", "trainer.max_epochs=200")
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75, told
    assert "Traceback" not in told
    assert gone(others)
    assert json.loads(next(workplace.glob("runs/*/*/card.json")).read_text())["state"] == "stopped"


def test_a_rank_that_is_loading_ends_with_rank_0(workplace: Path) -> None:  # noqa: ARG001
    process, others = beginning("runs")
    process.kill()
    process.communicate(timeout=60)
    assert gone(others)


def test_ranks_save_once_in_every_so_many_steps(train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from speechml.engine.saving import Saving

    steps: list[int] = []
    whole = Saving.save

    def save(self: Any, trainer: Any, module: Any, finished: bool = False) -> None:
        steps.append(trainer.global_step)
        whole(self, trainer, module, finished)

    monkeypatch.setattr(Saving, "save", save)
    train(*TWO, "trainer.max_epochs=2", "checkpoint.every_n_steps=4")
    assert steps == [5, 10, 15, 16]  # agreed upon while the step before is computed; the last at the end


@pytest.mark.parametrize("victim", ["rank 0", "rank 1"])
def test_no_rank_outlives_another_that_was_killed_and_the_run_goes_on(victim: str, workplace: Path) -> None:
    process, folder, others = training(workplace, "trainer.max_epochs=30", "checkpoint.every_n_steps=5")
    os.kill(process.pid if victim == "rank 0" else others[0], signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    assert gone([process.pid, *others])
    card = read_card(folder)
    assert card["state"] == ("running" if victim == "rank 0" else "failed"), told
    again = command("speechml-train", *TWO, "trainer.max_epochs=30", "checkpoint.every_n_steps=5")
    assert again.returncode == 0, again.stderr
    assert "after step" in again.stdout


def test_ranks_with_different_configs_are_stopped_before_the_first_step(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speechml.engine import distributed as ranks

    prepare({"threads": 1})  # which every process does once
    before = dict(os.environ)
    other = workplace / "other"
    whole = ranks.FrozenDDP.start_ranks

    def elsewhere(self: Any, launcher: Any) -> None:
        """The further rank reads a config that was changed."""
        other.mkdir()
        text = (self.folder / "config.yaml").read_text()
        (other / "config.yaml").write_text(text.replace("lr: 0.001", "lr: 0.002"))
        self.folder = other
        whole(self, launcher)

    monkeypatch.setattr(ranks.FrozenDDP, "start_ranks", elsewhere)
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
        ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=choice(0.001,0.002)", "hydra.sweeper.sampler=grid"),
    ],
    ids=["basic", "local", "optuna"],
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
