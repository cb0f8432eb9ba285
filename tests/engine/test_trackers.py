"""Weights & Biases, MLflow and loggers of others: what they get, and that none of them ends or delays a training."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from conftest import TINY, command, composed, edit_card, read_card, speechml
from resuming import GENRE, run_in, stop_in
from speechml.config.compose import adapt_overrides
from speechml.errors import UserError
from speechml.report import sending
from speechml.runs.identity import run_id
from stress_trackers import differences, journal_curves, mlflow_curves, trackers, wandb_curves

needs_trackers = pytest.mark.skipif(
    not (find_spec("wandb") and find_spec("mlflow")), reason="pip install 'speechml[trackers]' brings what this tests"
)
FIR = ("experiment=lab2a_fir", *TINY, "trainer.max_epochs=2", "report=false", "callbacks.figures=null",
       "callbacks.listening=null", "callbacks.progress=null")  # fmt: skip


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has for trackers is not for tests."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def fake_tracker(place: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """An mlflow whose client does something else."""
    (place / "fake" / "mlflow").mkdir(parents=True)
    (place / "fake" / "mlflow" / "__init__.py").write_text(
        f"import time\nclass MlflowClient:\n def __init__(self, *_):\n  {body}\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place / "fake"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(place / "fake")


def test_loggers_are_chosen_one_by_one_or_several_at_once_and_change_no_id() -> None:
    def on(*words: str) -> set[str]:
        return {name for name, value in composed("train", *adapt_overrides(words))["logger"].items() if value}

    assert on() == {"tensorboard", "csv"}
    assert on("logger=[tensorboard,mlflow]") == {"tensorboard", "mlflow"}
    assert on("logger=[csv,wandb,mlflow]", "logger.csv=false") == {"wandb", "mlflow"}
    assert on("logger=none") == on("logger=null") == on("logger=[]") == set()
    assert on("logger=none", "logger.tensorboard=true") == {"tensorboard"}
    assert on("logger.mlflow=true", "logger.csv=false") == {"tensorboard", "mlflow"}
    ids = [
        run_id(composed("train", *adapt_overrides(words)))
        for words in ((), ("logger=[wandb,mlflow]",), ("tags=[a,b]", "note=it's new, and $5"),
                      ("logger.mine={_target_: lightning.pytorch.loggers.CSVLogger}",))
    ]  # fmt: skip
    assert len(set(ids)) == 1


def test_a_logger_that_there_is_none_of_is_refused_in_a_sentence(workplace: Path) -> None:
    done = command("speechml-train", *FIR, "logger=[tensorboard,nonsense]")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "nonsense" in done.stderr
    assert "csv, default, mlflow, none, tensorboard, wandb" in done.stderr
    done = command("speechml-train", *FIR, "logger.mlflwo={file: x}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "logger.mlflwo names no class" in done.stderr
    assert list(workplace.iterdir()) == []


def test_a_tracker_that_is_not_installed_is_refused_before_there_is_a_folder(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "find_spec", lambda _: None)
    with pytest.raises(UserError) as refused:
        train(*FIR, "logger=wandb")
    assert str(refused.value) == "wandb is not installed; pip install 'speechml[trackers]'"
    assert not (workplace / "runs").exists()


@needs_trackers
@pytest.mark.slow
def test_a_run_that_was_stopped_stands_at_each_tracker_as_one_that_was_not(genre_features: None) -> None:  # noqa: ARG001
    words = (*GENRE, "logger=[csv,mlflow,wandb]", "checkpoint.every_n_steps=3")
    alone = run_in("alone", *words)
    stop_in("stopped", 15, signal.SIGTERM, *words)
    stopped, truth = run_in("stopped", *words), journal_curves(alone)
    assert [step for step, _ in truth["val/loss"]] == [9, 19, 20]  # of two epochs, and of the test
    assert (differences(alone, truth), differences(stopped, truth)) == ([], [])
    assert json.loads((stopped / "trackers.json").read_text())["whole"] == ["mlflow", "wandb"]


@needs_trackers
@pytest.mark.slow
def test_a_tracker_that_is_turned_on_between_launches_has_the_epochs_before(genre_features: None) -> None:  # noqa: ARG001
    alone = run_in("alone", *GENRE, "logger=[csv,mlflow]")
    stop_in("stopped", 15, signal.SIGTERM, *GENRE, "logger=csv")
    late = mlflow_curves(run_in("stopped", *GENRE, "logger=[csv,mlflow]"))["val/loss"]
    assert [value for _, value in sorted(late)] == [value for _, value in sorted(mlflow_curves(alone)["val/loss"])]


@needs_trackers
@pytest.mark.slow
def test_kills_double_and_lose_no_step_at_the_trackers() -> None:
    """The same as `scripts/stress.py trackers`, smaller."""
    assert trackers(kills=2, seed=int.from_bytes(os.urandom(2))) == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise OSError(28, 'No space left on device')", "OSError: No space left on device"),
        ("raise SystemExit(3)", "exit code 3"),
        ("raise RuntimeError('a\\nb')", "RuntimeError: a b"),
        ("time.sleep(9999)", "no answer within 1 s"),
    ],
    ids=["full disk", "end", "error", "hang"],
)
def test_a_tracker_that_fails_or_hangs_is_one_warning_and_the_run_is_done(
    body: str, says: str, train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fake_tracker(workplace, monkeypatch, body)
    monkeypatch.setattr("speechml.engine.further_loggers.ENDING_S", 1.0 if "sleep" in body else 60.0)
    folder = train(*FIR, "logger=[csv,mlflow]", "checkpoint.every_n_steps=1")
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    shown = folder.relative_to(workplace)
    assert warnings == [f"warning: {shown} has not been sent to mlflow ({says}); "
                        f"speechml publish {shown} --to mlflow sends it when it is done"]  # fmt: skip
    assert read_card(folder)["state"] == "done"
    assert json.loads((folder / "trackers.json").read_text())["whole"] == []


@pytest.mark.slow
@needs_trackers
@pytest.mark.parametrize(
    ("tracker", "variables"),
    [
        pytest.param(
            "mlflow",
            {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
            marks=pytest.mark.slow,
        ),
        ("wandb", {"WANDB_MODE": "online"}),
    ],
)
def test_no_server_and_no_login_are_one_warning_and_the_same_command_makes_up_for_it(
    tracker: str, variables: dict[str, str], train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        folder = train(*FIR, f"logger=[csv,{tracker}]")
    assert capsys.readouterr().err.count("warning:") == 1
    assert read_card(folder)["state"] == "done"
    train(*FIR, f"logger=[csv,{tracker}]")
    said = capsys.readouterr()
    assert (said.err.count("warning:"), f"{tracker}: " in said.out) == (0, True)
    curves = mlflow_curves(folder) if tracker == "mlflow" else wandb_curves(folder)
    assert {name: sorted(curve) for name, curve in curves.items()} == journal_curves(folder)


def test_a_logger_of_lightning_or_ones_own_is_used_and_its_failures_are_one_warning(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "own").mkdir()
    (workplace / "own" / "broken_logger.py").write_text(
        "from lightning.pytorch.loggers import CSVLogger\n"
        "class Broken(CSVLogger):\n"
        "    def log_metrics(self, metrics, step=None):\n"
        "        raise OSError(28, 'No space left on device')\n"
    )
    monkeypatch.setenv("SPEECHML_CONF", str(workplace / "own"))
    words = ("logger.mine={_target_: lightning.pytorch.loggers.CSVLogger, name: mine}",
             "logger.broken={_target_: broken_logger.Broken}")  # fmt: skip
    folder = train(*adapt_overrides((*FIR, *words)))
    assert (folder / "mine" / "version_0" / "metrics.csv").read_text().count("\n") > 2
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert warnings == [
        "warning: logger.broken Broken failed (OSError: No space left on device); the run goes on without it"
    ]
    assert read_card(folder)["state"] == "done"


@needs_trackers
@pytest.mark.slow
def test_publishing_twice_doubles_nothing_and_shows_no_secret(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = sorted(runs.glob("*/*"))
    for folder in folders:
        edit_card(folder, tags=["paper"], note="password=hunter2 is the one")
    words = ("publish", *map(str, folders), "--to", "mlflow", "--to", "wandb")
    assert speechml(monkeypatch, *words) == 0
    once = [(mlflow_curves(folder), wandb_curves(folder)) for folder in folders]
    assert all(len(curves["val/loss"]) == 2 for both in once for curves in both)
    capsys.readouterr()
    shutil.copytree(folders[0], runs / "copy" / "of")
    assert speechml(monkeypatch, *words, str(runs / "copy" / "of"), "/nowhere") == 2
    said = capsys.readouterr()
    assert "no run" in said.err
    assert said.err.count("\n") == 1
    assert [(mlflow_curves(folder), wandb_curves(folder)) for folder in folders] == once
    written = [path for path in runs.rglob("*") if path.is_file() and {".mlflow", "wandb"} & {*path.parts}]
    assert any(b"password=<hidden>" in path.read_bytes() for path in written)
    assert not any(b"hunter2" in path.read_bytes() for path in written if path.name != "card.json")


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_only_finished_runs_are_published(
    state: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = next(runs.glob("*/*"))
    edit_card(folder, state=state)
    monkeypatch.setattr(sending, "find_spec", lambda _: True)
    assert speechml(monkeypatch, "publish", str(folder), "--to", "mlflow") == 2
    assert f"is not done but {state}" in capsys.readouterr().err
    assert speechml(monkeypatch, "publish", str(folder), "--to", "nonsense") == 2
