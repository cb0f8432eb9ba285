import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import TINY, read_card
from speechml.config.instantiate import build, import_class
from speechml.engine.signals import Stopped, interruptible
from speechml.errors import UserError


@pytest.mark.parametrize(
    "name",
    [
        "torch.optim.SGD", "torch.optim.lr_scheduler.OneCycleLR", "torch.nn.Conv1d", "torchmetrics.Accuracy",
        "lightning.pytorch.Trainer", "lightning.pytorch.callbacks.EarlyStopping", "speechml.models.MIMOCNN",
        "speechml.data.WavPairs", "speechml.tasks.WaveformDenoiser", "lightning.pytorch.loggers.TensorBoardLogger",
    ],
)  # fmt: skip
def test_what_experiments_need_is_accepted(name: str) -> None:
    assert isinstance(import_class(name), type)


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "builtins.eval", "subprocess.Popen", "torch.hub.load", "torch.load", "torch.utils.cpp_extension.load",
        "speechml.models.waveform.torch.hub.load", "speechml.config.compose.Path", "speechml.process.os.system",
        "speechml.runs.folder.subprocess.Popen", "torch.serialization.os.system", "lightning.pytorch.cli.LightningCLI",
        "torch.utils.data.DataLoader", "pathlib.Path", "speechml.config.instantiate.build", "torchmetrics.functional.accuracy",
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_what_it_resolves_to(name: str) -> None:
    with pytest.raises(UserError, match=r"is refused"):
        import_class(name)


@pytest.mark.parametrize("name", ["speechml.models.Nothing", "torch.optim.SDG", "", "None"])
def test_a_name_of_nothing_is_one_sentence(name: str) -> None:
    with pytest.raises(UserError):
        import_class(name)


def test_a_refused_package_is_not_even_imported() -> None:
    with pytest.raises(UserError):
        import_class("antigravity.x")
    assert "antigravity" not in sys.modules


def test_wrong_arguments_are_told_in_the_words_of_the_class() -> None:
    with pytest.raises(UserError, match=r"model\.net MIMOCNN: taps \[40\] describe 1 layers"):
        build({"_target_": "speechml.models.MIMOCNN", "taps": [40], "features": [1, 5, 1]}, where="model.net")
    with pytest.raises(UserError, match="Invalid learning rate: -1"):
        build({"_target_": "torch.optim.SGD", "lr": -1.0}, [torch.nn.Parameter(torch.zeros(1))], where="optimizer")


OWN = """
import torch
class Mine(torch.nn.Module):
    receptive_field = 1
    def __init__(self, gain: float = 1.0):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
    def forward(self, noisy):
        return self.gain * noisy
class Lengthless(torch.nn.Conv1d):
    pass
def function():
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own, with a module in it."""
    (tmp_path / "mine_of_test.py").write_text(OWN)
    (tmp_path / "torch.py").write_text("raise SystemExit")
    (tmp_path / "broken_of_test.py").write_text("1 / 0")
    (tmp_path / ".#mine_of_test.py").symlink_to("nowhere")  # as editors leave them
    (tmp_path / "folder_of_test.py").mkdir()
    monkeypatch.setenv("SPEECHML_CONF", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("mine_of_test", "broken_of_test"):  # of a test before
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_a_file_of_ones_own_that_has_the_name_of_a_package_is_refused(own: Path) -> None:
    (own / "hydra.py").write_text("import torch\nclass Net(torch.nn.Identity): ...\n")
    with pytest.raises(UserError, match=r"hydra.Net names nothing"):
        import_class("hydra.Net")
    with pytest.raises(UserError, match=r"is not of .*hydra.py .*Python finds another hydra first.* another name"):
        import_class("hydra.errors.HydraException")


@pytest.mark.usefixtures("own")
def test_networks_of_the_users_own_are_built_where_the_environment_names_their_folder(monkeypatch) -> None:
    assert build({"_target_": "mine_of_test.Mine", "gain": 2.0}).gain.item() == 2
    assert import_class("torch.nn.Conv1d") is torch.nn.Conv1d  # whatever else is called torch
    with pytest.raises(UserError, match="is refused"):
        import_class("mine_of_test.function")
    with pytest.raises(UserError, match="is refused"):
        import_class("mine_of_test.torch.hub.load")
    with pytest.raises(UserError, match=r"names nothing .*ZeroDivisionError"):
        import_class("broken_of_test.Net")
    task = {"_target_": "speechml.tasks.WaveformDenoiser", "sample_rate": 16000}
    with pytest.raises(UserError, match="says neither receptive_field"):
        build(
            {
                **task,
                "net": {"_target_": "mine_of_test.Lengthless", "in_channels": 1, "out_channels": 1, "kernel_size": 3},
            }
        )
    monkeypatch.delenv("SPEECHML_CONF")
    with pytest.raises(UserError, match=r"is refused.*SPEECHML_CONF"):
        import_class("mine_of_test.Mine")


def test_a_signal_while_a_module_of_the_users_own_is_loaded_stops_the_run(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechml.engine.signals.early_signals", [])
    (own / "stopped_of_test.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nlist(range(9))")
    with interruptible(), pytest.raises(Stopped, match="75"):
        import_class("stopped_of_test.Net")


def test_a_run_tells_that_the_users_own_code_has_changed_since(own: Path, train: Callable[..., Path], capsys) -> None:
    words = (
        "~model.net",
        "+model.net={_target_: mine_of_test.Mine}",
        "trainer.max_epochs=1",
        "callbacks.figures=null",
        *TINY,
    )
    run = train(*words)
    assert set(read_card(run)["code"]["own"]) == {"mine_of_test", "broken_of_test"}
    assert train(*words) == run
    assert "Your own code" not in capsys.readouterr().out
    (own / "mine_of_test.py").write_text(OWN + "# changed")
    train(*words)
    assert "Your own code has changed since (mine_of_test); redo=true" in capsys.readouterr().out
