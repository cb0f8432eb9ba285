"""Every task keeps the contract, and an ordinary module's gaps are named."""

import lightning.pytorch as pl
import pytest
import torch

from speechml import contracts, tasks
from speechml.contracts import missing_members
from speechml.tasks import WaveformDenoiser


class Ordinary(pl.LightningModule):
    """A module as Lightning's own pages show it."""

    def __init__(self, optimizer: object = None, scheduler: object = None) -> None:  # noqa: ARG002 (as configs give them)
        super().__init__()
        self.net = torch.nn.Linear(1, 1)


@pytest.mark.parametrize("name", list(tasks.PLACES))
def test_every_task_keeps_the_contract(name: str) -> None:
    assert missing_members(getattr(tasks, name), contracts.Task) == []


def test_what_an_ordinary_module_lacks_is_named() -> None:
    assert {"check_data", "evaluate_batch", "setup_for"} <= set(missing_members(Ordinary, contracts.Task))
    assert {"check_data", "items", "scores"} <= set(missing_members(Ordinary(), contracts.Task))
    denoiser = WaveformDenoiser({"_target_": "speechml.models.FIR"}, 16000)
    assert missing_members(denoiser, contracts.Task) == []
