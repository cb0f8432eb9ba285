"""A word network hears the waveform itself, or what a module of the user's own makes of it."""

from pathlib import Path

import pytest
import torch

from conftest import composed, make_words, read_card
from speechml.contracts import ClipBatch
from speechml.engine.train import train as train_config
from speechml.engine.trained import load_task
from speechml.errors import UserError
from speechml.models import M5
from speechml.runs.identity import run_id
from speechml.signal.front_ends import FrontEnd
from speechml.tasks import Classifier

FAST = (
    "callbacks.figures=null",
    "callbacks.progress=null",
    "report=false",
    "trainer.precision=32",
    "data.batch_size=16",
)
CLASSES = ["a", "b", "c"]
OWN = """
import torch
from torch import nn


class Bank(nn.Module):
    def __init__(self, sample_rate, filters=8):
        super().__init__()
        self.filters = nn.Conv1d(1, filters, sample_rate // 100, stride=sample_rate // 200, bias=False)

    def forward(self, waveform):
        return self.filters(waveform).square().add(1e-6).log()


class Mean(nn.Module):
    def __init__(self, inputs=8, classes=30):
        super().__init__()
        self.last = nn.Linear(inputs, classes)

    def forward(self, features):
        return self.last(features.mean(-1))


class Halves(nn.Module):
    def forward(self, waveform):
        return waveform.view(len(waveform), 2, 3, -1)
"""


@pytest.fixture
def own_code(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "mine").mkdir()
    (workplace / "mine" / "banks.py").write_text(OWN)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace / "mine"))


def classifier(front_end: dict[str, object], net: dict[str, object] | None = None, **keys: object) -> Classifier:
    return Classifier(net or {"_target_": "speechml.models.M5", "width": 4}, front_end, 16000, classes=CLASSES, **keys)


def test_m5_is_the_network_of_the_paper_and_takes_the_shortest_waveform_that_it_says() -> None:
    """Its table: kernels 80, 3, 3, 3; channels 128, 128, 256, 512; about half a million weights, at 8 kHz."""
    net = M5(classes=10, kernel=80, stride=4)
    assert [tuple(layer.weight.shape) for layer in net.features if isinstance(layer, torch.nn.Conv1d)] == [
        (128, 1, 80), (128, 128, 3), (256, 128, 3), (512, 256, 3),
    ]  # fmt: skip
    assert 0.5e6 < sum(weight.numel() for weight in net.parameters()) < 0.6e6
    short = M5(width=2).eval()
    assert short(torch.zeros(1, 1, 160 + 423 * 8)).shape == (1, 30)
    with pytest.raises(RuntimeError):
        short(torch.zeros(1, 1, 160 + 423 * 8 - 1))


def test_the_waveform_itself_is_given_to_the_network_varied_and_mixed() -> None:
    assert FrontEnd("waveform").shape(16000) == (1, 16000)
    task = classifier({"kind": "waveform"}, augment={"gain_db": 6.0, "mix": 1.0}, normalize="recording").eval()
    heard: list[torch.Tensor] = []
    task.net.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    generator = torch.Generator().manual_seed(0)
    batch = ClipBatch(torch.randn(4, 1, 16000, generator=generator), torch.arange(4) % 3, torch.arange(4), 0)
    task(batch.waveform)
    assert float(heard[-1].square().mean((1, 2)).std()) < 1e-6  # one level
    assert torch.allclose(heard[-1] / heard[-1].norm(), batch.waveform / batch.waveform.norm(), atol=1e-3)
    other = batch._replace(waveform=torch.randn(4, 1, 16000, generator=generator))
    task.training_loss(batch._replace(partner=other))
    weight = task.augmentation.weights(task.seed, 0, batch.indices)[:, None, None]
    unit = [wave / wave.square().mean((1, 2), keepdim=True).sqrt() for wave in (batch.waveform, other.waveform)]
    mixed = weight * unit[0] + (1 - weight) * unit[1]
    torch.testing.assert_close(heard[-1] / heard[-1].norm(), mixed / mixed.norm())


@pytest.mark.usefixtures("own_code")
def test_a_front_end_of_ones_own_is_learned_and_kept(workplace: Path) -> None:
    (workplace / "mine" / "model").mkdir()
    (workplace / "mine" / "model" / "bank.yaml").write_text(
        "_target_: speechml.tasks.Classifier\nnet: {_target_: banks.Mean}\nfront_end: {_target_: banks.Bank}\n"
        "sample_rate: ${data.sample_rate}\n"
    )
    cfg = composed("train", *FAST, "experiment=words_mel", "model=bank", f"data.root={make_words(workplace / 'words')}",
                   "trainer.max_epochs=2")  # fmt: skip
    train_config(cfg)
    run = workplace / "runs" / cfg.name / run_id(cfg)
    assert read_card(run)["state"] == "done"
    task, _ = load_task(run / "checkpoints" / "best.ckpt")
    assert task.front_end.filters.weight.shape == (8, 1, 160)
    assert task(torch.zeros(2, 1, 8000)).shape == (2, 3)


@pytest.mark.parametrize("key", ["time_masks", "frequency_masks"])
def test_masks_are_refused_where_there_is_no_spectrogram(key: str) -> None:
    with pytest.raises(ValueError, match=r"front_end gives none; set model.augment.time_masks=0 and"):
        classifier({"kind": "waveform"}, augment={key: 2})
    assert classifier({"kind": "waveform"}, augment={key: 0}).augmentation.time_masks == 0


@pytest.mark.usefixtures("own_code")
@pytest.mark.parametrize(
    ("front_end", "says"),
    [
        ({"_target_": "banks.Halves"}, "front_end Halves does not take waveforms of 1 x 1 x 16000"),
        ({"_target_": "banks.Bank"}, "M5 does not take items of 8 x 199, which model.front_end gives"),
        ({"kind": "mel"}, "M5 does not take spectrograms of 1 x 128 x 101"),
        ({"_target_": "torch.optim.SGD"}, "model.front_end._target_=torch.optim.SGD is no Module"),
    ],
)
def test_a_front_end_that_does_not_fit_is_refused_in_a_sentence(front_end: dict[str, object], says: str) -> None:
    with pytest.raises((ValueError, UserError), match=says):
        classifier(front_end)


def test_the_tuned_words_say_what_stands_in_the_way_of_waveforms(workplace: Path) -> None:
    words = (*FAST, f"data.root={make_words(workplace / 'words')}", "trainer.max_steps=4", "model.net.width=4")
    with pytest.raises(UserError, match=r"model.augment.time_masks=0 and model.augment.frequency_masks=0"):
        train_config(composed("train", "experiment=words_tuned", "model=m5", *words))
    assert not (workplace / "runs").exists()
    train_config(composed("train", "experiment=words_m5", *words, "model.augment.noise=0"))
