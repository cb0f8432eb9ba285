"""Losses are what their papers say; one of the user's own trains, and is refused before a run has a folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from conftest import TINY, composed, make_features, read_card
from data.test_recording_pair import course_folder
from speechml.contracts import ClipBatch
from speechml.engine.train import train as train_config
from speechml.engine.trained import load_task
from speechml.errors import UserError
from speechml.tasks import Classifier
from speechml.tasks.losses import RESOLUTIONS, mr_stft_loss, si_sdr_loss

FAST = ("trainer.max_epochs=1", "callbacks.figures=null", "callbacks.progress=null", "report=false")
FIR = (*FAST, *TINY, "experiment=lab2a_fir", "model.net.taps=8")
OWN = """
import torch
from torch import nn


class Weighted(nn.Module):
    def __init__(self, weight=1.0):
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight))
        self.bend = nn.Parameter(torch.tensor(1.0))

    def forward(self, estimate, clean):
        assert estimate.dtype == torch.float32
        return self.weight * (estimate - clean).abs().mean() * self.bend.exp()


class PerItem(nn.Module):
    def forward(self, estimate, clean):
        return (estimate - clean).square().mean((1, 2))


class Numpy(nn.Module):
    def forward(self, estimate, clean):
        return torch.tensor(float((estimate - clean).square().mean()))
