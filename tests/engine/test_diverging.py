"""A training that diverges stops at once, and one that ends with nothing of use says so."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import TINY, composed, edit_card, make_pairs, read_card
from made_up import make_run
from resuming import GENRE, run_in
from speechml import load
from speechml.callbacks.epochs import EpochTable
from speechml.config.compose import resolve_config
from speechml.config.train_config import check_config
from speechml.engine import fit
from speechml.engine.fit import loss_warnings
from speechml.errors import UserError
from speechml.report.references import describe_flaws
from speechml.runs.card import RunCard, load_card
from speechml.runs.choosing import describe_divergence
from speechml.tasks import FeatureClassifier, WaveformDenoiser


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("batch", "says"), [(13, "lower optimizer.lr"), (0, "look at the data")])
@pytest.mark.usefixtures("genre_features")
def test_a_loss_that_is_not_finite_ends_the_run_at_that_batch(
    batch: int, says: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_loss, passed = FeatureClassifier.training_loss, []

    def spoilt(self: FeatureClassifier, rows: Any) -> Any:
        loss, others = true_loss(self, rows)
        passed.append(rows)
        return (loss * value if len(passed) == batch + 1 else loss), others

    monkeypatch.setattr(FeatureClassifier, "training_loss", spoilt)
    with pytest.raises(UserError, match=rf"diverged: the loss of batch {batch + 1} is .*{says}"):
        run_in("runs", *GENRE)
    assert len(passed) == batch + 1
    card = read_card(next(Path("runs").glob("*/*")))
    assert card["state"] == "failed"
    assert f"the loss of batch {batch + 1}" in card["error"]


PAIRS = ("experiment=lab2a_fir", "data=wav_pairs", "data.root=pairs", "callbacks.figures=null",
         "callbacks.listening=null", "report=false", "trainer.max_epochs=2")  # fmt: skip


@pytest.mark.parametrize("words", [(), ("optimizer.lr=30",)])
def test_a_filter_that_ends_worse_than_its_input_is_not_done_without_a_word(
    words: tuple[str, ...], train: Callable[..., Path], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lab 2A's rate is for recordings of -70 dB."""
    make_pairs(workplace / "pairs")
    card = read_card(train(*PAIRS, *words))
    worse = card["scores"]["test/snr_input_db"] - card["scores"]["test/snr_db"]
    assert worse > 40
    (line,) = [line for line in card["warnings"] if line.startswith("test: the output is")]
    assert line.startswith(f"test: the output is {worse:.1f} dB worse than the noisy input")
    assert "model.normalize=true" in line
    assert f"Warning: {line}." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gain", "weak"), [(3.0, False), (0.04, False), (0.0, True), (-0.04, True), (-0.06, True), (float("nan"), True)]
)
def test_an_output_worse_than_its_input_is_called_that(gain: float, weak: bool) -> None:
    task = WaveformDenoiser({"_target_": "speechml.models.FIR", "taps": 4}, 16000)
    data = SimpleNamespace(scored_items=lambda: {"test": [0]})
    task._trainer = SimpleNamespace(datamodule=data)  # type: ignore[assignment]
    task.scores = {"test/snr_gain_db": gain}
    assert all("model.normalize=true" in line for line in task.weak_scores())
    data.is_foreign = True  # as of an evaluation on other recordings, which no training mends
    assert all(line.endswith("; the network does not fit these recordings") for line in task.weak_scores())
    assert [line.startswith("test: the output is") for line in task.weak_scores()] == [True] * weak


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ({"snr_db": 0.9, "snr_gain_db": 9.0}, ["hardly better than silence, which has 0 dB SNR"]),
        ({"snr_db": -5.23, "snr_gain_db": 13.0}, ["5.2 dB worse than silence, which has 0 dB SNR"]),
        ({"snr_db": 9.0, "snr_gain_db": 1.0, "pesq_gain": -0.4, "stoi_gain": -0.01}, ["PESQ and STOI are below"]),
        ({"snr_db": 9.0, "snr_gain_db": 1.0, "pesq_gain": -0.4, "stoi_gain": 0.01}, []),
        ({"snr_db": 9.0, "snr_gain_db": 1.0}, []), ({"snr_db": -9.0, "snr_gain_db": -9.0}, ["9.0 dB worse than the noisy input"]),
        ({"snr_db": -59.0, "snr_gain_db": -40.0}, ["learned nothing of use"]),  # as lab 2A's network
        ({"snr_db": -698.0, "snr_gain_db": -680.0}, ["training diverged (set model.normalize=true, lower optimizer.lr)"]),
    ],
)  # fmt: skip
def test_an_output_near_silence_or_that_sounds_worse_is_said(scores: dict[str, float], says: list[str]) -> None:
    task = WaveformDenoiser({"_target_": "speechml.models.FIR", "taps": 4}, 16000)
    task._trainer = SimpleNamespace(datamodule=SimpleNamespace(scored_items=lambda: {"test": [0]}))  # type: ignore[assignment]
    task.scores = {f"test/{name}": value for name, value in scores.items()}
    lines = task.weak_scores()
    assert len(lines) == len(says)
    assert all(line.startswith("test: ") and text in line for line, text in zip(lines, says, strict=True))


