"""A study on disk goes on where it was, draws what it would have drawn, and says what is wrong with it."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from speechml.errors import FolderBusy, UserError
from speechml.sweep.optuna_compat import resume_trial
from speechml.sweep.schema import OptunaSweeper
from speechml.sweep.space import Space, read_space
from speechml.sweep.study import JOURNAL, ask, finished_trials, new_sampler, open_study, try_again, unfinished_trials
from speechml.sweep.sweep_command import hold, options_of

SPACE = read_space({}, ["a=interval(0, 1)", "b=range(9)", "c=x,y", "fixed=1"])


def opened(folder: Path, space: Space = SPACE, direction: str = "minimize", **about: Any) -> optuna.Study:
    folder.mkdir(exist_ok=True)
    return open_study(folder, space, direction, about)


def new_trial(study: optuna.Study, name: str = "random", space: Space = SPACE) -> optuna.trial.Trial:
    return ask(study, space, options_of(OptunaSweeper, sampler=name))


@pytest.mark.parametrize("name", ["random", "tpe", "QMCSampler"])
def test_a_continued_study_draws_what_an_undisturbed_one_would_and_nothing_twice(name: str, tmp_path: Path) -> None:
    whole = opened(tmp_path / "whole")
    for _ in range(6):
        trial = new_trial(whole, name)
        whole.tell(trial, trial.params["a"])
    for _ in range(6):
        study = opened(tmp_path / "often")  # opened anew for every trial
        trial = new_trial(study, name)
        study.tell(trial, trial.params["a"])
    found = [trial.params for trial in opened(tmp_path / "often").trials]
    assert found == [trial.params for trial in whole.trials]
    assert len({params["a"] for params in found}) == 6


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_trial_that_was_cut_off_between_two_draws_ends_as_one_that_was_not(name: str, tmp_path: Path) -> None:
    wanted = new_trial(opened(tmp_path / "whole"), name).params
    study = opened(tmp_path / "cut")
    short = read_space({}, ["a=interval(0, 1)"])
    assert new_trial(study, name, short).params == {"a": wanted["a"]}
    study = opened(tmp_path / "cut")
    (number,) = unfinished_trials(study)
    trial = ask(study, SPACE, options_of(OptunaSweeper, sampler=name), number)
    assert trial.number == 0
    assert trial.params == wanted


def test_keys_of_one_range_get_values_of_their_own(tmp_path: Path) -> None:
    space = read_space({}, ["a=interval(0, 1)", "b=interval(0, 1)"])
    params = new_trial(opened(tmp_path / "s", space), "random", space).params
    assert params["a"] != params["b"]


def test_a_grid_goes_on_with_its_next_point_when_a_failed_trial_is_tried_again(tmp_path: Path) -> None:
    space = read_space({}, ["a=range(2)", "b=x,y"])
    study = opened(tmp_path / "s", space)
    first = new_trial(study, "grid", space)
    first.set_user_attr("accident", True)
    study.tell(first, state=TrialState.FAIL)
    new_trial(study, "grid", space)
    study = opened(tmp_path / "s", space)
    try_again(study)
    try_again(study)  # a second time changes nothing
    todo = [
        ask(study, space, options_of(OptunaSweeper, sampler="grid"), number).params
        for number in unfinished_trials(study)
    ]
    assert todo == [{"a": 0, "b": "y"}, first.params]
    assert [new_trial(study, "grid", space).params for _ in range(2)] == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}]
    assert finished_trials(study) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"space": SPACE._replace(distributions={"a": SPACE.distributions["b"]})}, r"another search \(space\)"),
        ({"space": SPACE._replace(overrides=["fixed=2"])}, r"another search \(fixed\)"),
        ({"direction": "maximize"}, "direction"),
        ({"objective": "val/acc"}, "objective"),
    ],
)
def test_a_study_of_another_search_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    study = opened(tmp_path / "s", objective="val/loss")
    new_trial(study)
    with pytest.raises(UserError, match=says):
        opened(tmp_path / "s", **{"objective": "val/loss", **change})


def test_a_last_line_that_was_cut_short_is_taken_away(tmp_path: Path) -> None:
    new_trial(opened(tmp_path / "s"))
    journal = tmp_path / "s" / JOURNAL
    content = journal.read_bytes()
    for cut in (1, 10, 30):
        journal.write_bytes(content[:-cut])
        assert len(opened(tmp_path / "s").trials) == 1
    journal.write_bytes(content + b'{"op_code":4,"wor')
    study = opened(tmp_path / "s")
    study.tell(new_trial(study), 1.0)
    assert len(opened(tmp_path / "s").trials) == 2


@pytest.mark.parametrize("damage", [b"rubbish\n", b"[]\n", b"\x00\xff\n", b'{"op_code": 99, "worker_id": "x"}\n'])
def test_a_damaged_journal_is_refused_by_name(damage: bytes, tmp_path: Path) -> None:
    new_trial(opened(tmp_path / "s"))
    journal = tmp_path / "s" / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + damage + b"".join(lines[1:]))
    with pytest.raises(UserError, match=r"journal.log is damaged"):
        opened(tmp_path / "s")


@pytest.mark.slow
def test_a_lock_that_a_killed_process_left_in_the_journal_holds_nobody_up(tmp_path: Path) -> None:
    study = opened(tmp_path / "s")
    (tmp_path / "s" / f"{JOURNAL}.lock").symlink_to(tmp_path / "s" / JOURNAL)
    del study
    assert opened(tmp_path / "s").trials == []


def test_a_folder_that_is_held_is_refused_and_then_free_again(tmp_path: Path) -> None:
    refused = pytest.raises(FolderBusy, match=r"the same sweep is being computed by process .* \(speechml sweep wait")
    with hold(tmp_path / "s"), refused, hold(tmp_path / "s"):
        pass
    with hold(tmp_path / "s"):
        pass


def test_a_trial_of_another_process_can_be_gone_on_with(tmp_path: Path) -> None:
    """By a private name of Optuna. Where it is gone: give the trial's number and values to `study.enqueue_trial`."""
    begun = new_trial(opened(tmp_path / "s"))
    study = opened(tmp_path / "s")
    trial = resume_trial(study, begun.number)
    assert trial.params == begun.params
    study.tell(trial, 0.5)
    assert opened(tmp_path / "s").trials[0].value == 0.5


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("tpee", {}, "did you mean tpe"),
        ("tpe", {"wrong": 1}, "unexpected keyword"),
        ("tpe", {"seed": 1}, "sampler_options has a seed; set hydra.sweeper.seed"),
        ("CmaEsSampler", {}, "pickled"),
        ("GridSampler", {}, "choose grid"),
    ],
)
def test_a_sampler_that_is_none_is_refused(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        new_sampler(options_of(OptunaSweeper, sampler=name, sampler_options=options))


@pytest.mark.parametrize("left", [".lock", ".lock1b2c.rename", ".lockefefa69b-35cc-4c38-99ed-2f61fd45838a.rename"])
def test_locks_that_a_kill_or_the_disk_has_left_of_optuna_stop_no_search(left: str, tmp_path: Path) -> None:
    (tmp_path / f"journal.log{left}").symlink_to("journal.log")
    with hold(tmp_path):
        assert not list(tmp_path.glob("journal.log*"))
    (tmp_path / "elsewhere.log").symlink_to("journal.log")
    with pytest.raises(UserError, match=r"elsewhere\.log is a link"), hold(tmp_path):
        pass
