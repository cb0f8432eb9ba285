"""How long a training is: as asked for, ended by a validation and a checkpoint, or refused; and whose the parts of it are."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from conftest import TINY, composed, read_card
from speechml.callbacks.early_stopping import EarlyStopping
from speechml.config.compose import adapt_overrides, resolve_config
from speechml.config.third_party import Trainer
from speechml.config.train_config import check_config
from speechml.data.base import Batches
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.parts import build_data, build_parts
from speechml.errors import UserError
from speechml.runs.identity import digest
from speechml.tasks import WaveformDenoiser
from speechml.tasks.training_length import count_epochs, training_steps

QUIET = ("callbacks.listening=null", "callbacks.figures=null", "callbacks.progress=null", "report=false", "threads=1")
# 4 batches of 8 clips an epoch.
FIR = ("experiment=lab2a_fir", *TINY, "model.net.taps=4", "data.batch_size=8", "test=false", "logger.csv=true",
       "trainer.max_epochs=1", *QUIET)  # fmt: skip
SCHEDULED = (
    "+callbacks.own={_target_: lightning.pytorch.callbacks.GradientAccumulationScheduler, scheduling: {1: 2, 3: 4}}"
)
CYCLE = ("scheduler=one_cycle",)


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (("trainer.max_epochs=-1", "trainer.max_steps=6"), [4, 8]),
        (("trainer.max_epochs=-1", "trainer.max_steps=6", *CYCLE), [4, 8]),
        (("trainer.max_epochs=-1", "trainer.max_steps=1"), [4]),
        (("trainer.max_epochs=-1", "trainer.max_steps=8"), [4, 8]),
        (("trainer.max_epochs=-1", "trainer.max_steps=3", "+trainer.accumulate_grad_batches=2"), [2, 4]),
        (("trainer.max_epochs=-1", "trainer.max_steps=3", "+trainer.overfit_batches=2"), [2, 4]),
        (("trainer.max_epochs=-1", "trainer.max_steps=5", "trainer.check_val_every_n_epoch=2"), [4, 8]),
        (("trainer.max_epochs=9", "trainer.max_steps=5"), [4, 8]),
        (("trainer.max_epochs=1", "trainer.max_steps=50"), [4]),
        (("trainer.max_epochs=-1", "trainer.max_steps=9", SCHEDULED), [4, 6, 8, 9]),
        (("trainer.max_epochs=3", "trainer.max_steps=20", "+trainer.limit_train_batches=2"), [2, 4, 6]),
        (("trainer.max_epochs=3", "trainer.max_steps=5", "+trainer.limit_train_batches=0.5"), [2, 4, 6]),
        (("trainer.max_epochs=9", "+trainer.min_epochs=2", "+trainer.max_time='00:00:00:00'"), [4, 8]),
        (("trainer.max_epochs=9", "+trainer.min_steps=5", "+trainer.max_time='00:00:00:00'"), [4, 5]),
    ],
)  # fmt: skip
def test_a_training_is_as_long_as_asked_and_ends_validated(
    words: tuple[str, ...], steps: list[int], train: Callable[..., Path]
) -> None:
    folder = train(*FIR, *words)
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == steps
    assert rows[-1]["val/loss"]
    assert all(row["train/loss"] for row in rows)
    card, last = read_card(folder), read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert (card["state"], last["global_step"]) == ("done", steps[-1])
    assert card["monitored"] == min(float(row["val/loss"]) for row in rows if row["val/loss"])
    cut = f"trainer.max_time ended the training after {steps[-1]} of 36 steps"
    assert (cut in card["warnings"]) == any("max_time" in word for word in words)


def build(workplace: Path, *words: str) -> None:
    config = check_config(resolve_config(composed("train", *adapt_overrides([*FIR, *words]))))
    build_parts(config, build_data(config), workplace / "run")


@pytest.mark.parametrize("mode", ["limit", "overfit"])
def test_a_debug_mode_has_its_epochs_whatever_the_budget_of_steps(mode: str, workplace: Path) -> None:  # noqa: ARG001
    """20 steps are one epoch of the spoken pairs; of 4 batches or 2 they are more than the mode asks for."""
    config = check_config(resolve_config(composed("train", "experiment=mimo_cnn_tuned", f"debug={mode}")))
    used = {"limit": 4, "overfit": 2}[mode]
    for batches in (20, 10, used):
        lengths = count_epochs(config["trainer"], batches)
        assert lengths["max_epochs"] == min(config["trainer"]["max_epochs"], 20 // used)
        assert lengths["max_steps"] == -1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("trainer.max_epochs=0",), "max_epochs is 0; it must be at least 1"),
        (("trainer.max_steps=0",), "max_steps is 0; nothing would be trained"),
        (("trainer.max_epochs=-1",), "max_epochs is -1; it must be at least 1"),
        (("trainer.max_epochs=-1", "trainer.max_steps=0"), "max_steps is 0"),
        (("trainer.limit_train_batches=0",), "limit_train_batches is 0"),
        (("trainer.limit_train_batches=0.0",), "limit_train_batches is 0.0"),
        (("trainer.limit_val_batches=0",), "limit_val_batches is 0"),
        (("trainer.limit_val_batches=0", "checkpoint.test_weights=last"), "limit_val_batches is 0"),
        (("trainer.limit_test_batches=0", "test=true"), "limit_test_batches is 0.*test=false"),
        (("trainer.min_epochs=2",), "min_epochs is 2; trainer.max_epochs is 1"),
        (("trainer.min_steps=9", "trainer.max_steps=5"), "min_steps is 9; trainer.max_steps is 5"),
        (("trainer.max_time=5",), "max_time is 5; it must be text"),
        (("trainer.max_time=soon",), "trainer Trainer: .*max_time|duration|format"),
        (("trainer.limit_train_batches=0.01",), "limit_train_batches is 0.01, which is less than one of 4 batches"),
        (("trainer.limit_val_batches=0.001",), "limit_val_batches is 0.001, which is less than one of"),
        (("trainer.limit_test_batches=0.001", "test=true"), "limit_test_batches is 0.001, which is less than one of"),
        (("trainer.overfit_batches=0.01",), "is 0.01, which is less than one of 4 batches"),
        (("trainer.val_check_interval=5",), "val_check_interval is 5, and an epoch has 4 batches"),
        (("trainer.max_epochs=-1", "trainer.max_steps=6", "trainer.min_epochs=3"), "min_epochs is 3, and trainer.max_steps ends"),
        (("trainer.max_epochs=9", "trainer.max_steps=6", "trainer.min_epochs=3"), "min_epochs is 3, and trainer.max_steps ends"),
    ],
)  # fmt: skip
def test_a_budget_that_trains_or_validates_nothing_is_refused(
    words: tuple[str, ...], says: str, workplace: Path
) -> None:
    with pytest.raises(UserError, match=says):
        build(workplace, *words)
    assert not (workplace / "run").exists()


def test_a_run_that_took_no_step_is_not_done(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "lazy.py").write_text(
        """from lightning.pytorch import Callback
