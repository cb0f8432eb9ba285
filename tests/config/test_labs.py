"""The lab experiments follow the labs to the letter; what was chosen, and where they differ, is said everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import speechml
from conftest import composed, read_card
from speechml.data import LabPairs
from speechml.metrics.waveform import waveform_scores
from speechml.models import MLP

ROOT = Path(__file__).parents[2]
# What LABS specify, by the keys of our configs.
LABS: dict[str, dict[str, Any]] = {
    "lab2a_fcnn": {
        "model.net.hidden": 100, "model.loss": "mse", "optimizer._target_": "torch.optim.SGD", "optimizer.lr": 0.1,
        "data.batch_size": 128, "trainer.max_epochs": 50, "model.normalize": False, "scheduler": {},
    },
    "lab2a_fir": {
        "model.net.taps": 81, "model.loss": "mse_sum", "optimizer._target_": "torch.optim.SGD", "optimizer.lr": 0.005,
        "data.batch_size": 16, "trainer.max_epochs": 20, "model.normalize": False, "scheduler": {},
    },
    "lab2b_mimo_cnn": {
        "model.net.taps": [40, 40], "model.net.features": [1, 5, 1], "model.loss": "l1", "optimizer.lr": 0.5,
        "optimizer._target_": "torch.optim.SGD", "data.batch_size": 32, "trainer.max_epochs": 20, "scheduler": {},
    },
    "lab2b_cnn": {"model.loss": "l1", "optimizer.lr": 0.5, "data.batch_size": 32, "trainer.max_epochs": 20},
    "hw2_cnn1d": {"model.n_fft": 1024, "model.hop": 512, "model.padding": "silent", "data.heldout": 0, "model.augment.remix": 0},
    "hw2_cnn2d": {"model.net.frames": 20, "model.target": "magnitude", "data.heldout": 0, "model.normalize": False},
    "words_spectrogram": {
        "model.front_end.kind": "power", "model.front_end.n_fft": 512, "model.front_end.window_s": 0.03,
        "model.front_end.hop_s": 0.01, "data.split": "random", "data.batch_size": 128, "trainer.max_epochs": 50,
        "scheduler._target_": "torch.optim.lr_scheduler.OneCycleLR", "optimizer.lr": 0.01, "model.augment": None,
        "callbacks.early_stopping.patience": 3, "callbacks.early_stopping.after": 0, "checkpoint.test_weights": "last",
    },
    "words_mel": {"model.front_end.kind": "mel", "model.front_end.mels": 128, "callbacks.early_stopping.patience": 3},
    "words_complex": {"model.front_end.kind": "complex", "model.net.channels": 2, "callbacks.early_stopping.patience": 3},
    "genre_mlp": {
        "model.columns": ["true_peak_db", "rms_lin2", "rms_db", "lufs_lin2", "lufs_db", "crest_db", "low_high_ratio"],
        "model.log": [], "optimizer._target_": "torch.optim.Adam", "optimizer.lr": 0.001, "scheduler": {},
        "data.batch_size": 16, "trainer.max_epochs": 250, "callbacks.early_stopping.patience": 2,
        "callbacks.early_stopping.monitor": "val/loss", "callbacks.early_stopping.after": 0,
        "checkpoint.test_weights": "best", "data.protocol": "as_published",
    },
}  # fmt: skip


def needed(experiment: str) -> list[str]:
    """What the command has to give."""
    return [] if experiment.startswith(("lab", "hw2")) else ["data.root=x"]


@pytest.mark.parametrize("experiment", LABS)
def test_an_experiment_of_a_lab_is_what_the_lab_specifies(experiment: str) -> None:
    cfg = composed(
        "train", f"experiment={experiment}", "data.root=x" if not experiment.startswith(("lab", "hw")) else "seed=0"
    )
    own = {key: OmegaConf.select(cfg, key) for key in LABS[experiment]}
    own = {key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in own.items()}
    own = {key: {} if key == "scheduler" and not (value or {}).get("_target_") else value for key, value in own.items()}
    assert own == LABS[experiment]


@pytest.mark.parametrize("experiment", LABS)
def test_what_was_chosen_and_where_it_differs_stands_in_the_pages(experiment: str) -> None:
    published = composed("train", f"experiment={experiment}", *needed(experiment)).published
    page = " ".join((ROOT / "docs" / "labs.md").read_text().split())
    lines = [*published.get("choices", []), *published.get("deviations", [])]
    assert lines or experiment == "words_mel"
    for line in lines:
        assert line in page


def test_the_searchs_layers_have_widths_of_their_own() -> None:
    cfg = composed("train", "experiment=genre_mlp", "hparams_search=genre", "data.root=x", "model.net.layers=3")
    widths = {"layer1": 4, "layer2": 10, "layer3": 2, "layer4": 16, "layer5": 16}
    assert dict(cfg.model.net.units).keys() == widths.keys()
    net = MLP(7, 3, layers=3, units=widths)
    assert [part.out_features for part in net.layers if isinstance(part, torch.nn.Linear)] == [4, 10, 2, 3]


@pytest.fixture
def lab_file(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for _ in range(50):
        clean = 1e-3 * torch.randn(1, 3200, generator=generator)
        pairs.append((clean + 1e-3 * torch.randn(1, 3200, generator=generator), clean))
    torch.save(pairs, tmp_path / "data_lab_2A.pt")
    return tmp_path / "data_lab_2A.pt"


@pytest.mark.parametrize(
    ("val_pairs", "sizes"), [(0, (40, 10, 10)), (5, (35, 5, 10)), (None, (30, 10, 10)), (99, (30, 10, 10))]
)
def test_all_pairs_but_those_of_the_test_are_trained_on(
    val_pairs: int | None, sizes: tuple[int, int, int], lab_file: Path
) -> None:
    data = LabPairs(
        root=lab_file,
        sample_rate=32000,
        clip_s=0.1,
        batch_size=16,
        split_seed=0,
        cache=str(lab_file.parent),
        val_pairs=val_pairs,
    )
    splits = data.splits
    assert tuple(len(splits[split]) for split in ("train", "val", "test")) == sizes
    assert not set(splits["test"]) & set(splits["train"])
    assert data.validation_is_trained_on is (val_pairs == 0)
    assert set(splits["val"]) <= set(splits["train"]) or val_pairs != 0


def test_the_score_of_the_training_part_is_of_the_weights_that_are_kept(lab_file: Path, train: Any) -> None:
    run = train(
        "experiment=lab2a_fir", "data=lab_pairs", f"data.root={lab_file}", "data.clip_s=0.1", "optimizer.lr=200",
        "trainer.max_epochs=2", "model.net.taps=8",
    )  # fmt: skip
    card, model = read_card(run), speechml.load(run)
    data = LabPairs(
        root=lab_file, sample_rate=32000, clip_s=0.1, batch_size=16, split_seed=0, cache=str(run), val_pairs=0
    )
    pairs = torch.load(lab_file, weights_only=True)
    for split in ("train", "test"):
        rows = [pairs[number] for number in data.splits[split]]
        noisy, clean = (torch.stack(side) for side in zip(*rows, strict=True))
        with torch.no_grad():
            mse = waveform_scores(model(noisy), clean)["mse"].mean()
        assert card["scores"][f"{split}/mse"] == pytest.approx(float(mse), rel=1e-5)
    assert card["data"]["recordings"] == {"train": 40, "val": 10, "test": 10}
    said = (run / "scores.txt").read_text()
    assert "choice: 81 taps as in the text" in said
    assert "deviation: all taps learn" in said