"""


@pytest.fixture(autouse=True)
def own_code(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "mine").mkdir()
    (workplace / "mine" / "loss_of_mine.py").write_text(OWN)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace / "mine"))


def pair(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(*shape, generator=generator)
    return clean + 0.5 * torch.randn(*shape, generator=generator), clean


def test_si_sdr_is_torchmetrics_with_a_minus_whatever_the_level_of_the_estimate() -> None:
    estimate, clean = pair(4, 1, 3000)
    theirs = -float(scale_invariant_signal_distortion_ratio(estimate, clean).mean())
    for level in (1.0, 1e-3, -50.0):
        assert float(si_sdr_loss(level * estimate, clean)) == pytest.approx(theirs, abs=1e-4)


def test_clips_without_speech_give_si_sdr_no_gradient_that_is_not_finite() -> None:
    estimate, clean = pair(3, 1, 500)
    clean[0], clean[1], estimate[1] = 0, 0, 0
    estimate.requires_grad_()
    loss = si_sdr_loss(estimate, clean)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(estimate.grad).all()
    assert float(estimate.grad[:2].abs().max()) < 1e-5 * float(estimate.grad[2].abs().max())


def slow_stft(wave: np.ndarray, n_fft: int, hop: int, length: int) -> np.ndarray:
    """Magnitudes by a sum over samples: frames centred, the waveform mirrored at its ends, a Hann window in their middle."""
    window = np.zeros(n_fft)
    left = (n_fft - length) // 2
    window[left : left + length] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    wave = np.pad(wave, n_fft // 2, mode="reflect")
    frames = np.stack([wave[i : i + n_fft] * window for i in range(0, len(wave) - n_fft + 1, hop)])
    kernel = np.exp(-2j * np.pi * np.outer(np.arange(n_fft), np.arange(n_fft // 2 + 1)) / n_fft)
    return np.sqrt(np.maximum(np.abs(frames @ kernel) ** 2, 1e-7))


def test_mr_stft_is_the_formula_of_parallel_wavegan() -> None:
    """||S - X|| / ||S|| plus the mean of |ln S - ln X|, the mean of three resolutions."""
    estimate, clean = pair(2, 1, 2500)
    assert sorted(RESOLUTIONS) == [(512, 50, 240), (1024, 120, 600), (2048, 240, 1200)]
    parts = []
    for resolution in RESOLUTIONS:
        x, s = (
            np.stack([slow_stft(w, *resolution) for w in waves[:, 0].double().numpy()]) for waves in (estimate, clean)
        )
        parts.append(np.linalg.norm(s - x) / np.linalg.norm(s) + np.abs(np.log(s) - np.log(x)).mean())
    assert float(mr_stft_loss(estimate, clean)) == pytest.approx(np.mean(parts), rel=1e-4)
    assert float(mr_stft_loss(clean, clean)) == 0


@pytest.mark.parametrize("samples", [1, 100, 1025])
def test_mr_stft_takes_silence_and_clips_shorter_than_a_frame(samples: int) -> None:
    estimate, clean = pair(2, 1, samples)
    clean[0], estimate[1] = 0, 0
    estimate.requires_grad_()
    loss = mr_stft_loss(estimate, clean)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(estimate.grad).all()


@pytest.mark.parametrize("loss", ["si_sdr", "mr_stft"])
def test_a_further_loss_of_waveforms_is_lowered_by_training(loss: str, train: Callable[..., Path]) -> None:
    words = (*FIR, f"model.loss={loss}", "optimizer=adam", "trainer.max_epochs=4", "logger.csv=true")
    rows = np.genfromtxt(train(*words) / "metrics.csv", delimiter=",", names=True)
    assert rows["trainloss"][-1] < rows["trainloss"][0]
    assert rows["valloss"][-1] < rows["valloss"][0]


@pytest.mark.parametrize("experiment", ["lab2a_fir", "hw2_cnn1d"])
def test_a_loss_of_ones_own_trains_is_kept_and_is_part_of_the_id(
    experiment: str, train: Callable[..., Path], workplace: Path
) -> None:
    word = "model.loss={_target_: loss_of_mine.Weighted, weight: %s}"
    course_folder(workplace / "course", seconds=8.0)
    more = (
        () if experiment == "lab2a_fir" else ("data.root=course", "data.heldout=0.2", "++trainer.limit_train_batches=3")
    )
    few = FIR if experiment == "lab2a_fir" else FAST
    runs = [train(*few, f"experiment={experiment}", *more, word % weight) for weight in (1.0, 2.0)]
    assert runs[0].name != runs[1].name
    task, _ = load_task(runs[1] / "checkpoints" / "last.ckpt")
    assert float(task.criterion.weight) == 2  # a buffer, which goes where the network goes
    assert float(task.criterion.bend) != 1  # a parameter, which is learned
    assert task.loss_name == "Weighted"
    assert next(iter(task.double().criterion.parameters())).dtype == torch.float64


def test_a_loss_of_torch_trains_a_classifier_as_cross_entropy_does(train: Callable[..., Path], workplace: Path) -> None:
    words = (*FAST, "experiment=genre_mlp", f"data.root={make_features(workplace / 'features.npz')}")
    usual, own = train(*words), train(*words, "model.loss={_target_: torch.nn.CrossEntropyLoss}")
    assert usual.name != own.name
    assert read_card(usual)["scores"] == read_card(own)["scores"]


def test_where_words_are_mixed_a_loss_is_given_shares() -> None:
    net = {"_target_": "speechml.models.SpectrogramResNet", "width": 4, "bins": 40}
    generator = torch.Generator().manual_seed(0)
    batch = ClipBatch(torch.randn(6, 1, 16000, generator=generator), torch.arange(6) % 3, torch.arange(6), 0)
    given = []
    for mix in (0.0, 1.0):
        task = Classifier(
            net, {"kind": "log_mel", "mels": 40}, 16000, classes=["a", "b", "c"], augment={"mix": mix},
            loss={"_target_": "torch.nn.CrossEntropyLoss"},
        )  # fmt: skip
        task.criterion.register_forward_hook(lambda _, inputs, out: given.append((inputs[1], float(out.detach()))))
        loss, _ = task.training_loss(batch._replace(partner=batch) if mix else batch)
        assert float(loss.detach()) == given[-1][1]
    assert [target.dim() for target, _ in given] == [1, 2]
    assert torch.allclose(given[1][0].sum(1), torch.ones(len(given[1][0])))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*FIR, "model.loss={_target_: loss_of_mine.PerItem}"),
         r"model.loss PerItem gives a tensor of shape \(\d+,\), not one number for a batch; let it return the mean"),
        ((*FIR, "model.loss={_target_: loss_of_mine.Numpy}"), "model.loss Numpy gives a number without a gradient"),
        ((*FIR, "model.loss={_target_: torch.nn.CosineEmbeddingLoss}"),
         r"CosineEmbeddingLoss does not take outputs and targets of shapes \(.*\) and \(.*\) \(TypeError"),
        ((*FIR, "model.loss={_target_: torch.optim.SGD}"), "model.loss._target_=torch.optim.SGD is no Module"),
        ((*FIR, "model.loss={_target_: loss_of_mine.Weighted, wieght: 1}"), "did you mean model.loss.weight"),
        ((*FIR, "model.loss={weight: 1}"), "model.loss names no class"),
        ((*FAST, "experiment=hw2_cnn1d", "data.root=course", "data.heldout=0.2",
          "model.loss={_target_: loss_of_mine.PerItem}"), "not one number"),
        ((*FAST, "experiment=genre_mlp", "data.root=features.npz", "model.loss={_target_: torch.nn.BCEWithLogitsLoss}"),
         r"BCEWithLogitsLoss does not take outputs and targets of shapes \(6, 3\) and \(6,\)"),
        ((*FAST, "experiment=genre_mlp", "data.root=features.npz", "model.label_smoothing=0.1",
          "model.loss={_target_: torch.nn.CrossEntropyLoss}"), "label_smoothing is of cross entropy; set it to 0"),
    ],
)  # fmt: skip
def test_a_loss_that_cannot_be_trained_with_is_refused_before_a_run_has_a_folder(
    words: tuple[str, ...], says: str, workplace: Path
) -> None:
    make_features(workplace / "features.npz")
    course_folder(workplace / "course", seconds=8.0)
    with pytest.raises(UserError, match=says) as refused:
        train_config(composed("train", *words))
    assert "\n" not in str(refused.value)
    assert not (workplace / "runs").exists()
