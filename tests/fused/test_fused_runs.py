"""Runs that are trained together are ordinary runs, and each is what it is alone."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import command, composed, make_features, succeed
from speechml.errors import UserError
from speechml.fused import memory
from speechml.fused.hindrances import hindrance
from speechml.runs.identity import run_id
from stress_fused import compute_together, fused
from stress_resume import differences

GENRE = ("experiment=genre_mlp", "data.root=features.npz", "report=false", "callbacks.figures=null", "logger.csv=true",
         "trainer.max_epochs=4", "data.batch_size=16")  # fmt: skip


@pytest.fixture
def features(workplace: Path) -> Path:
    return make_features(workplace / "features.npz")


@pytest.mark.usefixtures("features")
def test_runs_of_a_sweep_equal_themselves_alone(workplace: Path) -> None:
    sweep = ["hydra/launcher=fused", "paths.runs=together", "seed=0,1", "model.net.layers=1,3"]
    told = succeed("speechml-train", "-m", *GENRE, *sweep).stderr
    assert "4 runs are trained together in 1 group" in told
    alone = ["engine=fused", "seed=1", "model.net.layers=3", "paths.runs=alone"]
    succeed("speechml-train", *GENRE, *alone)
    (run,) = workplace.glob("alone/*/*/card.json")
    other = workplace / "together" / run.parent.relative_to(workplace / "alone")
    assert differences(run.parent, other) == []
    cards = [json.loads(path.read_text()) for path in workplace.glob("together/genre_mlp/*/card.json")]
    assert [card["state"] for card in cards] == ["done"] * 4
    assert all("engine=fused" in card["overrides"] for card in cards)


@pytest.mark.slow
def test_random_companies_and_kills_change_no_bit() -> None:
    assert fused(groupings=6, seed=3, runs=6) == 0


def test_a_fused_run_comes_to_what_an_ordinary_one_comes_to(train: Callable[..., Path], features: Path) -> None:  # noqa: ARG001
    one, other = train(*GENRE), train(*GENRE, "engine=fused")
    ours, theirs = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, other))
    for name, weights in ours["state_dict"].items():
        torch.testing.assert_close(theirs["state_dict"][name], weights, rtol=1e-3, atol=1e-4)
    scores = [json.loads((run / "card.json").read_text())["scores"] for run in (one, other)]
    assert scores[0].keys() == scores[1].keys()
    assert scores[1]["val/loss"] == pytest.approx(scores[0]["val/loss"], rel=1e-3)
    assert (one / "metrics.csv").read_text().splitlines()[0] == (other / "metrics.csv").read_text().splitlines()[0]
    assert ours.keys() == theirs.keys()


def test_the_engine_counts_in_the_id_and_the_usual_one_leaves_old_ids_alone(workplace: Path) -> None:  # noqa: ARG001
    plain, usual, fused_ = (
        run_id(composed("train", *GENRE, *more)) for more in ([], ["engine=lightning"], ["engine=fused"])
    )
    assert plain == usual != fused_


@pytest.mark.usefixtures("features")
def test_a_member_that_diverges_ends_alone(workplace: Path) -> None:
    words = ["hydra/launcher=fused", "model.net.activation=relu", "optimizer=sgd", "optimizer.lr=0.01,1e30,0.02"]
    done = command("speechml-train", "-m", *GENRE, *words)
    assert done.returncode != 0
    assert "1 of the runs failed: optimizer.lr=1e+30: the training diverged: the loss of batch" in done.stderr
    states = sorted(json.loads(path.read_text())["state"] for path in workplace.glob("runs/genre_mlp/*/card.json"))
    assert states == ["done", "done", "failed"]


@pytest.mark.usefixtures("features")
def test_a_callback_that_fails_ends_its_run_alone(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from speechml.callbacks import EarlyStopping

    def fail(self: EarlyStopping, trainer: object, *_: object) -> None:  # noqa: ARG001
        if self.patience == 7:
            raise ValueError("no such patience")

    monkeypatch.setattr(EarlyStopping, "on_train_epoch_end", fail)
    compute_together([[*GENRE, f"callbacks.early_stopping.patience={count}"] for count in (3, 7, 5)], workplace, "runs")
    cards = [json.loads(path.read_text()) for path in workplace.glob("runs/genre_mlp/*/card.json")]
    assert sorted(card["state"] for card in cards) == ["done", "done", "failed"]
    (failed,) = [card for card in cards if card["state"] == "failed"]
    assert "callbacks.early_stopping EarlyStopping failed (ValueError: no such patience" in failed["error"]


@pytest.mark.usefixtures("features")
def test_what_cannot_be_trained_together_is_told_and_trained_by_itself(workplace: Path) -> None:
    words = ["hydra/launcher=fused", "trainer.max_epochs=1", "+trainer.accumulate_grad_batches=1,2"]
    told = command("speechml-train", "-m", *GENRE, *words).stderr
    assert "all runs are trained one by one: trainer.accumulate_grad_batches acts within Lightning's loop" in told
    cards = [json.loads(path.read_text()) for path in workplace.glob("runs/genre_mlp/*/card.json")]
    assert [card["state"] for card in cards] == ["done"] * 2
    assert not any("engine=fused" in card["overrides"] for card in cards)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["experiment=lab2a_fir"], "WaveformDenoiser computes its inputs anew at every step"),
        ([*GENRE, "optimizer=lbfgs"], "no stack has the optimizer LBFGS"),
        ([*GENRE, "++optimizer.amsgrad=true"], "no stack has optimizer.amsgrad"),
        ([*GENRE, "trainer.precision=bf16-mixed"], "stacks compute in float32, not bf16-mixed"),
        ([*GENRE, "+trainer.ema=0.99"], "trainer.ema acts within Lightning's loop"),
        ([*GENRE, "model.loss={_target_: torch.nn.MultiMarginLoss}"], "it has a loss of its own"),
    ],
)
def test_a_run_that_no_stack_can_train_is_refused_in_a_sentence(workplace: Path, words: list[str], why: str) -> None:
    from speechml.config.compose import resolve_config
    from speechml.engine.train import train

    cfg = composed("train", *words, "engine=fused")
    assert hindrance(resolve_config(cfg)) == why
    with pytest.raises(UserError, match="engine=fused cannot train this run"):
        train(cfg)
    assert not (workplace / "runs").exists()


@pytest.mark.usefixtures("features")
def test_runs_that_do_not_fit_into_memory_are_trained_in_parts(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = [[*GENRE, f"seed={seed}"] for seed in range(3)]
    compute_together(runs, workplace, "whole")
    monkeypatch.setattr(memory, "free_bytes", lambda: 1e5)
    compute_together(runs, workplace, "parts")
    assert "they are trained in 3 parts" in capfd.readouterr().err
    for card in workplace.glob("whole/*/*/card.json"):
        assert differences(card.parent, workplace / "parts" / card.parent.relative_to(workplace / "whole")) == []


@pytest.mark.usefixtures("features")
def test_a_search_trains_all_executions_of_random_trials_together(workplace: Path) -> None:
    search = ["hydra/launcher=fused", "hydra/sweeper=optuna", "hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=3",
              "hydra.sweeper.executions_per_trial=2", "optimizer.lr=interval(0.001, 0.01)"]  # fmt: skip
    done = succeed("speechml-train", "-m", *GENRE, *search)
    assert "6 runs are trained together in 1 group" in done.stderr
    assert "Trials: 3 done" in done.stdout
    record = json.loads(next(workplace.glob("runs/.sweeps/*/*/sweep.json")).read_text())
    assert all(len(trial["values"]) == 2 for trial in record["trials"])
    again = succeed(*shlex.split(record["best"]["command"]))
    assert "This run is done already" in again.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("features")
def test_a_sweep_that_is_stopped_anywhere_goes_on_and_ends_as_one_that_was_not(workplace: Path) -> None:
    words = [
        "-m",
        "hydra/launcher=fused",
        *GENRE,
        "seed=range(16)",
        "trainer.max_epochs=30",
        "checkpoint.every_n_steps=7",
    ]
    succeed("speechml-train", *words, "paths.runs=whole")
    program = str(Path(sys.executable).with_name("speechml-train"))
    codes = []
    for wait_s in (4, 8, 10):  # while it loads, opens runs or trains, on whatever machine
        process = subprocess.Popen(
            [program, *words, "paths.runs=stopped"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        process.send_signal(signal.SIGTERM)
        process.communicate()
        codes.append(process.returncode)
    assert set(codes) <= {0, 75}
    succeed("speechml-train", *words, "paths.runs=stopped")
    whole = sorted(workplace.glob("whole/genre_mlp/*/card.json"))
    assert len(whole) == 16
    for card in whole:
        assert differences(card.parent, workplace / "stopped" / card.parent.relative_to(workplace / "whole")) == []
