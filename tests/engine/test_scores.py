"""What a run is chosen by: the sense of a score belongs to its name, and the weights that are kept are those that scored."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, composed, make_features, read_card
from speechml.config.compose import resolve_config
from speechml.config.train_config import check_config
from speechml.contracts import is_higher_better
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.parts import Parts, build_data, build_parts
from speechml.engine.trained import load_task, one_process_trainer
from speechml.errors import UnknownScore, UserError
from speechml.runs.identity import digest, run_id
from speechml.sweep.study import choose_direction

QUIET = ("callbacks.figures=null", "callbacks.progress=null", "report=false", "threads=1")
FIR = ("experiment=lab2a_fir", *TINY, "model.net.taps=4", "data.batch_size=8", "callbacks.listening=null", *QUIET)
# Long steps, so that scores rise and fall.
WILD_FIR = (*FIR, "optimizer.lr=0.4", "model.loss=mse", "model.normalize=true")
METRICS = {
    "auroc": "torchmetrics.AUROC", "f1": "torchmetrics.F1Score", "accuracy": "torchmetrics.classification.MulticlassAccuracy",
    "error": "torchmetrics.MeanSquaredError", "snr": "torchmetrics.audio.SignalNoiseRatio",
}  # fmt: skip


def genre(workplace: Path) -> tuple[str, ...]:
    features = workplace / "features.npz"
    root = features if features.exists() else make_features(features)
    return ("experiment=genre_mlp", f"data.root={root}", "data.batch_size=8", *QUIET)


def with_metric(score: str) -> tuple[str, ...]:
    name = score.partition("/")[2]
    return (f"+metrics.{name}={{_target_: {METRICS[name]}}}",) if name in METRICS else ()


def doubts(card: dict[str, Any]) -> list[str]:
    """What the card says of weights that are not what was validated."""
    return [line for line in card["warnings"] if "kept weights" in line or line.startswith("a callback")]


def parts_of(workplace: Path, *overrides: str) -> Parts:
    config = check_config(resolve_config(composed("train", *overrides)))
    return build_parts(config, build_data(config), workplace / "run")


OF_CLASSES = ("val/acc", "val/macro_f1", "val/auroc", "val/f1", "val/accuracy")
RISING = (*OF_CLASSES, "val/snr_db", "val/si_sdr_db", "val/snr_gain_db", "val/snr")
FALLING = ("val/loss", "val/mse", "val/l1", "val/error")


@pytest.mark.parametrize("score", [*RISING, *FALLING])
def test_the_best_epoch_in_the_sense_of_the_score_is_kept(
    score: str, train: Callable[..., Path], workplace: Path
) -> None:
    wild = (*genre(workplace), "optimizer.lr=0.5") if score in OF_CLASSES else WILD_FIR
    short = ("trainer.max_epochs=4", "+trainer.limit_train_batches=2", "logger.csv=true", "test=false")
    folder = train(*wild, *short, f"checkpoint.monitor={score}", *with_metric(score))
    with (folder / "metrics.csv").open() as file:
        values = [float(row[score]) for row in csv.DictReader(file)]
    best = (max if score in RISING else min)(values)
    assert read_checkpoint(folder / "checkpoints" / "best.ckpt")["epoch"] == values.index(best)
    card = read_card(folder)
    assert (card["monitored"], card["scores"][score]) == (pytest.approx(best), pytest.approx(best))
    assert doubts(card) == []


@pytest.mark.parametrize(
    ("score", "more"),
    [
        *((name, True) for name in ("test/snr_db", "val/snr_gain_db", "si_sdr_db", "val/pesq", "val/stoi", "val/pesq_gain")),
        *((name, True) for name in ("val/acc", "heldout/macro_f1", "val/recall_yes")),
        *((name, False) for name in ("val/loss", "train/mse", "l1", "val/undefined", "val/pesq_undefined")),
        *((name, None) for name in ("val/mine", "val/snr", "val/loss_of_mine", "")),
    ],
)  # fmt: skip
def test_a_scores_name_says_whether_more_is_better(score: str, more: bool | None) -> None:
    assert is_higher_better(score) is more


STOPPING = "+callbacks.stop={{_target_: {}, monitor: {}, patience: 1, mode: {}}}"
AGAINST = [
    ("checkpoint.monitor=val/acc", "checkpoint.mode=min"),
    ("checkpoint.monitor=val/loss", "checkpoint.mode=max"),
    ("checkpoint.monitor=val/si_sdr_db", "checkpoint.mode=min"),
    ("checkpoint.monitor=val/error", "checkpoint.mode=max"),
    ("checkpoint.monitor=val/snr", "checkpoint.mode=min"),
    (STOPPING.format("lightning.pytorch.callbacks.EarlyStopping", "val/acc", "min"),),
    (STOPPING.format("speechml.callbacks.EarlyStopping", "val/l1", "max"),),
    (STOPPING.format("speechml.callbacks.EarlyStopping", "train/loss", "max"),),
    ("scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, monitor: val/snr_db, mode: min}",),
    ("scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, mode: max}",),
]


@pytest.mark.parametrize("overrides", AGAINST)
def test_a_mode_against_the_sense_of_its_score_is_refused(overrides: tuple[str, ...], workplace: Path) -> None:
    plateau = ("~scheduler",) if overrides[0].startswith("scheduler=") else ()
    words = [f"+{word}" if plateau else word for word in overrides]
    with pytest.raises(UserError, match=r"mode is (min|max), and (more|less) of \w+/\w+ is better; leave it out"):
        parts_of(workplace, *FIR, *plateau, *words, *with_metric("val/error"), *with_metric("val/snr"))


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("checkpoint.monitor=val/snr", "val/snr_db"), ("checkpoint.monitor=val/si_sdr", "val/si_sdr_db"),
        ("checkpoint.monitor=val/acc", ""), ("objective=val/sisdr_db", "val/si_sdr_db"),
        ("checkpoint.monitor=val/los", "val/loss"),
        (STOPPING.format("lightning.pytorch.callbacks.EarlyStopping", "val_loss", "min"), "val/loss"),
        (STOPPING.format("speechml.callbacks.EarlyStopping", "train/los", "min"), "train/loss"),
        ("+scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, monitor: val/mae}", "val/mse"),
    ],
)  # fmt: skip
def test_a_choice_by_what_is_not_scored_is_refused_before_there_is_a_folder(
    override: str, near: str, workplace: Path
) -> None:
    plateau = ("~scheduler",) if "scheduler" in override else ()
    with pytest.raises(UnknownScore, match="which is no score of this run") as refusal:
        parts_of(workplace, *FIR, *plateau, override)
    assert (f"did you mean {near}?" in str(refusal.value)) == bool(near)
    assert "there are val/mse, val/l1, val/snr_db" in str(refusal.value)
    assert not (workplace / "run").exists()


@pytest.mark.parametrize("key", ["checkpoint.monitor", "objective"])
@pytest.mark.parametrize("score", ["test/snr_db", "train/loss", "snr_db"])
def test_choosing_is_not_testing(key: str, score: str) -> None:
    with pytest.raises(UserError, match=f"{key} is {score}; choices are made on the validation split"):
        check_config(resolve_config(composed("train", *FIR, f"{key}={score}")))


@pytest.mark.parametrize(
    ("words", "direction"),
    [
        (["objective=val/acc"], "maximize"), (["objective=val/loss"], "minimize"), (["objective=val/l1"], "minimize"),
        (["objective=val/si_sdr_db"], "maximize"), (["checkpoint.monitor=val/macro_f1"], "maximize"),
        (["objective=val/error", *with_metric("val/error")], "minimize"),
        (["objective=val/f1", *with_metric("val/f1")], "maximize"),
        (["objective=val/mine", "checkpoint.monitor=val/mine", "checkpoint.mode=max"], "maximize"),
    ],
)  # fmt: skip
def test_a_search_goes_in_the_sense_of_its_score_and_no_other(words: list[str], direction: str) -> None:
    config = resolve_config(composed("train", *words))
    assert choose_direction(config, None)[1] == choose_direction(config, direction)[1] == direction
    other = {"maximize": "minimize", "minimize": "maximize"}[direction]
    if "val/mine" not in words[0]:
        with pytest.raises(UserError, match=f"hydra.sweeper.direction is {other}, and (more|less) of"):
            choose_direction(config, other)


def test_a_search_by_a_score_of_unknown_sense_has_to_say_its_direction() -> None:
    config = resolve_config(composed("train", "objective=val/f1"))
    with pytest.raises(UserError, match=r"set hydra.sweeper.direction to .* or choose one of val/snr_db"):
        choose_direction(config, None)
    assert choose_direction(config, "maximize") == ("val/f1", "maximize")


@pytest.mark.parametrize("target", ["lightning.pytorch.callbacks.EarlyStopping", "speechml.callbacks.EarlyStopping"])
@pytest.mark.parametrize(
    ("score", "mode"), [("val/snr_db", "max"), ("val/loss", "min"), ("val/error", "min"), ("val/snr", "max")]
)
def test_early_stopping_goes_in_the_sense_of_its_score(target: str, score: str, mode: str, workplace: Path) -> None:
    stop = f"+callbacks.stop={{_target_: {target}, monitor: {score}}}"
    parts = parts_of(workplace, *FIR, stop, *with_metric(score))
    (callback,) = parts.trainer.early_stopping_callbacks
    assert callback.mode == mode


def test_a_rising_score_does_not_stop_a_training_early(train: Callable[..., Path], workplace: Path) -> None:
    stop = "callbacks.early_stopping={_target_: speechml.callbacks.EarlyStopping, monitor: val/acc, patience: 1, min_delta: -1}"
    assert read_card(train(*genre(workplace), f"++{stop}", "trainer.max_epochs=5"))["epochs"] == 5


@pytest.mark.parametrize("monitor", ["val/snr_db", "val/loss", None])
def test_a_plateau_is_one_in_the_sense_of_its_score(monitor: str | None, workplace: Path) -> None:
    by = f", monitor: {monitor}" if monitor else ""
    node = f"+scheduler={{_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 0, factor: 0.5{by}}}"
    words = ("trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2", "+trainer.limit_train_batches=1")
    parts = parts_of(workplace, *FIR, "~scheduler", node, *words)
    parts.trainer.fit(parts.task, datamodule=parts.data)
    (config,) = parts.trainer.lr_scheduler_configs
    assert (config.scheduler.mode, config.monitor) == (
        "max" if monitor == "val/snr_db" else "min",
        monitor or "val/loss",
    )
    assert config.scheduler.last_epoch == 2  # of four epochs, two were validated


def test_modes_are_part_of_a_runs_id_as_they_are_meant(workplace: Path) -> None:  # noqa: ARG001
    """The configs of before said `min` where nothing was said: what they meant keeps its id, and gets no other meaning."""
    ids = [run_id(composed("train", f"checkpoint.monitor={m}", *mode)) for m, mode in (
        ("val/loss", ()), ("val/loss", ("checkpoint.mode=min",)), ("val/acc", ()), ("val/acc", ("checkpoint.mode=max",)),
        ("val/acc", ("checkpoint.mode=min",)))]  # fmt: skip
    assert ids[0] == ids[1]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 3
    stop = {"_target_": "speechml.callbacks.EarlyStopping", "monitor": "val/loss"}
    of = [
        digest({"callbacks": {"stop": {**stop, **extra}}})
        for extra in ({}, {"mode": None}, {"monitor": "val/acc"}, {"monitor": "val/acc", "mode": "max"})
    ]
    assert of[0] == of[1] != of[2] == of[3]


OWN = """
from speechml.tasks import WaveformDenoiser

