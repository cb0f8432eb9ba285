"""The learning-rate finder tells a rate, and nothing is trained."""

from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from conftest import TINY, command, composed, make_words, succeed
from speechml.config.compose import resolve_config
from speechml.contracts import FeatureBatch, IndexBatch, ItemKind
from speechml.data.base import Batches
from speechml.engine.lr_finder import HIGHEST, LOWEST, RateCurve, advice, find_rate, steepest_fall
from speechml.engine.parts import build_data, build_parts
from speechml.tasks.base import Task

WORDS = ("data.root=words", "data.split=random", "model.net.width=8")


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["words_tuned", "lab2a_fir", "hw2_cnn1d"])
def test_every_kind_of_task_has_a_curve(experiment: str, workplace: Path) -> None:
    make_words(workplace / "words", speakers=12)
    keys = {"words_tuned": WORDS, "lab2a_fir": (*TINY, "model.net.taps=8"), "hw2_cnn1d": ()}[experiment]
    config = resolve_config(composed("train", f"experiment={experiment}", *keys))
    curve = find_rate(build_parts(config, build_data(config), workplace / "nowhere"), steps=40)
    assert {path.name for path in workplace.iterdir()} == {"words"}
    np.testing.assert_allclose(curve.rates[:2], [LOWEST, LOWEST * (HIGHEST / LOWEST) ** (1 / 39)])
    assert 3 <= len(curve.rates) == len(curve.losses) == len(curve.smoothed) <= 40
    assert curve.smoothed[0] == pytest.approx(curve.losses[0])
    assert LOWEST <= curve.suggestion <= HIGHEST


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    curve = 1 / (1 + np.exp((np.arange(100) - 40) / 4))
    curve[70:] += 0.1 * np.arange(30)
    assert abs(steepest_fall(curve.tolist()) - 40) <= 1


def test_one_override_plots_the_curve_and_prints_the_override_to_paste(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"JOB_ID": "7", "NTASKS": "4", "PROCID": "0", "NODEID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)  # in an allocation for four, whatever it asks for
    done = succeed("speechml-train", "experiment=lab2a_fir", *TINY, "model.net.taps=8", "threads=1", "find_lr=true")
    assert "\n  optimizer.lr=" in done.stdout
    folder = next((workplace / "runs" / ".lr_finder" / "lab2a_fir").iterdir())
    assert {p.name for p in folder.iterdir()} == {"lr_finder.png", "lr_finder.csv"}
    assert not list((workplace / "runs").glob("lab2a_fir/*"))


class Quadratic(Task[FeatureBatch, FeatureBatch]):
    """Loss scale * (weight - 1)^2 + offset of a batch of that scale: SGD at rate r multiplies the error by 1 - 2 r scale."""

    kind = ItemKind.ROWS

    def __init__(self, offset: float = 0.0, slope: float = 1.0) -> None:
        super().__init__({"_target_": "torch.optim.SGD"})
        self.net = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.net.weight)
        self.offset, self.slope = offset, slope

    def training_loss(self, batch: FeatureBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        error = (batch.features * (self.slope * self.net.weight - 1) ** 2).mean()
        return error + self.offset, {}


class Scales(pl.LightningDataModule):
    """Batches whose loss differs by factors, as recordings of other levels."""

    seed = 0

    def __init__(self, scales: list[float]) -> None:
        super().__init__()
        self.scales = scales

    def train_dataloader(self) -> Batches:
        return Batches("train", lambda _: [torch.tensor([i]) for i in range(len(self.scales))], int)

    def load_batch(self, batch: IndexBatch) -> FeatureBatch:
        scale = torch.tensor([[self.scales[int(batch.indices[0])]]])
        return FeatureBatch(scale, torch.zeros(1), batch.indices)

    def on_after_batch_transfer(self, batch: IndexBatch, dataloader_idx: int) -> FeatureBatch:  # noqa: ARG002
        return self.load_batch(batch)


def curve_of(scales: list[float], **keys: float) -> RateCurve:
    trainer = {"accelerator": "cpu", "precision": "32-true", "gradient_clip_val": None, "deterministic": True}
    config = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}, "scheduler": {}, "trainer": trainer}
    return find_rate(SimpleNamespace(config=config, task=Quadratic(**keys), data=Scales(scales)))  # type: ignore[arg-type]


LEVELS = [10 ** (-0.3 * (place % 7)) for place in range(40)]  # over 18 dB


@pytest.mark.parametrize("scales", [[1.0] * 20, LEVELS, LEVELS[::-1], [0.02, 1.0] * 20, [30.0, 0.1, 1.0] * 9])
@pytest.mark.parametrize("offset", [0.0, 5.0, -20.0, -1.0])  # losses in dB are below 0
def test_the_suggestion_learns_whatever_the_levels_of_the_batches_are(scales: list[float], offset: float) -> None:
    """Above 1 / max(scale) SGD diverges; below a hundredth of it a hundred steps go nowhere."""
    curve = curve_of(scales, offset=offset)
    assert curve.suggestion is not None, curve.doubt
    assert 0.003 / max(scales) <= curve.suggestion <= 1.0 / max(scales)


@pytest.mark.parametrize(
    ("scales", "slope", "says"),
    [
        ([1e-9] * 20, 1.0, "hardly falls at any rate"),
        ([1.0] * 20, 0.0, "hardly falls at any rate"),
        ([1.0] * 20, 0.05, "still falls at the highest rates"),
        ([8e5] * 20, 1.0, "at the lowest rates"),
    ],
)
def test_no_rate_is_suggested_at_the_edge_of_the_range(scales: list[float], slope: float, says: str) -> None:
    curve = curve_of(scales, slope=slope)
    assert curve.suggestion is None
    assert says in curve.doubt


@pytest.mark.parametrize("optimizer", [{"lr": 0.1}, {"lr": 0.2}])
def test_the_override_is_of_the_key_that_sets_the_rate(optimizer: dict[str, float]) -> None:
    curve = curve_of([1.0] * 20)
    config = {"optimizer": optimizer, "scheduler": {"max_lr": 0.1}}
    assert ("optimizer.lr=" if optimizer["lr"] == 0.1 else "scheduler.max_lr=") in advice(curve, config)


@pytest.mark.parametrize(
    "words",
    [("seed=0,1",), ("seed=0,1", "hydra/launcher=local"), ("hydra/sweeper=optuna", "optimizer.lr=interval(0.1,1)")],
)
def test_a_sweep_of_what_trains_nothing_is_refused(words: tuple[str, ...], workplace: Path) -> None:
    done = command("speechml-train", "-m", "experiment=lab2a_fir", *TINY, "find_lr=true", *words)
    assert done.returncode == 2
    assert "find_lr=true trains nothing, so there is nothing to sweep; leave out -m" in done.stderr
    assert not list(workplace.glob("runs/lab2a_fir/*"))
