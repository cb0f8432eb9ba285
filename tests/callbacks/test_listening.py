"""Recordings put where they can be listened to."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechml.callbacks.listening import add_audio


@pytest.mark.parametrize("samples", [0, 1, 2, 3])
def test_a_recording_of_next_to_no_samples_can_be_put_into_tensorboard(tmp_path: Path, samples: int) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    add_audio(SimpleNamespace(loggers=[logger]), SimpleNamespace(sample_rate=16000), "x", torch.ones(samples), 0)  # type: ignore[arg-type]
    logger.experiment.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.length_frames for event in events.Audio("x")] == [max(2, samples)]
