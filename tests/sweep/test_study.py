"""A study on disk goes on where it was, draws what it would have drawn, and says what is wrong with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from speechml.errors import UserError
from speechml.sweep.lock import held
from speechml.sweep.space import Space, read_space
from speechml.sweep.study import JOURNAL, drawn, finished, open_study, sampler, try_again, unfinished

SPACE = read_space({}, ["a=interval(0, 1)", "b=range(9)", "c=x,y", "fixed=1"])


def opened(folder: Path, space: Space = SPACE, direction: str = "minimize", **about: Any) -> optuna.Study:
    folder.mkdir(exist_ok=True)
    return open_study(folder, space, direction, about)


def fresh(name: str, space: Space = SPACE) -> Callable[..., optuna.samplers.BaseSampler]:
    return lambda *where: sampler(name, 0, space, {}, *where)


def ask(study: optuna.Study, name: str = "random", space: Space = SPACE) -> optuna.trial.Trial:
    return drawn(study, space, fresh(name, space))


@pytest.mark.parametrize("name", ["random", "tpe", "QMCSampler"])
def test_a_continued_study_draws_what_an_undisturbed_one_would_and_nothing_twice(name: str, tmp_path: Path) -> None:
    whole = opened(tmp_path / "whole")
    for _ in range(6):
        trial = ask(whole, name)
        whole.tell(trial, trial.params["a"])
    for _ in range(6):
        study = opened(tmp_path / "often")  # opened anew for every trial
        trial = ask(study, name)
        study.tell(trial, trial.params["a"])
    found = [trial.params for trial in opened(tmp_path / "often").trials]
    assert found == [trial.params for trial in whole.trials]
    assert len({params["a"] for params in found}) == 6


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_trial_that_was_cut_off_between_two_draws_ends_as_one_that_was_not(name: str, tmp_path: Path) -> None:
    wanted = ask(opened(tmp_path / "whole"), name).params
    study = opened(tmp_path / "cut")
    short = read_space({}, ["a=interval(0, 1)"])
    assert drawn(study, short, fresh(name)).params == {"a": wanted["a"]}
    study = opened(tmp_path / "cut")
    (trial_id,) = unfinished(study)
    trial = drawn(study, SPACE, fresh(name), trial_id)
    assert trial.number == 0
    assert trial.params == wanted


def test_keys_of_one_range_get_values_of_their_own(tmp_path: Path) -> None:
    space = read_space({}, ["a=interval(0, 1)", "b=interval(0, 1)"])
    params = drawn(opened(tmp_path / "s", space), space, fresh("random", space)).params
    assert params["a"] != params["b"]


def test_a_grid_goes_on_with_its_next_point_when_a_failed_trial_is_tried_again(tmp_path: Path) -> None:
    space = read_space({}, ["a=range(2)", "b=x,y"])
    study = opened(tmp_path / "s", space)
    first = ask(study, "grid", space)
    first.set_user_attr("accident", True)
    study.tell(first, state=TrialState.FAIL)
    ask(study, "grid", space)
    study = opened(tmp_path / "s", space)
    try_again(study)
    try_again(study)  # a second time changes nothing
    todo = [drawn(study, space, fresh("grid", space), trial_id).params for trial_id in unfinished(study)]
    assert todo == [{"a": 0, "b": "y"}, first.params]
    assert [ask(study, "grid", space).params for _ in range(2)] == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}]
    assert finished(study) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"space": read_space({}, ["a=interval(0, 2)", "b=range(9)", "c=x,y", "fixed=1"])},
            r"another search \(space\)",
        ),
        (
            {"space": read_space({}, ["a=interval(0, 1)", "b=range(9)", "c=x,y", "fixed=2"])},
            r"another search \(fixed\)",
        ),
        ({"direction": "maximize"}, "direction"),
        ({"objective": "val/acc"}, "objective"),
    ],
)
def test_a_study_of_another_search_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    study = opened(tmp_path / "s", objective="val/loss")
    ask(study)
    with pytest.raises(UserError, match=says):
        opened(tmp_path / "s", **{"objective": "val/loss", **change})


def test_a_last_line_that_was_cut_short_is_taken_away(tmp_path: Path) -> None:
    ask(opened(tmp_path / "s"))
    journal = tmp_path / "s" / JOURNAL
    content = journal.read_bytes()
    for cut in (1, 10, 30):
        journal.write_bytes(content[:-cut])
        assert len(opened(tmp_path / "s").trials) == 1
    journal.write_bytes(content + b'{"op_code":4,"wor')
    study = opened(tmp_path / "s")
    study.tell(ask(study), 1.0)
    assert len(opened(tmp_path / "s").trials) == 2


@pytest.mark.parametrize(
    "damage", [b"rubbish\n", b'{"a": 1}\n', b"[]\n", b"\x00\xff\n", b'{"op_code": 99, "worker_id": "x"}\n']
)
def test_a_damaged_journal_is_refused_by_name(damage: bytes, tmp_path: Path) -> None:
    ask(opened(tmp_path / "s"))
    journal = tmp_path / "s" / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + damage + b"".join(lines[1:]))
    with pytest.raises(UserError, match=r"journal.log is damaged"):
        opened(tmp_path / "s")


def test_a_lock_that_a_killed_process_left_in_the_journal_holds_nobody_up(tmp_path: Path) -> None:
    study = opened(tmp_path / "s")
    (tmp_path / "s" / f"{JOURNAL}.lock").symlink_to(tmp_path / "s" / JOURNAL)
    del study
    assert opened(tmp_path / "s").trials == []


def test_a_folder_that_is_held_is_refused_and_then_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechml.sweep.lock.WAIT_S", 0.3)
    with (
        held(tmp_path / "s"),
        pytest.raises(UserError, match="the same sweep is being computed by process"),
        held(tmp_path / "s"),
    ):
        pass
    with held(tmp_path / "s"):
        pass


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("tpee", {}, "did you mean tpe"),
        ("None", {}, "is none of Optuna's"),
        ("tpe", {"wrong": 1}, "unexpected keyword"),
        ("CmaEsSampler", {}, "pickled"),
        ("BruteForceSampler", {}, "choose grid"),
        ("GridSampler", {}, "choose grid"),
    ],
)
def test_a_sampler_that_is_none_is_refused(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        sampler(name, 0, SPACE, options)
