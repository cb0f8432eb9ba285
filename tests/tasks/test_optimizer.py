"""Optimiser and schedule are built once, ahead of the training that takes them."""

import pytest
import torch

from speechml.errors import UserError
from speechml.tasks import WaveformDenoiser

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.01}
ONE_CYCLE = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.01, "total_steps": None, "pct_start": 0.0}


def task(optimizer: dict = ADAM, scheduler: dict | None = None) -> WaveformDenoiser:
    net = {"_target_": "speechml.models.FIR", "taps": 4}
    return WaveformDenoiser(net, 16000, optimizer=optimizer, scheduler=scheduler)


def test_what_was_built_ahead_is_what_the_training_takes_once() -> None:
    denoiser = task(scheduler=ONE_CYCLE)
    built = denoiser.build_optimization(steps=40)
    assert built["lr_scheduler"]["scheduler"].total_steps == 40
    assert denoiser.configure_optimizers() is built
    assert built["optimizer"].param_groups[0]["params"] == list(denoiser.parameters())
    denoiser._trainer = type("Trainer", (), {"estimated_stepping_batches": 7.0, "max_epochs": 1})()
    assert denoiser.configure_optimizers()["lr_scheduler"]["scheduler"].total_steps == 7


def test_the_schedule_is_as_long_as_the_training_unless_its_config_says_how_long() -> None:
    cosine = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"}
    for node, length in ((cosine, 40), (cosine | {"T_max": 5}, 5)):
        built = task(scheduler=node).build_optimization(steps=40)
        assert built["lr_scheduler"]["scheduler"].T_max == length
        assert built["lr_scheduler"]["interval"] == "step"
    assert set(task().build_optimization(steps=1)) == {"optimizer"}


def test_the_shortest_training_has_a_schedule() -> None:
    """Two steps up, one down at least, without which OneCycleLR divides by zero."""
    built = task(scheduler=ONE_CYCLE | {"pct_start": 0.1}).build_optimization(steps=1)
    assert built["lr_scheduler"]["scheduler"].total_steps == 3


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "says"),
    [
        (ADAM | {"lr": -1.0}, None, "optimizer Adam: Invalid learning rate"),
        (ADAM | {"speed": 1}, None, "optimizer Adam: .*speed"),
        ({"_target_": "torch.optim.Adm"}, None, "optimizer._target_=torch.optim.Adm names nothing"),
        (ADAM, ONE_CYCLE | {"anneal_strategy": "x"}, "scheduler OneCycleLR"),
    ],
)
def test_what_a_constructor_refuses_is_one_sentence(optimizer: dict, scheduler: dict | None, says: str) -> None:
    with pytest.raises(UserError, match=says):
        task(optimizer, scheduler).build_optimization(steps=10)


def test_the_parameters_that_are_optimised_are_those_of_the_network_when_it_has_moved() -> None:
    denoiser = task()
    built = denoiser.build_optimization(steps=1)
    denoiser.double()
    assert built["optimizer"].param_groups[0]["params"][0].dtype == torch.float64