class Own(WaveformDenoiser):
    def compute_scores(self, split, rows):
        return super().compute_scores(split, rows) | {f"{split}/quality": float(self.current_epoch == 1)}
"""


def test_a_score_of_ones_own_needs_a_mode_and_has_to_come(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "own_task.py").write_text(OWN)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace))
    own = (*FIR, "model._target_=own_task.Own", "test=false", "trainer.max_epochs=3", "+trainer.limit_train_batches=1")
    with pytest.raises(
        UserError, match=r"val/quality, of which it is not known whether more is better; set checkpoint.mode"
    ):
        parts_of(workplace, *own, "checkpoint.monitor=val/quality")
    with pytest.raises(
        UserError, match=r"checkpoint.monitor is val/qality, which is no score of this run; it has .*val/quality"
    ):
        train(*own, "checkpoint.monitor=val/qality", "checkpoint.mode=max")
    for mode, epoch in (("max", 1), ("min", 0)):
        folder = train(*own, "checkpoint.monitor=val/quality", f"checkpoint.mode={mode}")
        assert read_checkpoint(folder / "checkpoints" / "best.ckpt")["epoch"] == epoch


SWAPS = """
import torch
from lightning.pytorch import Callback

class Half(Callback):
    "Validates a network of half the weights, and trains on with the whole ones."

    def scale(self, module, factor):
        with torch.no_grad():
            for weight in module.parameters():
                weight *= factor

    def on_validation_start(self, trainer, module):
        self.scale(module, 0.5)

    def on_validation_end(self, trainer, module):
        self.scale(module, 2.0)