class Lazy(Callback):
    def on_train_start(self, trainer, module):
        trainer.should_stop = True
"""
    )
    monkeypatch.setenv("SPEECHML_CONF", str(workplace))
    with pytest.raises(UserError, match="nothing was trained: no step was taken"):
        train(*FIR, "+callbacks.lazy={_target_: lazy.Lazy}")
    (card,) = (workplace / "runs").glob("*/*/card.json")
    assert (read_card(card.parent)["state"], read_card(card.parent)["scores"]) == ("failed", {})


def test_runs_whose_length_is_counted_otherwise_now_have_ids_of_their_own() -> None:
    def id_of(**trainer: object) -> str:
        return digest(
            {"trainer": {"_target_": "lightning.pytorch.Trainer", "max_epochs": 9, "max_steps": -1, **trainer}}
        )

    assert id_of() == "d534c18d8f"
    assert id_of(max_steps=5) == "9f0f9adb3b"
    assert id_of(max_steps=5, limit_train_batches=2) != "390c9051f4"
    assert id_of(max_steps=5, max_epochs=-1) == "cf794da325"


VALUES = {
    "callbacks": "null",
    "plugins": "[]",
    "logger": "false",
    "default_root_dir": "/tmp",
    "enable_checkpointing": "false",
}


@pytest.mark.parametrize("prefix", ["", "+", "++"])
@pytest.mark.parametrize("name", sorted(Trainer.REPLACED))
def test_a_key_of_the_frameworks_own_parts_is_refused_with_the_key_that_does_it(name: str, prefix: str) -> None:
    words = [*FIR, f"{prefix}trainer.{name}={VALUES.get(name, 'true')}"]
    with pytest.raises(UserError, match=f"trainer.{name} is no key: speechml gives the class its own; "):
        check_config(resolve_config(composed("train", *adapt_overrides(words))))


def test_a_trainer_of_ones_own_gets_the_frameworks_parts_as_well(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "own.py").write_text("from lightning.pytorch import Trainer\nclass Own(Trainer):\n    pass\n")
    monkeypatch.setenv("SPEECHML_CONF", str(workplace))
    for key in ("callbacks=null", "logger=false", "plugins=[]"):
        with pytest.raises(UserError, match="is no key: speechml gives the class its own"):
            check_config(resolve_config(composed("train", *FIR, "trainer._target_=own.Own", f"++trainer.{key}")))


@pytest.mark.parametrize("key", ["mine", "checkpoint", "scheduler"])
@pytest.mark.parametrize("name", ["ModelCheckpoint", "OnExceptionCheckpoint"])
def test_a_callback_that_would_write_other_checkpoints_is_refused(name: str, key: str, workplace: Path) -> None:
    node = f"+callbacks.{key}={{_target_: lightning.pytorch.callbacks.{name}, dirpath: {workplace}}}"
    config = check_config(resolve_config(composed("train", *FIR, node)))
    with pytest.raises(UserError, match=f"callbacks.{key} {name} would write other checkpoints"):
        build_parts(config, build_data(config), workplace / "run")


@pytest.mark.parametrize("sizes", [[16, 2] * 3, [16, 16, 5], [8] * 4, [3, 1, 4, 1, 5, 9, 2]])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_items_of_a_step_count_alike_whatever_batches_they_lie_in(
    sizes: list[int], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Batches.__new__(Batches)
    monkeypatch.setattr(Batches, "sizes", lambda _: sizes)
    task = WaveformDenoiser({"_target_": "speechml.models.FIR", "taps": 4}, 16000)
    task._trainer = SimpleNamespace(  # type: ignore[assignment]
        accumulate_grad_batches=count, num_training_batches=len(sizes), train_dataloader=loader
    )
    for first in range(0, len(sizes), count):
        step = range(first, min(first + count, len(sizes)))
        # Lightning divides the loss of each batch, a mean over its items, by the count.
        shares = [task.batch_weight(number) / count / sizes[number] for number in step]
        assert shares == pytest.approx([1 / sum(sizes[number] for number in step)] * len(step))


def test_keys_that_are_left_out_have_the_values_of_the_shipped_configs(train: Callable[..., Path]) -> None:
    left_out = ("report", "redo", "find_lr", "checkpoint.every_s", "checkpoint.test_weights", "trainer.num_nodes",
                "trainer.max_steps", "trainer.check_val_every_n_epoch", "trainer.deterministic")  # fmt: skip
    own = [word for word in FIR if word not in ("test=false", "report=false", "logger.csv=true")]
    folder = train(*own, *(f"~{key}" for key in (*left_out, "test", "logger.csv")))
    card = read_card(folder)
    assert (card["state"], card["epochs"], card["test_weights"]) == ("done", 1, "best")
    assert "test/snr_db" in card["scores"]


@pytest.mark.parametrize("count", [1, 4])
def test_clips_are_counted_as_they_are_trained(count: int, train: Callable[..., Path]) -> None:
    card = read_card(train(*FIR, f"+trainer.accumulate_grad_batches={count}", "trainer.max_epochs=5"))
    clips = 5 * card["data"]["recordings"]["train"]
    assert card["clips_per_s"] == pytest.approx(clips / card["training_s"], rel=0.2)  # seconds are rounded


def test_training_scores_can_be_gone_by(train: Callable[..., Path]) -> None:
    node = "+callbacks.early_stopping={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: train/mse}"
    assert read_card(train(*FIR, node))["state"] == "done"


@pytest.mark.parametrize("limit", [1.0, 0.5, 5, 99])
def test_early_stopping_waits_for_its_share_of_the_steps_that_are_taken(limit: float) -> None:
    """Of 10 batches, and 4 epochs whose batches are added up in twos from the second on; Lightning has limited them already."""
    used = int(10 * limit) if isinstance(limit, float) else min(10, limit)
    total = used + 3 * -(-used // 2)
    trainer = SimpleNamespace(
        callbacks=[GradientAccumulationScheduler({1: 2})], accumulate_grad_batches=1, max_epochs=4, max_steps=-1,
        limit_train_batches=limit, num_training_batches=used,
    )  # fmt: skip
    stopping = EarlyStopping(after=0.5, monitor="val/loss")
    begun = [step for step in range(total) if stopping._begun(SimpleNamespace(**vars(trainer), global_step=step))]  # type: ignore[arg-type]
    assert begun[0] == -(-total // 2)
    assert training_steps(trainer, 10) == total  # type: ignore[arg-type]
