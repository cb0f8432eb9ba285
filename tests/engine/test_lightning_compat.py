"""Private names of Lightning that are borrowed are still there; each test says what to do when one is gone."""

import lightning.pytorch as pl
import pytest
from lightning.pytorch.loops import fit_loop, loop

from speechml.engine.lightning_compat import METRICS

PIN = "; until then pin Lightning below this version in pyproject.toml"


@pytest.mark.parametrize("name", METRICS)
def test_the_connector_of_loggers_keeps_its_metrics(name: str) -> None:
    connector = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")._logger_connector
    remedy = "find where Trainer keeps callback_metrics, and let capture_metrics and restore_metrics read it there"
    assert name in vars(connector), remedy + PIN


@pytest.mark.parametrize(
    ("owner", "name", "remedy"),
    [
        (loop, "_Loop", "find the base of trainer.fit_loop; restore_loops settles every loop below it"),
        (fit_loop, "RestartStage", "find what decides in FitLoop.on_advance_start whether hooks are called again"),
        (fit_loop._FitLoop, "restarted_on_epoch_start", "the same"),
        (loop._Loop, "on_iteration_done", "restore_loops has to mark the restored counters as not restarting"),
    ],
)
def test_what_is_replaced_is_still_there(owner: object, name: str, remedy: str) -> None:
    assert hasattr(owner, name), remedy + PIN
