"""Plans of sweeps: their runs, what is done already, what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest

from conftest import SMALL_CARD, make_features, speechml, write_card
from speechml.errors import UserError
from speechml.runs.folder import lock
from speechml.runs.sweep_record import SweepRun
from speechml.sweep.grid import PlannedRun, combinations, plan_sweep, summarize
from speechml.sweep.measuring import Measured, describe
from speechml.sweep.run_configs import last_words
from speechml.sweep.status import status_table


def planned_run(**keys: Any) -> PlannedRun:
    known: dict[str, Any] = {
        "overrides": [], "experiment": "lab", "id": "0", "folder": Path("runs/lab/0"), "state": "new", "failures": 0, "swept": {},
    }  # fmt: skip
    return PlannedRun(**{**known, **keys})


def test_every_combination_is_a_run_and_the_last_word_on_a_key_counts() -> None:
    words = ["a=1,2", "b=range(2)", "c=[3,4]", "+d=5", "a=choice(6,7)", "++d=8"]
    found = list(combinations(list(last_words(None, words).values())))
    assert [" ".join(words) for words, _ in found] == [
        f"b={b} c=[3,4] a={a} ++d=8" for b in (0, 1) for a in (6, 7)
    ]  # fmt: skip
    assert found[0][1] == {"b": "0", "a": "6"}


def test_what_a_sweep_does_with_a_run_follows_from_its_state() -> None:
    runs = [planned_run(state=state) for state in ("done", "done", "new", "stopped", "cut off", "running", "damaged")]
    runs += [planned_run(state="failed", failures=count) for count in (3, 4)]
    runs += [planned_run(state=state, redo=True) for state in ("done", "running")]
    assert summarize(runs, max_retries=3) == (
        "11 runs: 2 done already, 3 to train, 2 to go on with, 1 failed, to be tried again, "
        "2 being trained by another process, 1 failed too often"
    )


def test_a_plan_shows_the_runs_and_computes_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "plan", "-m", "experiment=lab2a_fir", "seed=0,1", "trainer.max_epochs=2"]
    assert speechml(monkeypatch, *words) == 0
    first = capsys.readouterr().out
    assert "2 runs: 2 to train" in first
    assert not (workplace / "runs").exists()
    identity = next(line.split()[1] for line in first.splitlines() if line.endswith("seed=1"))
    folder = workplace / "runs" / "lab2a_fir" / identity
    folder.mkdir(parents=True)
    write_card(folder, {**SMALL_CARD, "state": "done"})
    assert speechml(monkeypatch, *words) == 0
    assert "2 runs: 1 done already, 1 to train" in capsys.readouterr().out


def test_a_status_says_how_far_a_run_is_and_whether_it_can_go_on(workplace: Path) -> None:
    folder = workplace / "runs" / "lab" / "0"
    folder.mkdir(parents=True)
    write_card(folder, {**SMALL_CARD, "state": "running"})
    assert "cut off (0 epochs, nothing saved yet)" in status_table([SweepRun(folder)])
    (folder / "metrics.csv").write_text("epoch,step\n0,4\n1,8\n")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    assert "cut off (2 epochs)" in status_table([SweepRun(folder)])
    with lock(folder):
        assert "running (2 epochs)" in status_table([SweepRun(folder)])
    (folder / "metrics.csv").unlink()
    (folder / "config.yaml").write_text("logger: {csv: false}\n")  # how many epochs there were is not known
    assert "cut off  " in status_table([SweepRun(folder)])
    (folder / "checkpoints" / "last.ckpt").unlink()
    assert "cut off (nothing saved yet)" in status_table([SweepRun(folder)])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["logger.csv=true,false"], "make no difference to a result: the two would be one run"),
        (["seed=1,1"], "twice; they would be one run"),
        (["seed=1,2", "checkpoint.every_s=1,2"], "several would be one run"),
        (["optimizer.lr=interval(0,1)"], "an interval has no end of them; add hydra/sweeper=optuna"),
        (["optimizer.lrr=1,2"], "there is no key optimizer.lrr; did you mean optimizer.lr?"),
        (["experiment=lab2a_fri,lab2a_fir"], "did you mean lab2a_fir?"),
        (["hparams_search=genre"], "there is no plan of it"),
        (["seed"], "is not understood"),
        (["seed=range(1,1)"], "the sweep has no runs"),
        (["seed=0,1", "paths.runs=null"], "paths.runs is empty"),
        (
            ["seed=0,1", "hydra.sweeper.max_retries=-1"],
            "hydra.sweeper.max_retries is -1; it must be a whole number of at least 0",
        ),
        (["seed=0,1", "hydra.sweeper.params=5"], "hydra.sweeper.params is 5"),
        (["seed=0,1", "+hydra.sweeper.retries=5"], "there is no key hydra.sweeper.retries; did you mean"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(
    words: list[str], says: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speechml(monkeypatch, "sweep", "plan", *words) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["optimizer.lr=0.1,0.2,fast"], "optimizer.lr is fast; it must be a number"),
        (["seed=1,2", "trainer.max_epochs=3,0.5"], "trainer.max_epochs is 0.5; it must be a whole number"),
        (["experiment=lab2b_mimo_cnn", "model.net.taps=[8,8],[8,x]"], "model.net.taps is"),
        (["optimizer=sgd,adam", "++optimizer.betas=[0.9]"], "optimizer.betas"),
        (
            ["++trainer.gradient_clip_algorithm=norm,max"],
            "trainer.gradient_clip_algorithm is max; it can be norm, value or null",
        ),
        (["data=spoken_pairs,wav_pairs"], "data.root must be given"),
    ],
)
def test_a_sweep_with_one_wrong_value_is_refused_before_its_first_run(
    words: list[str], says: str, workplace: Path
) -> None:
    with pytest.raises(UserError) as refused:
        plan_sweep(words)
    assert says in str(refused.value)
    assert list(workplace.iterdir()) == []


def test_a_plan_measures_what_a_run_takes_and_leaves_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_features(workplace / "features.npz")
    words = ["experiment=genre_mlp", "data.root=features.npz", "seed=0,1", "trainer.max_epochs=3", "data.batch_size=16"]
    assert speechml(monkeypatch, "sweep", "plan", "--measure", *words) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"Measured on seed=0: [\d.]+ [MG]B of memory, .* at most; 2 one after another .*", told)
    assert not (workplace / "runs").exists()


def test_what_is_measured_of_some_batches_stands_for_the_whole_training() -> None:
    measured = Measured(2**30, 0, start_s=4.0, fixed_s=2.0, batch_s=0.1, validation_s=0.5, batches=300, validations=3)
    assert measured.run_s == pytest.approx(2 + 30 + 1.5)
    assert describe(measured, "lr=1", 2) == "Measured on lr=1: 1.1 GB of memory, 34 s at most; 2 one after another 71 s"


def test_a_run_that_cannot_be_measured_is_said_to_in_a_sentence(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    words = ["experiment=genre_mlp", "data.root=none.npz", "seed=0,1"]
    assert speechml(monkeypatch, "sweep", "plan", "--measure", *words) == 2
    assert "seed=0 could not be measured" in capsys.readouterr().err
    assert not (workplace / "runs").exists()
