"""Gradients that are accumulated are those of the larger batch, and optimisers that compute a batch again are not misled."""

import signal
from pathlib import Path

import pytest
import torch

from conftest import TINY, composed
from resuming import GENRE, run_in, stop_in
from speechml.config.compose import resolve_config
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.parts import build_data, build_parts
from speechml.errors import UserError
from speechml.tasks.training_length import training_steps
from stress_resume import differences

OWN = '''
import torch


class Mine(torch.optim.LBFGS):
    """LBFGS under another name."""


class Twice(torch.optim.SGD):
    """Computes each batch twice, as sharpness-aware minimisation does."""

    def step(self, closure):
        first, second = closure(), closure()
        assert first == second, "other dropout"
        return super().step(lambda: second)
'''
SCHEDULER = "{_target_: lightning.pytorch.callbacks.GradientAccumulationScheduler, scheduling: {1: 2}}"
FIR = ("experiment=lab2a_fir", *TINY, "model.net.taps=8", "threads=1", "report=false", "callbacks.listening=null",
       "callbacks.figures=null", "trainer.max_epochs=2")  # fmt: skip


@pytest.fixture(autouse=True)
def own_code(genre_features: None, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    (workplace / "lab").mkdir()
    (workplace / "lab" / "closures.py").write_text(OWN)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace / "lab"))


@pytest.mark.parametrize("optimizer", ["torch.optim.LBFGS", "closures.Mine"])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("+trainer.accumulate_grad_batches=2",), "add up the gradients again"),
        ((f"+callbacks.accumulation={SCHEDULER}",), "add up the gradients again"),
        (("+trainer.gradient_clip_val=1.0",), "others when they are clipped"),
        (("trainer.precision=16-mixed",), "16-bit"),
        (("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"), "processes would wait"),
    ],
)
def test_what_would_mislead_lbfgs_is_refused_before_it_begins(
    words: tuple[str, ...], says: str, optimizer: str, workplace: Path
) -> None:
    config = resolve_config(composed("train", *GENRE, "optimizer=lbfgs", f"optimizer._target_={optimizer}", *words))
    with pytest.raises(UserError, match=says):
        build_parts(config, build_data(config), workplace / "run")
    assert not (workplace / "run").exists()


def test_an_optimiser_that_computes_a_batch_again_sees_the_same_dropout() -> None:
    words = (*GENRE, "optimizer=sgd", "optimizer._target_=closures.Twice", "scheduler=none")
    alone = run_in("alone", *words)
    stop_in("stopped", 13, signal.SIGTERM, *words)
    assert differences(alone, run_in("stopped", *words)) == []
    with pytest.raises(UserError, match="Twice computes its batch several times a step"):
        run_in("refused", *words, "+trainer.accumulate_grad_batches=2")


@pytest.mark.parametrize(
    ("batch", "count"), [(12, 4), (6, 3), (36, 2)]
)  # of 108 rows: the last group is whole, or is not
def test_accumulated_batches_step_as_one_large_batch(batch: int, count: int) -> None:
    words = (*GENRE, "optimizer=sgd", "optimizer.lr=0.1", "scheduler=none", "model.net.dropout=0")
    one = run_in("one", *words, f"data.batch_size={batch * count}")
    several = run_in("several", *words, f"data.batch_size={batch}", f"+trainer.accumulate_grad_batches={count}")
    check_same_weights(one, several)


def test_a_loss_that_is_a_sum_is_one_over_all_accumulated_batches() -> None:
    words = (*FIR, "model.loss=mse_sum")
    one = run_in("one", *words, "data.batch_size=8")
    several = run_in("several", *words, "data.batch_size=2", "+trainer.accumulate_grad_batches=4")
    check_same_weights(one, several)


def check_same_weights(one: Path, other: Path) -> None:
    a, b = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (one, other))
    assert a["global_step"] == b["global_step"]
    for name, weight in a["state_dict"].items():
        torch.testing.assert_close(weight, b["state_dict"][name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("scheduling", "steps"), [("{1: 2}", 12 + 6 + 6), ("{0: 3, 2: 5}", 4 + 4 + 3)])
def test_a_schedule_is_as_long_as_a_training_whose_accumulation_changes(
    scheduling: str, steps: int, workplace: Path
) -> None:
    callback = SCHEDULER.replace("{1: 2}", scheduling)
    words = ("trainer.max_epochs=3", f"+callbacks.accumulation={callback}")
    config = resolve_config(composed("train", *GENRE, "scheduler=cosine", *words))
    parts = build_parts(config, build_data(config), workplace / "run")
    assert training_steps(parts.trainer, 12) == steps
