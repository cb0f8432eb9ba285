"""Private names of Lightning that are borrowed are still there; each test says what to do when one is gone."""

import inspect

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loops import loop
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import subprocess_script

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
        (loop._Loop, "on_iteration_done", "restore_loops has to mark the restored counters as not restarting"),
        (
            subprocess_script,
            "_SubprocessScriptLauncher",
            "write a launcher that starts ranks by LaunchingDDP.start_ranks",
        ),
        (
            subprocess_script._SubprocessScriptLauncher,
            "_check_can_spawn_children",
            "leave the check out of RankLauncher",
        ),
        (DDPStrategy, "_configure_launcher", "set RankLauncher where DDPStrategy chooses its launcher"),
        (ModelCheckpoint, "_save_checkpoint", "let WeightsCheckpoint write where ModelCheckpoint does"),
    ],
)
def test_what_is_replaced_is_still_there(owner: object, name: str, remedy: str) -> None:
    assert hasattr(owner, name), remedy + PIN


def test_checkpoints_of_the_best_note_when_they_were_saved() -> None:
    source = inspect.getsource(ModelCheckpoint)
    for name in ("_last_global_step_saved", "_last_checkpoint_saved"):
        assert name in source, f"WeightsCheckpoint sets {name}, which ModelCheckpoint asks for" + PIN


def test_tensorboards_writer_takes_summaries(tmp_path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    assert logger._experiment is None, "flush_logger asks whether a file is open" + PIN
    writer = logger.experiment._get_file_writer()
    assert callable(writer.add_summary), (
        "add_summary writes the HPARAMS plugin's summaries through the file writer" + PIN
    )
