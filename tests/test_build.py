import pytest
import torch

from speechml.build import build, target
from speechml.errors import BadInput


@pytest.mark.parametrize(
    "name",
    [
        "torch.optim.SGD", "torch.optim.lr_scheduler.OneCycleLR", "torch.nn.Conv1d", "torchmetrics.Accuracy",
        "lightning.pytorch.Trainer", "lightning.pytorch.callbacks.EarlyStopping", "speechml.models.MIMOCNN",
        "speechml.data.WavPairs", "speechml.tasks.WaveformDenoiser", "lightning.pytorch.loggers.TensorBoardLogger",
    ],
)  # fmt: skip
def test_what_experiments_need_is_accepted(name: str) -> None:
    assert isinstance(target(name), type)


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "builtins.eval", "subprocess.Popen", "torch.hub.load", "torch.load", "torch.utils.cpp_extension.load",
        "speechml.models.cnn.torch.hub.load", "speechml.configs.Path", "speechml.process.os.system",
        "speechml.runs.folder.subprocess.Popen", "torch.serialization.os.system", "lightning.pytorch.cli.LightningCLI",
        "torch.utils.data.DataLoader", "pathlib.Path", "speechml.build.build", "torchmetrics.functional.accuracy",
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_what_it_resolves_to(name: str) -> None:
    with pytest.raises(BadInput, match=r"is refused"):
        target(name)


@pytest.mark.parametrize("name", ["speechml.models.Nothing", "torch.optim.SDG", "", "None"])
def test_a_name_of_nothing_is_one_sentence(name: str) -> None:
    with pytest.raises(BadInput):
        target(name)


def test_a_refused_package_is_not_even_imported() -> None:
    import sys

    with pytest.raises(BadInput):
        target("antigravity.x")
    assert "antigravity" not in sys.modules


def test_wrong_arguments_are_told_in_the_words_of_the_class() -> None:
    with pytest.raises(BadInput, match=r"model\.net MIMOCNN: taps \[40\] describe 1 layers"):
        build({"_target_": "speechml.models.MIMOCNN", "taps": [40], "features": [1, 5, 1]}, where="model.net")
    with pytest.raises(BadInput, match="Invalid learning rate: -1"):
        build({"_target_": "torch.optim.SGD", "lr": -1.0}, [torch.nn.Parameter(torch.zeros(1))], where="optimizer")
