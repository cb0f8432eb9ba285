"""Runs that are stopped early, diverge, or find a checkpoint that is no use: one sentence, and nothing lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import HydraException

from conftest import read_card
from resuming import GENRE, at_step, run_in, steps_of, stop_in
from speechml.cli.hydra_app import run_app
from speechml.engine.checkpoint import read_checkpoint, write_checkpoint
from speechml.engine.signals import Stopped, early_signals
from speechml.errors import UserError
from speechml.tasks.base import Task
from stress_resume import PROGRAM, differences

pytestmark = pytest.mark.usefixtures("genre_features")


def test_asked_twice_by_hand_a_run_stops_within_the_step(undisturbed: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with at_step(10, twice), pytest.raises(Stopped):
        run_in("stopped", *GENRE, "checkpoint.every_n_steps=4")
    run = next(Path("stopped").glob("*/*"))
    assert read_card(run)["state"] == "stopped"
    assert steps_of(run) == 8
    assert differences(undisturbed, run_in("stopped", *GENRE, "checkpoint.every_n_steps=4")) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c.update(resume={}),
        lambda c: c["resume"]["machine"].clear(),
        lambda c: c.update(loops=3),
        lambda c: c["resume"]["ranks"][0]["random"].update(torch=torch.zeros(3, dtype=torch.uint8)),
    ],
)
def test_a_checkpoint_that_is_whole_but_wrong_is_no_traceback(spoil: Callable[[Any], Any], undisturbed: Path) -> None:
    """Either the run begins again, or it is refused in a sentence."""
    last = stop_in("cut", 5, signal.SIGTERM, *GENRE) / "checkpoints" / "last.ckpt"
    content = read_checkpoint(last)
    spoil(content)
    write_checkpoint(content, last)
    last.with_name("previous.ckpt").unlink()
    try:
        assert differences(undisturbed, run_in("cut", *GENRE)) == []
    except UserError as refused:
        assert "add redo=true to begin again" in str(refused)  # noqa: PT017 (one of two good ends)
        assert differences(undisturbed, run_in("cut", *GENRE, "redo=true")) == []


@pytest.mark.parametrize("setting", ["every_n_steps=0", "every_s=true"])
def test_a_period_that_is_none_is_refused_before_there_is_a_folder(setting: str) -> None:
    with pytest.raises(UserError, match=f"checkpoint.{setting.partition('=')[0]} is .* above 0, or null"):
        run_in("runs", *GENRE, f"checkpoint.{setting}")
    assert not Path("runs/genre_mlp").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_before_a_run_begins_ends_the_command_with_code_75_too(number: signal.Signals) -> None:
    process = subprocess.Popen([PROGRAM, *GENRE], stderr=subprocess.PIPE, text=True)
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():  # which is loaded for seconds
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"stopped by {number.name}" in told
    assert "Traceback" not in told


def test_weights_that_are_no_longer_finite_end_the_run_in_a_sentence_and_are_not_kept() -> None:
    training_step = Task.training_step

    def spoilt(self: Any, batch: Any, batch_idx: int) -> Any:
        with torch.no_grad():
            next(self.parameters()).fill_(torch.nan)
        return training_step(self, batch, batch_idx)

    with (
        at_step(12, lambda: setattr(Task, "training_step", spoilt)),
        pytest.raises(UserError, match=r"after step 1[0-9] the weights are no longer finite"),
    ):
        run_in("cut", *GENRE, "checkpoint.every_n_steps=3")
    run = next(Path("cut").glob("*/*"))
    kept = read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(bool(torch.isfinite(weight).all()) for weight in kept.values())
    assert read_card(run)["state"] == "failed"


def test_a_signal_between_two_lines_of_hydra_is_a_stop_whatever_hydra_makes_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compose() -> None:
        early_signals.append("SIGTERM")
        raise HydraException("half a config")

    monkeypatch.setattr(sys, "argv", ["speechml-train"])
    with pytest.raises(SystemExit) as end:
        run_app(compose, "train")
    assert end.value.code == 75
