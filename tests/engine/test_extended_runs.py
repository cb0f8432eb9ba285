"""A training that is asked to be longer goes on from the shorter one, where that gives what one of that length gives."""

import shutil
import signal
from pathlib import Path

import pytest

from conftest import read_card
from resuming import SMALL, ask, at_step, run_in
from speechml.engine.signals import Stopped
from stress_resume import TASKS, differences

WAVEFORM = (*SMALL, *TASKS["waveform"][:-1], "scheduler=none", "data.batch_size=8", "callbacks.listening=null")
FIR = (*SMALL, "experiment=lab2a_fir", "+data.count=40", "model.net.taps=8", "data.batch_size=8", "scheduler=none",
       "callbacks.listening=null")  # fmt: skip
WORDS = (*SMALL, *TASKS["words"], "data.voices=6", "trainer.max_steps=-1", "scheduler=none", "callbacks=words",
         "callbacks.figures=null", "callbacks.progress=null", "model.net.width=8", "trainer.precision=32")  # fmt: skip


def unlike(one: Path, other: Path) -> list[str]:
    """What differs between two runs, but for TensorBoard's files: the first epochs are in those of the shorter run."""
    return [text for text in differences(one, other) if not text.startswith("events: ")]


def train_for(place: Path, epochs: int, *words: str) -> Path:
    return run_in(place, *words, f"trainer.max_epochs={epochs}")


@pytest.mark.parametrize("words", [WAVEFORM, WORDS], ids=["denoiser", "words with dropout and augmentation"])
def test_a_longer_run_goes_on_from_the_shorter_and_is_what_it_had_been_at_once(
    workplace: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    at_once = train_for(workplace / "once", 4, *words)
    short = train_for(workplace / "runs", 2, *words)
    before = (short / "card.json").read_bytes()
    capsys.readouterr()
    long = train_for(workplace / "runs", 4, *words)
    assert "goes on from there" in capsys.readouterr().out
    assert unlike(at_once, long) == []
    assert long.name == at_once.name != short.name
    assert read_card(long)["extended"][0].items() >= {"from_epochs": 2, "to_epochs": 4, "from_run": short.name}.items()
    assert read_card(long)["scores"] == read_card(at_once)["scores"]
    assert (short / "card.json").read_bytes() == before  # who asks for two epochs again gets those


def test_a_run_is_extended_twice_and_after_a_fall_of_the_rate(workplace: Path) -> None:
    words = (
        *FIR,
        "+scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau",
        "+scheduler.patience=0",
        "optimizer.lr=0.05",
    )
    at_once = train_for(workplace / "once", 3, *words)
    for epochs in (1, 2, 3):
        run = train_for(workplace / "runs", epochs, *words)
    assert unlike(at_once, run) == []
    assert [one["from_epochs"] for one in read_card(run)["extended"]] == [1, 2]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("scheduler=one_cycle",), "scheduler OneCycleLR depends on the length"),
        (("+trainer.max_time=00:01:00:00",), "trainer.max_time"),
        (("trainer.check_val_every_n_epoch=3",), "it is validated after other epochs"),
        (("+callbacks.stop._target_=speechml.callbacks.EarlyStopping", "+callbacks.stop.monitor=val/loss",
          "+callbacks.stop.after=0.5"), "callbacks.stop may depend"),
    ],
)  # fmt: skip
def test_where_the_length_decides_over_more_a_longer_run_begins_anew_and_says_so(
    workplace: Path, words: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train_for(workplace / "runs", 2, *FIR, *words)
    long = train_for(workplace / "runs", 3, *FIR, *words)
    said = capsys.readouterr().out
    assert f"this one begins anew, since {why}" in said
    assert "extended" not in read_card(long)


def test_more_steps_extend_a_run_as_more_epochs_do_and_another_seed_does_not(workplace: Path) -> None:
    first = run_in(workplace / "runs", *FIR, "trainer.max_steps=3")
    assert read_card(first)["epochs"] == 1
    other = run_in(workplace / "runs", *FIR, "trainer.max_steps=6", "seed=1")
    assert "extended" not in read_card(other)
    more = run_in(workplace / "runs", *FIR, "trainer.max_steps=6")
    assert [(one["from_epochs"], one["to_epochs"]) for one in read_card(more)["extended"]] == [(1, 2)]


def test_a_longer_run_that_is_stopped_goes_on_by_itself(workplace: Path) -> None:
    at_once = train_for(workplace / "once", 3, *FIR)
    short = train_for(workplace / "runs", 1, *FIR)
    with at_step(2, ask(signal.SIGTERM)), pytest.raises(Stopped):
        train_for(workplace / "runs", 3, *FIR)
    shutil.rmtree(short)
    assert unlike(at_once, train_for(workplace / "runs", 3, *FIR)) == []
