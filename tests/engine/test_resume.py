"""A run that was stopped at any moment and continued is the run that was not, bit for bit."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from conftest import read_card, write_card
from resuming import GENRE, OTHERS, SMALL, ask, at_step, run_in, steps_of
from speechml.engine.signals import SIGNALS, Stopped
from stress_resume import TASKS, differences, events, make_features, resume


@pytest.fixture(autouse=True)
def features(workplace: Path) -> None:
    """Data of the genre runs, in an empty folder to work in."""
    make_features(workplace / "features.npz")


@pytest.mark.slow
def test_a_signal_at_any_step_saves_stops_with_code_75_and_the_same_command_goes_on() -> None:
    whole = run_in("whole", *GENRE)
    assert steps_of(whole) == 20
    for step in range(1, 21):
        asked = SIGNALS[step % len(SIGNALS)]
        before = [signal.getsignal(number) for number in SIGNALS]
        with at_step(step, ask(asked)), pytest.raises(SystemExit) as stopped:
            run_in(f"stopped{step}", *GENRE)
        assert stopped.value.code == 75
        assert [signal.getsignal(number) for number in SIGNALS] == before
        run = next(Path(f"stopped{step}").glob("*/*"))
        card = read_card(run)
        assert card["state"] == "stopped"
        where = f"after step {step}" if step < 20 else "when its training was over"
        assert card["stopped"] == f"stopped by {asked.name} {where}"
        assert steps_of(run) == step  # not one step is lost
        assert differences(whole, run_in(f"stopped{step}", *GENRE)) == []


@pytest.mark.slow
@pytest.mark.parametrize("task", OTHERS)
def test_runs_of_every_task_go_on_within_an_epoch(task: str) -> None:
    whole = run_in("whole", *OTHERS[task])
    for step in (1, steps_of(whole) // 2 + 1):
        with at_step(step, ask(signal.SIGTERM)), pytest.raises(Stopped):
            run_in(f"stopped{step}", *OTHERS[task])
        assert differences(whole, run_in(f"stopped{step}", *OTHERS[task])) == []


@pytest.mark.slow
def test_what_is_heard_and_seen_in_tensorboard_is_there_once_wherever_a_run_was_stopped() -> None:
    words = [word for word in OTHERS["waveform"] if not word.startswith("callbacks.listening")]
    whole = run_in("whole", *words, "callbacks.listening.recordings=1")
    heard = [tag.rpartition("/")[2] for tag, _, _ in events(whole) if tag.startswith("val/") and tag.count("/") > 1]
    assert sorted(heard) == ["clean", "denoised", "denoised", "denoised_best", "noisy"]
    for step in (1, steps_of(whole) // 2 + 1, steps_of(whole)):
        with at_step(step, ask(signal.SIGTERM)), pytest.raises(Stopped):
            run_in(f"stopped{step}", *words, "callbacks.listening.recordings=1")
        assert differences(whole, run_in(f"stopped{step}", *words, "callbacks.listening.recordings=1")) == []


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
    chosen = (*GENRE, *words)
    whole = run_in("whole", *chosen)
    for step in (3, 7, 14):
        with at_step(step, ask(signal.SIGTERM)), contextlib.suppress(Stopped):
            run_in(f"stopped{step}", *chosen)
        assert differences(whole, run_in(f"stopped{step}", *chosen)) == []


def test_what_was_done_after_the_last_saving_is_done_again_and_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after kill -9: the epochs after step 6 were logged, their best was kept, and none of it counts."""
    long = (*SMALL, *TASKS["genre"], "trainer.max_epochs=4")
    whole = run_in("whole", *long)

    def die() -> None:
        raise RuntimeError("as if killed")

    with monkeypatch.context() as once:
        once.setattr("speechml.engine.saving.Saving._is_due", lambda _, trainer: trainer.global_step == 6)
        with at_step(steps_of(whole) - 1, die), pytest.raises(RuntimeError, match="as if killed"):
            run_in("cut", *long)
    run = next(Path("cut").glob("*/*"))
    assert steps_of(run) == 6
    assert len((run / "metrics.csv").read_text().splitlines()) == 4  # a header and three epochs
    assert differences(whole, run_in("cut", *long)) == []


def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*GENRE, "checkpoint.every_n_steps=3")
    whole = run_in("whole", *words)
    with at_step(10, ask(signal.SIGUSR1)), pytest.raises(Stopped):
        run_in("cut", *words)
    run = next(Path("cut").glob("*/*"))
    last, previous = run / "checkpoints" / "last.ckpt", run / "checkpoints" / "previous.ckpt"
    card, content, before = read_card(run), last.read_bytes(), previous.read_bytes()
    for cut in (0, 1, 2000, len(content) // 2, len(content) - 100, len(content) - 1):
        last.write_bytes(content[:cut])
        previous.write_bytes(before)
        write_card(run, card)
        capsys.readouterr()
        assert differences(whole, run_in("cut", *words)) == []
        told = capsys.readouterr()
        assert "last.ckpt" in told.err
        assert "after step 9" in told.out
    last.write_bytes(b"")
    previous.write_bytes(b"")
    write_card(run, card)
    capsys.readouterr()
    assert differences(whole, run_in("cut", *words)) == []
    told = capsys.readouterr().out
    assert "has no usable checkpoint: it begins again" in told
    assert next(Path("cut").glob(".old/*/*/checkpoints/best.ckpt")).is_file()  # what there was is not lost


def test_the_comparison_finds_what_differs() -> None:
    one, other = run_in("one", *GENRE), run_in("one", *GENRE, "seed=1")
    found = " ".join(differences(one, other))
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
    words = (
        *SMALL,
        *TASKS["genre"],
        "callbacks.early_stopping.after=0",
        "callbacks.early_stopping.patience=1",
        "optimizer.lr=0.3",
    )
    whole = run_in("whole", *words)
    assert steps_of(whole) < 20 * 23
    with at_step(steps_of(whole), ask(signal.SIGTERM)), pytest.raises(Stopped):
        run_in("stopped", *words)
    assert differences(whole, run_in("stopped", *words)) == []


def test_a_run_goes_on_where_its_folder_was_moved_to() -> None:
    whole = run_in("whole", *GENRE)
    with at_step(15, ask(signal.SIGTERM)), pytest.raises(Stopped):
        run_in("here", *GENRE)
    Path("here").rename("there")
    assert differences(whole, run_in("there", *GENRE)) == []


def test_turning_loggers_on_and_off_between_launches_loses_nothing() -> None:
    whole = run_in("whole", *GENRE)
    for first in ("csv", "tensorboard"):
        with at_step(15, ask(signal.SIGTERM)), pytest.raises(Stopped):
            run_in(first, *GENRE, f"logger.{first}=false")
        run = run_in(first, *GENRE)
        assert (run / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
        hyperparameters = [tag for tag, _, content in events(run) if content == "hparams"]
        assert hyperparameters == [tag for tag, _, content in events(whole) if content == "hparams"]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_the_one_that_was_not() -> None:
    """The same as `scripts/stress.py resume`, smaller."""
    assert resume(kills=4, seed=int.from_bytes(os.urandom(2)), tasks=("genre", "waveform")) == 0
