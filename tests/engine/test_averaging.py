"""`trainer.ema`: what is validated, kept and tested is the moving average of the weights, wherever the run was stopped."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import TINY, composed, read_card
from resuming import GENRE, OTHERS, at_step, run_in, stop_in
from speechml.engine.averaging import AveragedWeights, mean
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.parts import build_data
from speechml.engine.trained import load_task, one_process_trainer
from speechml.errors import UserError
from speechml.runs.identity import run_id
from stress_resume import differences

pytestmark = pytest.mark.usefixtures("genre_features")
EMA = "+trainer.ema=0.9"
FIR = (
    "experiment=lab2a_fir",
    "data.batch_size=8",
    "callbacks.figures=null",
    "report=false",
    *TINY,
    "trainer.max_epochs=3",
)


def noted_weights(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """What the weights are when the training begins and after each step, as the training goes on."""
    noted: list[dict[str, torch.Tensor]] = []

    def note(module: torch.nn.Module) -> None:
        noted.append({name: value.clone().double() for name, value in module.state_dict().items()})

    started, ended = AveragedWeights.on_train_start, AveragedWeights.on_train_batch_end
    monkeypatch.setattr(AveragedWeights, "on_train_start", lambda self, t, m: (note(m), started(self, t, m))[1])
    monkeypatch.setattr(
        AveragedWeights, "on_train_batch_end", lambda self, t, m, *a: (note(m), ended(self, t, m, *a))[1]
    )
    return noted


def reference(noted: list[dict[str, torch.Tensor]], decay: float) -> dict[str, torch.Tensor]:
    """The moving average, as it is written in the documentation."""
    average = noted[0]
    for step, weights in enumerate(noted[1:], 1):
        d = min(decay, (1 + step) / (10 + step))
        average = {name: d * average[name] + (1 - d) * value for name, value in weights.items()}
    return average


def test_the_weights_that_are_kept_are_the_average_of_the_formula(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = noted_weights(monkeypatch)
    run = train(*FIR, EMA, "checkpoint.test_weights=last")
    last = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert len(noted) == 1 + last["global_step"] > 10, last["global_step"]
    for name, value in reference(noted, 0.9).items():
        torch.testing.assert_close(last["state_dict"][name].double(), value, rtol=1e-5, atol=1e-7)
        assert torch.equal(last["live"][name].double(), noted[-1][name])  # what a longer training would go on with
    assert not torch.equal(last["state_dict"]["net.taps"], last["live"]["net.taps"])


@pytest.mark.parametrize("weights", ["best", "last"])
def test_what_is_scored_is_the_average_and_scores_so_again(
    weights: str, train: Callable[..., Path], workplace: Path
) -> None:
    run = train(*FIR, EMA, f"checkpoint.test_weights={weights}")
    card = read_card(run)
    assert not [line for line in card["warnings"] if "of the kept weights" in line or "a callback put" in line]
    task, record = load_task(run / "checkpoints" / f"{weights}.ckpt")
    data = build_data(record["config"])
    task.setup_for(data)
    trainer = one_process_trainer(accelerator="cpu", default_root_dir=workplace)
    for scored in (trainer.validate, trainer.test):
        scored(task, datamodule=data, verbose=False)
    assert task.scores["test/snr_db"] == card["scores"]["test/snr_db"]
    assert float(trainer.callback_metrics["test/snr_db"]) == pytest.approx(card["scores"]["test/snr_db"])


def test_an_average_of_equal_values_is_that_value_and_counts_are_not_averaged() -> None:
    values = torch.tensor([0.1, -torch.inf, 1e-30, 3.0])
    assert torch.equal(mean(values, values.clone(), 0.999), values)
    assert torch.equal(mean(torch.tensor([5]), torch.tensor([7]), 0.999), torch.tensor([7]))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("checkpoint.test_weights=last",),
        ("+trainer.accumulate_grad_batches=3", "scheduler=one_cycle"),
        ("+trainer.val_check_interval=0.5", "scheduler=cosine"),
        ("optimizer=lbfgs", "scheduler=none"),
    ],
    ids=lambda words: words[0] if words else "as it is",
)
def test_an_averaged_run_goes_on_bit_for_bit(words: tuple[str, ...]) -> None:
    alone = run_in("alone", *GENRE, EMA, *words)
    stop_in("stopped", 7, signal.SIGTERM, *GENRE, EMA, *words)
    again = run_in("stopped", *GENRE, EMA, *words)
    assert differences(alone, again) == []
    live = [read_checkpoint(run / "checkpoints" / "last.ckpt")["live"] for run in (alone, again)]
    assert all(torch.equal(live[0][name], live[1][name]) for name in live[0])


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 5, 10, 11, 20])
def test_an_averaged_run_that_was_killed_or_stopped_at_any_step_goes_on_bit_for_bit(step: int) -> None:
    alone = run_in("alone", *GENRE, EMA)
    stop_in("stopped", step, signal.SIGTERM, *GENRE, EMA)
    assert differences(alone, run_in("stopped", *GENRE, EMA)) == []

    def die() -> None:
        raise RuntimeError("as if killed")

    often = (*GENRE, EMA, "checkpoint.every_n_steps=3")
    with at_step(step, die), pytest.raises(RuntimeError, match="as if killed"):
        run_in("killed", *often)
    assert differences(alone, run_in("killed", *often)) == []


@pytest.mark.slow
def test_running_statistics_of_an_averaged_run_go_on_bit_for_bit() -> None:
    words = (*OTHERS["words"], EMA, "trainer.max_steps=10")
    alone = run_in("alone", *words)
    stop_in("stopped", 5, signal.SIGTERM, *words)
    again = run_in("stopped", *words)
    assert differences(alone, again) == []
    weights = read_checkpoint(again / "checkpoints" / "best.ckpt")["state_dict"]
    assert any(name.endswith("running_mean") for name in weights)


def test_an_average_is_another_run_and_none_is_the_same() -> None:
    plain = run_id(composed("train", *FIR))
    assert run_id(composed("train", *FIR, "+trainer.ema=null")) == plain
    assert run_id(composed("train", *FIR, EMA)) != plain


def test_two_averages_of_the_weights_are_refused(train: Callable[..., Path]) -> None:
    other = "+callbacks.mine={_target_: lightning.pytorch.callbacks.EMAWeightAveraging}"
    with pytest.raises(
        UserError, match=r"trainer.ema and callbacks.mine would both average the weights; leave one out"
    ):
        train(*FIR, EMA, other)
