"""A run that was stopped at any moment and continued is the run that was not, bit for bit."""

import os
import signal
from pathlib import Path

import lightning.pytorch as pl
import pytest

from conftest import read_card, write_card
from resuming import GENRE, OTHERS, SMALL, at_step, run_in, steps_of, stop_in
from speechml.engine.checkpoint import read_checkpoint
from speechml.process import SIGNALS
from stress_resume import TASKS, differences, events, resume

pytestmark = pytest.mark.usefixtures("genre_features")


@pytest.mark.slow
@pytest.mark.parametrize(("step", "asked"), [*zip((1, 5, 10, 11, 20), SIGNALS, strict=True)])  # 10 steps are an epoch
def test_a_signal_in_any_step_saves_stops_with_code_75_and_the_same_command_goes_on(
    step: int, asked: signal.Signals, undisturbed: Path
) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    run = stop_in("stopped", step, asked, *GENRE)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    card = read_card(run)
    assert card["state"] == "stopped"
    where = f"after step {step}" if step < 20 else "when its training was over"
    assert card["stopped"] == f"stopped by {asked.name} {where}"
    assert steps_of(run) == step  # not one step is lost
    assert differences(undisturbed, run_in("stopped", *GENRE)) == []


@pytest.mark.slow
@pytest.mark.parametrize("task", OTHERS)
def test_runs_of_every_task_go_on_within_an_epoch(task: str) -> None:
    alone = run_in("alone", *OTHERS[task])
    assert read_checkpoint(alone / "checkpoints" / "last.ckpt")["resume"]["lost"] == []
    for step in (1, steps_of(alone) // 2 + 1):
        stop_in(f"stopped{step}", step, signal.SIGTERM, *OTHERS[task])
        assert differences(alone, run_in(f"stopped{step}", *OTHERS[task])) == []
    if task == "waveform":  # what is heard is there once, wherever a run was stopped
        heard = [tag.rpartition("/")[2] for tag, _, _ in events(alone) if tag.startswith("val/") and tag.count("/") > 1]
        assert sorted(heard) == ["clean", "denoised", "denoised", "denoised_best", "noisy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("+trainer.accumulate_grad_batches=3",),
        ("+trainer.val_check_interval=0.5",),
        ("+trainer.val_check_interval=4", "trainer.check_val_every_n_epoch=null"),
        ("trainer.check_val_every_n_epoch=2",),
        ("trainer.max_steps=20", "trainer.max_epochs=1000"),
        ("scheduler=cosine",),
        ("optimizer=lbfgs", "scheduler=none"),
        ("trainer.precision=bf16-mixed",),
        ("+trainer.overfit_batches=5",),
    ],
    ids=lambda words: words[0],
)
def test_a_run_goes_on_however_it_is_trained(words: tuple[str, ...]) -> None:
    alone = run_in("alone", *GENRE, *words)
    stop_in("stopped", 7, signal.SIGTERM, *GENRE, *words)
    assert differences(alone, run_in("stopped", *GENRE, *words)) == []


def test_what_was_done_after_the_last_saving_is_done_again_and_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after kill -9: the epochs after step 6 were logged, their best was kept, and none of it counts."""
    long = (*SMALL, *TASKS["genre"], "trainer.max_epochs=4")
    alone = run_in("alone", *long)

    def die() -> None:
        raise RuntimeError("as if killed")

    with monkeypatch.context() as once:
        once.setattr("speechml.engine.saving.Saving._is_due", lambda _, trainer: trainer.global_step == 6)
        with at_step(steps_of(alone) - 1, die), pytest.raises(RuntimeError, match="as if killed"):
            run_in("cut", *long)
    run = next(Path("cut").glob("*/*"))
    card = read_card(run)
    assert (card["state"], card["error"]) == ("failed", "RuntimeError: as if killed")
    assert steps_of(run) == 6
    assert len((run / "metrics.csv").read_text().splitlines()) == 4  # a header and three epochs
    assert differences(alone, run_in("cut", *long)) == []


def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_is_taken(
    undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*GENRE, "checkpoint.every_n_steps=3")
    run = stop_in("cut", 10, signal.SIGUSR1, *words)
    last, previous = run / "checkpoints" / "last.ckpt", run / "checkpoints" / "previous.ckpt"
    card, content, before = read_card(run), last.read_bytes(), previous.read_bytes()
    for cut in (0, len(content) - 1):
        last.write_bytes(content[:cut])
        previous.write_bytes(before)
        write_card(run, card)
        capsys.readouterr()
        assert differences(undisturbed, run_in("cut", *words)) == []
        told = capsys.readouterr()
        assert "last.ckpt" in told.err
        assert "after step 9" in told.out
    last.write_bytes(b"")
    previous.write_bytes(b"")
    write_card(run, card)
    capsys.readouterr()
    assert differences(undisturbed, run_in("cut", *words)) == []
    told = capsys.readouterr().out
    assert "has no usable checkpoint: it begins again" in told
    assert next(Path("cut").glob(".old/*/*/checkpoints/best.ckpt")).is_file()  # what there was is not lost


def test_what_fails_before_a_run_goes_on_is_not_blamed_on_its_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such disk")

    stop_in("cut", 5, signal.SIGTERM, *GENRE)
    monkeypatch.setattr(pl.LightningDataModule, "setup", fail)
    with pytest.raises(RuntimeError, match="no such disk"):
        run_in("cut", *GENRE)


def test_the_comparison_finds_what_differs(undisturbed: Path) -> None:
    found = " ".join(differences(undisturbed, run_in("one", *GENRE, "seed=1")))
    for what in (
        "last.ckpt: state_dict",
        "optimizer_states",
        "best.ckpt",
        "scores",
        "predictions",
        "metrics.csv",
        "events",
    ):
        assert what in found


def test_early_stopping_that_has_stopped_a_run_is_not_forgotten() -> None:
    """Stopped by a signal in the last step before its early end: no further epoch is trained."""
    early = ("callbacks.early_stopping.after=0", "callbacks.early_stopping.patience=1", "optimizer.lr=0.3")
    words = (*GENRE, *early, "trainer.max_epochs=20")
    alone = run_in("alone", *words)
    assert steps_of(alone) < 20 * 10
    stop_in("stopped", steps_of(alone), signal.SIGTERM, *words)
    assert differences(alone, run_in("stopped", *words)) == []


def test_a_run_goes_on_where_its_folder_was_moved_to(undisturbed: Path) -> None:
    stop_in("here", 15, signal.SIGTERM, *GENRE)
    Path("here").rename("there")
    assert differences(undisturbed, run_in("there", *GENRE)) == []


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_turning_a_logger_on_between_launches_loses_nothing(logger: str, undisturbed: Path) -> None:
    stop_in("stopped", 15, signal.SIGTERM, *GENRE, f"logger.{logger}=false")
    run = run_in("stopped", *GENRE)
    assert (run / "metrics.csv").read_text() == (undisturbed / "metrics.csv").read_text()
    tags = [[tag for tag, _, content in events(one) if content == "hparams"] for one in (run, undisturbed)]
    assert tags[0] == tags[1]


@pytest.mark.slow
def test_a_run_killed_at_a_random_moment_ends_as_the_one_that_was_not() -> None:
    """The same as `scripts/stress.py resume`, smaller."""
    assert resume(kills=1, seed=int.from_bytes(os.urandom(2)), tasks=("genre",)) == 0