@pytest.mark.parametrize(
    ("name", "losses", "says"),
    [
        ("train/loss", [1.0, 0.1, 1.2], "rose from 0.1, its lowest, to 1.2 at the end"), ("train/loss", [1.0, 0.1, 0.9], ""),
        ("train/loss", [9.0, -20.0, 2.0], "rose from -20, its lowest"), ("train/loss", [9.0, -20.0, -2.0], ""),
        ("val/loss", [1.0, 0.1, 1.2], ""),  # which overfitting does as well, and the best weights are kept
    ],
)  # fmt: skip
def test_a_training_loss_that_rose_after_it_had_fallen_is_said(name: str, losses: list[float], says: str) -> None:
    table = EpochTable("metrics.csv")
    table.rows = [{"epoch": epoch, name: loss} for epoch, loss in enumerate(losses)]
    lines = loss_warnings(SimpleNamespace(trainer=SimpleNamespace(callbacks=[table])))  # type: ignore[arg-type]
    assert len(lines) == bool(says)
    assert all(says in line for line in lines)


def test_a_loss_that_overflows_ends_the_run(train: Callable[..., Path], workplace: Path) -> None:
    make_pairs(workplace / "pairs")
    with pytest.raises(UserError, match=r"diverged.*lower optimizer\.lr"):
        train(*PAIRS, "optimizer.lr=1e15", "trainer.max_epochs=9")


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ([1.0, 0.5, 2.1], "rose from 1 in the first epoch to 2.1 in the last"), ([1.0, 1.9], ""), ([5.0, 0.1], ""), ([], ""),
        ([1.0], ""), ([-10.0, -3.0], ""), ([-10.0, 0.5], "rose from -10 "), ([1.0, float("nan")], "is nan in the last epoch"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["train/loss", "val/loss"])
def test_a_loss_that_rose_or_is_no_number_is_said(name: str, losses: list[float], says: str) -> None:
    table = EpochTable("metrics.csv")
    table.rows = [{"epoch": epoch, name: loss} for epoch, loss in enumerate(losses)]
    lines = loss_warnings(SimpleNamespace(trainer=SimpleNamespace(callbacks=[table])))  # type: ignore[arg-type]
    assert len(lines) == bool(says)
    assert all(line.startswith(name) and says in line for line in lines)


def lines_of(train: list[float], val: list[float], chosen_by: str = "") -> list[str]:
    table = EpochTable("metrics.csv")
    table.rows = [
        {"epoch": i, "train/loss": one, "val/loss": two} for i, (one, two) in enumerate(zip(train, val, strict=True))
    ]
    return loss_warnings(SimpleNamespace(trainer=SimpleNamespace(callbacks=[table])), chosen_by)  # type: ignore[arg-type]


@pytest.mark.parametrize("val", [[1.0, 0.25, 1.3], [1.0, 0.25, 2.5], [-1.0, -10.0, 0.5]])
def test_a_validation_loss_that_rose_while_that_of_training_fell_is_called_overfitting(val: list[float]) -> None:
    (line,) = lines_of([1.0, 0.5, 0.125], val, "val/acc")
    assert line.startswith(f"val/loss rose from {val[1]:g} in epoch 2, its lowest, to {val[2]:g} at the end")
    assert "train/loss fell from 1 to 0.125: it overfits" in line
    assert "the tested weights are the best by val/acc" in line
    assert "trainer.max_epochs=2 or callbacks.early_stopping" in line
    assert "lower optimizer.lr" not in line
    (line,) = lines_of([1.0, 0.5, 0.125], val)
    assert "the last weights are tested, and checkpoint.test_weights=best takes the best ones" in line


