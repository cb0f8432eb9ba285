"""`debug=profiler`: a short table of where the time goes, and profile.txt in the run's folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.pytorch.profilers import SimpleProfiler

from conftest import TINY
from speechml.engine.profiling import time_table

RUN = ("experiment=lab2a_fir", "report=false", "callbacks.figures=null", *TINY, "debug=profiler")


def test_the_table_adds_up_to_the_whole_and_counts_nothing_twice() -> None:
    profiler = SimpleProfiler()
    profiler.start_time -= 10.0
    profiler.recorded_durations |= {
        "[Strategy]SingleDeviceStrategy.training_step": [1.0, 1.0], "[Strategy]SingleDeviceStrategy.backward": [1.0],
        "[LightningModule]X.optimizer_step": [3.5], "run_training_batch": [4.0], "save_checkpoint": [0.5],
        "[Callback]Best{}.on_validation_end": [0.5], "[Callback]Listening.on_test_end": [1.0],
    }  # fmt: skip
    lines = [line.split() for line in time_table(profiler).splitlines()[2:]]
    assert [line[-4] for line in lines if "loss" in line] == ["2.00"]
    assert [line[-4] for line in lines if "optimiser" in line] == ["0.50"]
    assert [line[-4] for line in lines if "recordings," in line] == ["1.00"]
    assert [line[-3] for line in lines if line[0] == "everything"] == ["5.00"]  # of 10 s, without those 5
    assert [line[-3] for line in lines if line[0] == "all"] == ["10.00"]


def test_a_profile_is_shown_written_and_its_place_is_told(
    train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*RUN)
    out = capsys.readouterr().out
    text = (run / "profile.txt").read_text()
    table = text.partition("\n\n")[0]
    assert table.startswith("where the time goes")
    assert out.rstrip().endswith(f"{table}\nProfile: {run.relative_to(Path.cwd())}/profile.txt")
    assert "[Strategy]SingleDeviceStrategy.training_step" in text  # all that Lightning has measured
    assert not list(run.glob("*-profile*"))


@pytest.mark.slow
@pytest.mark.parametrize("profiler", ["advanced", "pytorch"])
def test_other_profilers_write_their_own_and_pytorch_a_trace(
    profiler: str, train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*RUN, f"trainer.profiler={profiler}")
    assert "FIT Profiler Report" in (run / "profile.txt").read_text()
    traces = {trace.name for trace in run.glob("*-profile*.json")}
    assert bool(traces) == (profiler == "pytorch")
    out = capsys.readouterr().out
    assert all(f"Trace (chrome://tracing): {run.relative_to(Path.cwd()) / trace}" in out for trace in traces)