class Restless(Half):
    "Validates what no checkpoint will hold."

    on_validation_start = on_validation_end = lambda *_: None

    def on_validation_batch_start(self, trainer, module, *_):
        self.scale(module, 0.5)

    def on_validation_batch_end(self, trainer, module, *_):
        self.scale(module, 2.0)
"""
EMA = "{_target_: lightning.pytorch.callbacks.EMAWeightAveraging, decay: 0.8}"
SWA = "{_target_: lightning.pytorch.callbacks.StochasticWeightAveraging, swa_lrs: 0.2, swa_epoch_start: 1}"
AVERAGING = "{_target_: lightning.pytorch.callbacks.WeightAveraging}"


@pytest.mark.parametrize("weights", ["best", "last"])
@pytest.mark.parametrize("callback", [EMA, SWA, AVERAGING, "{_target_: swaps.Half}"])
def test_what_was_validated_is_what_is_kept(
    callback: str, weights: str, train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "swaps.py").write_text(SWAPS)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace))
    words = (
        "trainer.max_epochs=3",
        "+trainer.limit_train_batches=3",
        "logger.csv=true",
        f"checkpoint.test_weights={weights}",
    )
    folder = train(*FIR, *words, f"+callbacks.mine={callback}", "checkpoint.monitor=val/snr_db")
    card = read_card(folder)
    task, record = load_task(folder / "checkpoints" / f"{weights}.ckpt")
    data = build_data(record["config"])
    task.setup_for(data)
    trainer = one_process_trainer(accelerator="cpu", default_root_dir=workplace)
    trainer.validate(task, datamodule=data, verbose=False)
    assert float(trainer.callback_metrics["val/snr_db"]) == pytest.approx(card["scores"]["val/snr_db"])
    trainer.test(task, datamodule=data, verbose=False)
    assert task.scores["test/snr_db"] == pytest.approx(card["scores"]["test/snr_db"])
    with (folder / "metrics.csv").open() as file:
        best = max(float(row["val/snr_db"]) for row in csv.DictReader(file))
    if weights == "best":
        assert card["scores"]["val/snr_db"] == pytest.approx(best, rel=1e-5)
        assert [line[:16] for line in doubts(card)] == (["a callback put o"] if callback == SWA else [])


def test_weights_that_do_not_score_again_what_they_scored_are_said(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "swaps.py").write_text(SWAPS)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace))
    card = read_card(
        train(
            *FIR,
            "+callbacks.mine={_target_: swaps.Restless}",
            "trainer.max_epochs=1",
            "test=false",
            "checkpoint.test_weights=best",
        )
    )
    (line,) = doubts(card)
    assert line.startswith("val/loss of the kept weights is ")
    assert f"Warning: {line}" in capsys.readouterr().out