def card_of(warnings: list[str], tmp_path: Path) -> RunCard:
    run = make_run(tmp_path)
    edit_card(run, warnings=warnings)
    card = load_card(run)
    assert card is not None
    return card


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("train", "val", "diverged"),
    [
        ([1.0, 0.5, 0.1], [1.0, 0.2, 3.0], False), ([1.0, 1.0, 1.0], [1.0, 0.2, 3.0], True),
        ([1.0, 0.5, 2.5], [1.0, 0.2, 3.0], True), ([1.0, 0.5, 0.1], [1.0, NAN, NAN], True),
        ([1.0, 0.1, 1.2], [1.0, 1.0, 1.0], True), ([1.0, 0.5, NAN], [1.0, 0.2, 0.1], True),
        ([1.0, 0.5, INF], [1.0, 0.2, INF], True), ([INF, INF], [1.0, 0.2], True), ([NAN, 1.0], [1.0, 0.2], False),
        ([1.0, 0.5, 0.4], [1.0, 0.5, 1e6], True), ([1.0, 0.999, 0.998], [1.0, 0.2, 3.0], True),
        ([1.0, 0.5], [1.0, 1.5], False), ([1.0, 0.5, 0.1], [1.0, 0.2, 0.9], False),
    ],
)  # fmt: skip
def test_overfitting_is_no_divergence_and_a_loss_far_above_its_first_or_no_number_is(
    train: list[float], val: list[float], diverged: bool, tmp_path: Path
) -> None:
    card = card_of(lines_of(train, val, "val/loss"), tmp_path)
    assert bool(describe_divergence(card)) == diverged
    assert any("diverged" in flaw for flaw in describe_flaws(card)) == diverged


def test_a_run_that_overfits_says_so_with_the_weights_that_it_tests(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows of its epochs are changed, and with them what is read of its losses: a true one takes many epochs."""
    true_rows = fit.epoch_rows
    monkeypatch.setattr(fit, "epoch_rows", lambda parts: [row | {"train/loss": -row["epoch"], "val/loss": 9.0 * row["epoch"] + 1}
                                                          for row in true_rows(parts)])  # fmt: skip
    words = (
        "experiment=lab2a_fir",
        *TINY,
        "model.net.taps=8",
        "callbacks.figures=null",
        "report=false",
        "trainer.max_epochs=2",
    )
    for word, says in (("best", "the best by val/loss"), ("last", "the last weights are tested")):
        (line,) = [
            line
            for line in read_card(train(*words, f"checkpoint.test_weights={word}"))["warnings"]
            if "overfits" in line
        ]
        assert says in line
        printed = capsys.readouterr().out
        assert "it overfits" in printed
        assert "diverged" not in printed


@pytest.mark.parametrize(("accuracy", "weak"), [(0.2, True), (0.6, True), (0.61, False), (float("nan"), True)])
def test_an_accuracy_of_guessing_is_called_that(accuracy: float, weak: bool) -> None:
    task = FeatureClassifier({"_target_": "speechml.models.MLP"}, classes=["metal", "EDM"])
    data = SimpleNamespace(scored_items=lambda: {"test": list(range(10)), "val": []})
    task._trainer = SimpleNamespace(datamodule=data)  # type: ignore[assignment]
    task.items = {number: {"label": int(number < 6)} for number in range(10)}
    task.scores = {"test/acc": accuracy}
    assert [line.partition(":")[0] for line in task.weak_scores()] == ["test"] * weak
    assert all("always answering EDM, 0.600" in line for line in task.weak_scores())


@pytest.mark.parametrize(
    "word",
    ["optimizer.lr=inf", "optimizer.lr=nan", "optimizer.lr=-1", "+trainer.gradient_clip_val=-1",
     "+trainer.gradient_clip_val=0", "+trainer.gradient_clip_val=inf", "+optimizer.weight_decay=inf"],
)  # fmt: skip
def test_a_value_that_can_only_spoil_a_training_is_refused(word: str, workplace: Path) -> None:  # noqa: ARG001
    with pytest.raises(UserError, match=word.lstrip("+").partition("=")[0]):
        check_config(resolve_config(composed("train", "experiment=lab2a_fir", word)))


MASKED = """import torch
from speechml.models import MLP
class Masked(MLP):
    def __init__(self, **keys):
        super().__init__(**keys)
        self.register_buffer("mask", torch.triu(torch.full((4, 4), -torch.inf), 1))
"""


@pytest.mark.usefixtures("genre_features")
def test_a_mask_of_minus_infinity_is_no_divergence(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "masked.py").write_text(MASKED)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace))
    run = run_in("runs", *GENRE, "model.net._target_=masked.Masked")
    assert read_card(run)["state"] == "done"
    assert load(run).net.mask.isneginf().sum() == 6
