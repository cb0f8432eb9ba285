import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import TINY, read_card
from speechml.config.instantiate import build, import_class
from speechml.config.own_modules import forget_user_modules
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


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of the user's that both have a module `both_of_test`, and each one that the other has not."""
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        for name in ("both_of_test", f"{folder}_of_test"):
            net = f"import torch\nclass Net(torch.nn.Identity):\n    folder = '{folder}'\n"
            (tmp_path / folder / f"{name}.py").write_text(net)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
@pytest.mark.parametrize("begins_with", ["both_of_test", "first_of_test", "second_of_test"])
def test_of_two_files_of_a_name_the_first_folders_is_taken_whatever_was_loaded_before(
    order: tuple[str, str], begins_with: str, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHML_CONF", os.pathsep.join(str(folders / folder) for folder in order))
    import_class(f"{begins_with}.Net")
    assert import_class("both_of_test.Net").folder == order[0]
    monkeypatch.setenv("SPEECHML_CONF", str(folders / order[1]))
    assert import_class("both_of_test.Net").folder == order[1]
    monkeypatch.setenv("SPEECHML_CONF", os.pathsep.join(str(folders / folder) for folder in order))
    assert import_class("both_of_test.Net").folder == order[0]


def test_what_the_user_has_loaded_and_may_find_herself_stays_so(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folders / "first" / "helper_of_test.py").write_text("")
    monkeypatch.syspath_prepend(folders / "first")
    monkeypatch.setenv("SPEECHML_CONF", str(folders / "first"))
    assert import_class("both_of_test.Net").folder == "first"
    import helper_of_test  # type: ignore[import-not-found] # written above

    monkeypatch.setenv("SPEECHML_CONF", str(folders / "second"))
    assert import_class("second_of_test.Net").folder == "second"
    with pytest.raises(UserError, match=r"Python finds another both_of_test first, .*first"):
        import_class("both_of_test.Net")
    forget_user_modules()
    assert sys.path.count(str(folders / "first")) == 1
    assert str(folders / "second") not in sys.path
    assert sys.modules["helper_of_test"] is helper_of_test


def test_a_module_whose_file_is_gone_is_another(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = types.ModuleType("both_of_test")
    lost.__file__ = str(folders / "archive.zip" / "both_of_test.py")
    lost.Net = type("Net", (torch.nn.Identity,), {"__module__": "both_of_test"})  # type: ignore[attr-defined] # as if loaded
    monkeypatch.setitem(sys.modules, "both_of_test", lost)
    monkeypatch.setenv("SPEECHML_CONF", str(folders / "first"))
    with pytest.raises(
        UserError, match=r"is not of .*first/both_of_test.py .*finds another both_of_test first, .*archive.zip"
    ):
        import_class("both_of_test.Net")


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
        "experiment=lab2b_mimo_cnn",
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
