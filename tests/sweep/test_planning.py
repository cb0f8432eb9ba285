"""Plans of sweeps: their runs, what is done already, what is refused."""

from pathlib import Path
from typing import Any

import pytest

from conftest import SMALL_CARD, speechml, write_card
from speechml.errors import UserError
from speechml.sweep.grid_plan import PlannedRun, action, combinations, summarize


def planned_run(**keys: Any) -> PlannedRun:
    known: dict[str, Any] = {
        "overrides": [], "experiment": "lab", "id": "0", "folder": Path("runs/lab/0"), "state": "new", "failures": 0, "swept": {},
    }  # fmt: skip
    return PlannedRun(**{**known, **keys})


def test_every_combination_is_a_run_and_the_last_word_on_a_key_counts() -> None:
    found = combinations(["a=1,2", "b=range(2)", "c=[3,4]", "+d=5", "a=choice(6,7)", "++d=8"])
    assert [" ".join(words) for words, _ in found] == [
        f"b={b} c=[3,4] a={a} ++d=8" for b in (0, 1) for a in (6, 7)
    ]  # fmt: skip
    assert found[0][1] == {"b": "0", "a": "6"}


@pytest.mark.parametrize(
    ("state", "failures", "redo", "what"),
    [
        ("new", 0, False, "train"),
        ("done", 0, False, ""),
        ("done", 0, True, "train"),
        ("stopped", 0, False, "go on"),
        ("cut off", 0, False, "go on"),
        ("running", 0, False, ""),
        ("running", 0, True, ""),
        ("failed", 3, False, "try again"),
        ("failed", 4, False, ""),
    ],
)
def test_what_a_sweep_does_with_a_run(state: str, failures: int, redo: bool, what: str) -> None:
    assert action(planned_run(state=state, failures=failures, redo=redo), max_retries=3) == what


def test_a_sweep_counts_what_there_is_to_do() -> None:
    states = ["done", "done", "new", "stopped", "failed", "running"]
    told = summarize([planned_run(state=state) for state in states], max_retries=3)
    assert told == (
        "6 runs: 2 done already, 1 to train, 1 to go on with, 1 failed, to be tried again, 1 being trained by another process"
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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["logger.csv=true,false"], "make no difference to a result: the two would be one run"),
        (["seed=1,1"], "twice; they would be one run"),
        (["seed=1,2", "checkpoint.every_s=1,2"], "several would be one run"),
        (["optimizer.lr=interval(0,1)"], "an interval has no end of them"),
        (["optimizer.lrr=1,2"], "there is no key optimizer.lrr; did you mean optimizer.lr?"),
        (["experiment=lab2a_fri,lab2a_fir"], "did you mean lab2a_fir?"),
        (["hparams_search=genre"], "there is no plan of it"),
        (["seed"], "is not understood"),
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


def test_an_interval_is_refused_by_itself() -> None:
    with pytest.raises(UserError, match="add hydra/sweeper=optuna"):
        combinations(["optimizer.lr=interval(0,1)"])
