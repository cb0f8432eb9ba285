"""The loop of a search: what is retried, what waits, what ends it; with runs that only pretend."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from speechml.errors import FolderBusy, Pruned, UnknownScore, UnusableData, UserError
from speechml.sweep import jobs
from speechml.sweep.jobs import Job, Outcome
from speechml.sweep.local import InProcess
from speechml.sweep.schema import OptunaSweeper
from speechml.sweep.search import Plan, search
from speechml.sweep.search_report import SearchReport
from speechml.sweep.space import read_space
from speechml.sweep.sweep_command import options_of
from speechml.sweep.trial import SearchTrial


def plan_of(folder: Path, *words: str, run_seed: int | None = None, **options: Any) -> Plan:
    folder.mkdir(exist_ok=True)
    space = read_space({}, list(words or ["a=range(100)"]))
    known = options_of(OptunaSweeper, **{"sampler": "random", "n_trials": 4, **options})
    return Plan(folder, "x", space, known, "val/loss", "minimize", [], run_seed)


def make_job(overrides: list[str], number: int) -> Job:
    words = dict(word.split("=", 1) for word in overrides)
    config = {"config": words, "hydra": {"sweeper": {}, "job.num": number}}
    return Job(number, config, " ".join(overrides), "/runs/x/" + "_".join(overrides))


class Pretence:
    """Computes searches whose runs are answered by a function of their overrides, and keeps a list of what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, str]], Any] = lambda _: 1.0
        monkeypatch.setattr(jobs, "load_job", lambda job: job.config["config"])
        monkeypatch.setattr("speechml.sweep.training.train_checked", self.train)

    def train(self, words: dict[str, str], _: object) -> Any:
        self.asked.append(words)
        return self.answer(words)

    def search(self, plan: Plan, answer: Callable[[dict[str, str]], Any] = lambda _: 1.0) -> SearchReport:
        self.answer = answer
        return search(plan, InProcess(), make_job)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    return Pretence(monkeypatch)


def states(report: SearchReport) -> list[str]:
    return [trial.state.name for trial in report.study.trials]


def test_executions_are_averaged_under_seeds_that_follow_one_another(runs: Pretence, tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "s", executions_per_trial=3, run_seed=5)
    report = runs.search(plan, lambda words: float(words["a"]) + int(words["seed"]))
    assert [words["seed"] for words in runs.asked] == ["5", "6", "7"] * 4
    assert [trial.value for trial in report.study.trials] == [trial.params["a"] + 6 for trial in report.study.trials]


def test_an_accident_is_tried_again_and_again_when_the_search_is_launched_anew(runs: Pretence, tmp_path: Path) -> None:
    first = str(runs.search(plan_of(tmp_path / "probe", n_trials=1)).study.trials[0].params["a"])

    def answer(words: dict[str, str]) -> float:
        if words["a"] == first:
            raise OSError("disk full")
        return 1.0

    runs.asked = []
    report = runs.search(plan_of(tmp_path / "s"), answer)
    assert states(report) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert [words["a"] for words in runs.asked][:2] == [first, first]  # max_retries is 1
    assert "disk full" in report.study.trials[0].user_attrs["error"]
    for more in (4, 6):
        report = runs.search(plan_of(tmp_path / "s", n_trials=more))
    assert states(report) == ["FAIL"] + ["COMPLETE"] * 6  # the failed one has a successor, and two are new
    assert report.study.trials[4].params == report.study.trials[0].params
    assert report.study.trials[4].user_attrs["retry_of"] == 0


def refuse(*values: str) -> Callable[[dict[str, str]], float]:
    """An answer that refuses some values of `a`."""

    def answer(words: dict[str, str]) -> float:
        if words["a"] in values:
            raise UserError(f"no {words['a']}")
        return 1.0

    return answer


def test_a_refusal_is_not_tried_again(runs: Pretence, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        report = runs.search(plan_of(tmp_path / "s", "a=x,y", sampler="grid"), refuse("x"))
    assert states(report) == ["FAIL", "COMPLETE"]
    assert len(runs.asked) == 2
    report.show()
    assert "trial 0 failed: no x" in capsys.readouterr().out


def test_a_search_of_which_every_trial_was_refused_begins_anew(runs: Pretence, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match="all 2 trials failed; the last: no y"):
            runs.search(plan_of(tmp_path / "s", "a=x,y", sampler="grid"), refuse("x", "y"))
    assert states(runs.search(plan_of(tmp_path / "s", "a=x,y", sampler="grid"))) == ["COMPLETE"] * 2


def test_a_trial_whose_config_cannot_be_composed_fails_alone(tmp_path: Path, runs: Pretence) -> None:
    from hydra.errors import ConfigCompositionException

    def compose(overrides: list[str], number: int) -> Job:
        if "a=x" in overrides:
            raise ConfigCompositionException("there is\nno x")
        return make_job(overrides, number)

    report = search(plan_of(tmp_path / "s", "a=x,y", sampler="grid"), InProcess(), compose)
    assert states(report) == ["FAIL", "COMPLETE"]
    assert report.study.trials[0].user_attrs["error"] == "there is no x"
    assert len(runs.asked) == 1


def test_a_run_that_another_process_computes_is_waited_for(
    runs: Pretence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "BUSY_S", 0.0)

    def answer(_: dict[str, str]) -> float:
        if len(runs.asked) < 4:
            raise FolderBusy("runs/a/b", "process 1 on here")
        return 1.0

    assert states(runs.search(plan_of(tmp_path / "s", n_trials=1, max_retries=0), answer)) == ["COMPLETE"]


@pytest.mark.parametrize("error", [UnknownScore("objective=val/accc is no score"), UnusableData("no data")])
def test_what_would_be_wrong_with_every_run_ends_the_search_and_it_goes_on_when_that_is_mended(
    error: Exception, runs: Pretence, tmp_path: Path
) -> None:
    def answer(_: dict[str, str]) -> float:
        raise error

    with pytest.raises(UserError, match=str(error)):
        runs.search(plan_of(tmp_path / "s"), answer)
    assert len(runs.asked) == 1
    assert states(runs.search(plan_of(tmp_path / "s"))) == ["COMPLETE"] * 4


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_value_that_is_no_number_fails_the_trial(value: Any, runs: Pretence, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"all 4 trials failed; the last: its score is"):
        runs.search(plan_of(tmp_path / "s"), lambda _: value)


def test_equal_trials_are_not_computed_at_once(tmp_path: Path) -> None:
    """They are one run, which two processes would fight for."""

    class Together(InProcess):
        capacity = 3

        def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
            while self.waiting:
                labels = [job.label for job in self.waiting]
                assert len(set(labels)) == len(labels)
                yield self.waiting.popleft(), Outcome(1.0)

    report = search(plan_of(tmp_path / "s", "a=x,y", n_trials=9), Together(), make_job)
    assert states(report) == ["COMPLETE"] * 9


def test_a_decision_to_prune_outlives_the_process_that_took_it(runs: Pretence, tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "s", n_trials=1)
    run = SearchTrial(plan.folder, 0, 0, "ThresholdPruner", {"upper": 0.0})

    def cut_off(_: dict[str, str]) -> float:
        run.callbacks("val/loss", ranks=1)
        run.trial.report(1.0, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.search(plan, cut_off)

    def again(_: dict[str, str]) -> float:
        run.callbacks("val/loss", ranks=1)
        with pytest.raises(Pruned, match="after epoch 3"):
            run.check_pruned()
        raise Pruned("after epoch 3")

    report = runs.search(plan, again)
    assert states(report) == ["PRUNED"]
    assert report.study.trials[0].last_step == 3
