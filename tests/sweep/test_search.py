"""The loop of a search: what is retried, what waits, what ends it; with runs that only pretend."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from speechml.errors import FolderBusy, Pruned, UnknownScore, UserError
from speechml.sweep import workers
from speechml.sweep.pruning import Pruning
from speechml.sweep.report import SearchReport
from speechml.sweep.search import Plan, search
from speechml.sweep.space import read_space
from speechml.sweep.trial import SearchTrial


def plan_of(folder: Path, *words: str, **keys: Any) -> Plan:
    folder.mkdir(exist_ok=True)
    defaults: dict[str, Any] = {
        "folder": folder, "experiment": "x", "space": read_space({}, list(words or ["a=range(100)"])), "standalone": [],
        "objective": "val/loss",
        "direction": "minimize", "sampler": "random", "sampler_options": {}, "pruner": None, "pruner_options": {}, "seed": 0,
        "n_trials": 4, "n_jobs": 1, "executions_per_trial": 1, "max_retries": 1, "figures": False, "run_seed": None,
    }  # fmt: skip
    return Plan(**{**defaults, **keys})


class Pretence:
    """Answers each run by a function of its overrides, and keeps a list of what was asked."""

    def __init__(self, answer: Callable[[dict[str, str]], Any]) -> None:
        self.answer = answer
        self.asked: list[dict[str, str]] = []

    def __call__(self, jobs: Sequence[Sequence[str]], number: int) -> list[JobReturn]:  # noqa: ARG002 (a launcher's signature)
        return [self.one(dict(word.split("=", 1) for word in job)) for job in jobs]

    def one(self, words: dict[str, str]) -> JobReturn:
        self.asked.append(words)
        cfg = OmegaConf.create({"paths": {"runs": "runs"}, "name": "x", **{k.lstrip("+"): v for k, v in words.items()}})
        try:
            value, status = self.answer(words), JobStatus.COMPLETED
        except Exception as error:  # as Hydra does
            value, status = error, JobStatus.FAILED
        return JobReturn(cfg=cfg, _return_value=value, status=status)


def states(record: SearchReport) -> list[str]:
    return [trial.state.name for trial in record.study.trials]


def test_executions_are_averaged_under_seeds_that_follow_one_another(tmp_path: Path) -> None:
    runs = Pretence(lambda words: float(words["a"]) + int(words["seed"]))
    record = search(plan_of(tmp_path / "s", executions_per_trial=3, run_seed=5), runs, alone=True)
    assert [words["seed"] for words in runs.asked] == ["5", "6", "7"] * 4
    assert [trial.value for trial in record.study.trials] == [trial.params["a"] + 6 for trial in record.study.trials]


def test_an_accident_is_tried_again_and_again_when_the_search_is_launched_anew(tmp_path: Path) -> None:
    def answer(words: dict[str, str]) -> float:
        if broken and words["a"] == first:
            raise OSError("disk full")
        return 1.0

    first = str(
        search(plan_of(tmp_path / "probe", n_trials=1), Pretence(lambda _: 1.0), alone=True).study.trials[0].params["a"]
    )
    broken = True
    runs = Pretence(answer)
    record = search(plan_of(tmp_path / "s"), runs, alone=True)
    assert states(record) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert [words["a"] for words in runs.asked][:2] == [first, first]  # max_retries is 1
    assert "disk full" in record.study.trials[0].user_attrs["error"]
    broken = False
    for more in (4, 6):
        record = search(plan_of(tmp_path / "s", n_trials=more), Pretence(answer), alone=True)
    assert states(record) == ["FAIL"] + ["COMPLETE"] * 6  # the failed one has a successor, and two are new
    assert record.study.trials[4].params == record.study.trials[0].params
    assert record.study.trials[4].user_attrs["retry_of"] == 0


def test_a_refusal_is_not_tried_again(tmp_path: Path) -> None:
    def answer(words: dict[str, str]) -> float:
        if words["a"] == "x":
            raise UserError("no x")
        return 1.0

    runs = Pretence(answer)
    plan = plan_of(tmp_path / "s", "a=x,y", sampler="grid")
    for _ in range(2):
        record = search(plan, runs, alone=True)
    assert states(record) == ["FAIL", "COMPLETE"]
    assert len(runs.asked) == 2


def test_a_run_that_another_process_computes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BUSY_S", 0.0)

    def answer(_: dict[str, str]) -> float:
        if len(runs.asked) < 4:
            raise FolderBusy("runs/a/b", "process 1 on here")
        return 1.0

    runs = Pretence(answer)
    assert states(search(plan_of(tmp_path / "s", n_trials=1, max_retries=0), runs, alone=True)) == ["COMPLETE"]


def test_an_objective_that_is_no_score_ends_the_search_with_its_first_run(tmp_path: Path) -> None:
    def answer(_: dict[str, str]) -> float:
        raise UnknownScore("objective=val/accc is no score of this run; it has val/acc")

    runs = Pretence(answer)
    with pytest.raises(UserError, match=r"val/accc is no score"):
        search(plan_of(tmp_path / "s"), runs, alone=True)
    assert len(runs.asked) == 1


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_value_that_is_no_number_fails_the_trial(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"all 4 trials failed; the last: its score is"):
        search(plan_of(tmp_path / "s"), Pretence(lambda _: value), alone=True)


def test_equal_trials_are_not_computed_at_once(tmp_path: Path) -> None:
    """They are one run, which two processes would fight for."""

    def launch(jobs: Sequence[Sequence[str]], number: int) -> list[JobReturn]:  # noqa: ARG001
        words = [tuple(word for word in job if word.startswith("a=")) for job in jobs]
        assert len(set(words)) == len(words)
        return [runs.one(dict(word.split("=", 1) for word in job)) for job in jobs]

    runs = Pretence(lambda _: 1.0)
    record = search(plan_of(tmp_path / "s", "a=x,y", n_trials=9, n_jobs=3), launch, alone=False)
    assert states(record) == ["COMPLETE"] * 9


def test_a_decision_to_prune_outlives_the_process_that_took_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "s", n_trials=1)

    def cut_off(_: dict[str, str]) -> float:
        place = SearchTrial(plan.folder, 0, 0, "ThresholdPruner", {"upper": 0.0})
        Pruning(place, "val/loss").trial.report(1.0, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(plan, Pretence(cut_off), alone=True)

    def again(_: dict[str, str]) -> float:
        with pytest.raises(Pruned, match="after epoch 3"):
            Pruning(SearchTrial(plan.folder, 0, 0, "ThresholdPruner", {"upper": 0.0}), "val/loss")
        raise Pruned("after epoch 3")

    record = search(plan, Pretence(again), alone=True)
    assert states(record) == ["PRUNED"]
    assert record.study.trials[0].last_step == 3
    assert isinstance(record.study, optuna.Study)
