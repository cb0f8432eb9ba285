"""Each part of a run is built once, before its folder exists, and is what Lightning would make of it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from conftest import TINY, composed
from speechml.config.compose import resolve_config
from speechml.engine.parts import Parts, build_data, build_parts
from speechml.errors import UserError
from speechml.models import FIR
from speechml.tasks.training_length import training_steps
from speechml.tasks.waveform_denoising import WaveformDenoiser

FAST = (
    *TINY,
    "experiment=lab2a_fir",
    "model.net.taps=8",
    "data.batch_size=5",
    "callbacks.figures=null",
    "report=false",
)


def parts_of(folder: Path, *overrides: str) -> Parts:
    config = resolve_config(composed("train", *FAST, *overrides))
    return build_parts(config, build_data(config), folder)


def test_each_part_is_built_once(train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    built: Counter[str] = Counter()
    for kind in (FIR, WaveformDenoiser, pl.Trainer, torch.optim.SGD):

        def counting(self: object, *args, kind: type = kind, init: Callable = kind.__init__, **options) -> None:
            built[kind.__name__] += type(self) is kind
            init(self, *args, **options)

        monkeypatch.setattr(kind, "__init__", counting)
    train(*FAST, "trainer.max_epochs=1")
    assert built == {"FIR": 1, "WaveformDenoiser": 1, "Trainer": 1, "SGD": 1}


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("trainer.max_epochs=3", "+trainer.accumulate_grad_batches=4"),
        ("+trainer.limit_train_batches=3",),
        ("+trainer.limit_train_batches=0.4", "trainer.max_epochs=5"),
        ("+trainer.overfit_batches=2",),
        ("trainer.max_steps=11", "trainer.max_epochs=9"),
        ("+trainer.fast_dev_run=2",),
    ],
)
def test_the_length_of_a_training_is_lightnings(overrides: tuple[str, ...], workplace: Path) -> None:
    parts = parts_of(workplace / "run", *overrides)
    steps = training_steps(parts.trainer, len(parts.data.train_dataloader()))
    lengths = []
    parts.task.on_train_start = lambda: lengths.append(parts.trainer.estimated_stepping_batches)  # type: ignore[method-assign]
    parts.trainer.fit(parts.task, datamodule=parts.data)
    assert lengths == [steps]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optimizer.lr=-1", "optimizer"),
        ("scheduler={_target_: torch.optim.lr_scheduler.StepLR}", "scheduler StepLR"),
    ],
)
def test_what_cannot_work_is_refused_before_there_is_a_folder(override: str, says: str, workplace: Path) -> None:
    folder = workplace / "run"
    with pytest.raises(UserError, match=says):
        parts_of(folder, override)
    assert not folder.exists()
