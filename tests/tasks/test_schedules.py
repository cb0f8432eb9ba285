"""Schedules of the learning rate: their closed forms, when they move on, and that a run goes on with them to the bit."""

import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from conftest import composed, make_features
from resuming import GENRE, run_in, stop_in
from speechml.config.schema import check_node
from speechml.engine.train import train as train_config
from speechml.errors import UserError
from speechml.runs.identity import run_id
from speechml.tasks import WaveformDenoiser
from stress_resume import differences

TORCH = "torch.optim.lr_scheduler."
WARMUP = "speechml.tasks.optimization.WarmupCosine"
OWN = """
from torch.optim.lr_scheduler import LRScheduler


class Triangle(LRScheduler):
    def __init__(self, optimizer, total_steps, last_epoch=-1):
        self.total_steps = total_steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [rate * (1 - self.last_epoch / self.total_steps) for rate in self.base_lrs]
"""


@pytest.fixture
def own_code(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "mine").mkdir()
    (workplace / "mine" / "rates.py").write_text(OWN)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace / "mine"))


def rates(node: dict[str, object], steps: int, epochs: int = 1) -> Iterator[float]:
    """The learning rate of every step, or epoch, of a training whose optimiser has rate 2."""
    net = {"_target_": "speechml.models.FIR", "taps": 4}
    task = WaveformDenoiser(net, 16000, optimizer={"_target_": "torch.optim.SGD", "lr": 2.0}, scheduler=node)
    built = task.build_optimization(steps, epochs)
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    for _ in range({"step": steps, "epoch": epochs}[built["lr_scheduler"]["interval"]]):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
    yield optimizer.param_groups[0]["lr"]


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    found = list(rates({"_target_": WARMUP, "warmup": 0.25, "eta_min": 0.2}, 40))
    rising = [2.0 * (t + 1) / 10 for t in range(10)]
    falling = [0.2 + 1.8 * (1 + math.cos(math.pi * t / 30)) / 2 for t in range(31)]
    assert found == pytest.approx(rising + falling)
    cosine = {"_target_": TORCH + "CosineAnnealingLR", "eta_min": 0.2}
    assert list(rates({"_target_": WARMUP, "warmup": 0, "eta_min": 0.2}, 40)) == pytest.approx(list(rates(cosine, 40)))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_training_has_a_warm_up(steps: int) -> None:
    found = list(rates({"_target_": WARMUP, "warmup": 0.9}, steps))
    assert all(0 <= rate <= 2 for rate in found)
    assert found[0] > 0


@pytest.mark.parametrize(
    ("node", "counts", "form"),
    [
        ({"_target_": TORCH + "StepLR", "step_size": 2}, 6, lambda t: 2 * 0.1 ** (t // 2)),
        ({"_target_": TORCH + "StepLR", "step_size": 2, "interval": "step"}, 60, lambda t: 2 * 0.1 ** (t // 2)),
        ({"_target_": TORCH + "ExponentialLR", "gamma": 0.5}, 6, lambda t: 2 * 0.5**t),
        ({"_target_": TORCH + "MultiStepLR", "milestones": [1, 4]}, 6, lambda t: 2 * 0.1 ** ((t >= 1) + (t >= 4))),
        ({"_target_": TORCH + "CosineAnnealingLR"}, 60, lambda t: 1 + math.cos(math.pi * t / 60)),
        ({"_target_": TORCH + "CosineAnnealingLR", "interval": "epoch"}, 6, lambda t: 1 + math.cos(math.pi * t / 6)),
        ({"_target_": "rates.Triangle"}, 60, lambda t: 2 * (1 - t / 60)),
        ({"_target_": "rates.Triangle", "interval": "epoch"}, 6, lambda t: 2 * (1 - t / 6)),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("own_code")
def test_a_schedule_counts_what_its_kind_does_and_ends_with_the_training(
    node: dict[str, object], counts: int, form: Callable[[int], float]
) -> None:
    check_node(node, "scheduler.")
    assert list(rates(node, 60, 6)) == pytest.approx([form(t) for t in range(counts + 1)], abs=1e-12)


def test_a_schedule_that_waits_for_validations_counts_nothing_else() -> None:
    node = {"_target_": TORCH + "ReduceLROnPlateau", "monitor": "val/acc"}
    task = WaveformDenoiser({"_target_": "speechml.models.FIR", "taps": 4}, 16000,
                            optimizer={"_target_": "torch.optim.SGD", "lr": 2.0}, scheduler=node)  # fmt: skip
    moves = task.build_optimization(60, 6)["lr_scheduler"]
    assert (moves["interval"], moves["monitor"]) == ("epoch", "val/acc")
    task.scheduler_node = node | {"interval": "step"}
    with pytest.raises(
        UserError, match=r"scheduler.interval is step, and ReduceLROnPlateau goes by validations; leave it"
    ):
        task.build_optimization(60, 6)


def test_when_a_schedule_moves_on_is_part_of_the_id_and_older_runs_keep_theirs() -> None:
    def id_of(*words: str) -> str:
        return run_id(composed("train", "experiment=lab2a_fir", *words))

    def step(*words: str) -> str:
        return id_of(f"+scheduler={{_target_: {TORCH}StepLR, step_size: 2, {', '.join(words)}}}".replace(", }", "}"))

    assert step() == step("interval: epoch") != step("interval: step")
    usual = id_of("scheduler=cosine")
    assert usual == id_of("scheduler=cosine", "scheduler.interval=step")
    assert (
        usual
        == id_of("scheduler=cosine", "scheduler.interval=null")
        != id_of("scheduler=cosine", "scheduler.interval=epoch")
    )


@pytest.mark.parametrize("words", [("scheduler=warmup_cosine",), ("scheduler=step", "scheduler.step_size=1")])
@pytest.mark.usefixtures("genre_features")
def test_a_run_goes_on_with_its_schedule_as_if_it_had_not_stopped(words: tuple[str, ...]) -> None:
    words = (*GENRE, "optimizer=adam", "trainer.max_epochs=3", *words)  # 30 steps
    alone = run_in("alone", *words)
    for step in (10, 11, 25):  # the last step of an epoch, the first one, and within one
        stop_in(f"stopped{step}", step, signal.SIGTERM, *words)
        assert differences(alone, run_in(f"stopped{step}", *words)) == []


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "warmup_cosine", "step", "plateau"])
@pytest.mark.usefixtures("genre_features")
def test_every_shipped_schedule_trains(schedule: str) -> None:
    run = run_in("runs", *GENRE, f"scheduler={schedule}")
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(weights["lr_schedulers"]) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("scheduler=cosine", "scheduler.interval=batch"), "scheduler.interval is batch; it can be step, epoch or null"),
        (("scheduler=one_cycle", "+scheduler.total_steps=2", "scheduler.interval=epoch"),
         "scheduler.total_steps is 2, and the training has 3 epochs"),
        (("scheduler._target_=rates.Triangle", "+scheduler.every=2"), "there is no key scheduler.every"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("own_code")
def test_a_schedule_that_does_not_fit_is_refused_before_a_run_has_a_folder(
    words: tuple[str, ...], says: str, workplace: Path
) -> None:
    features = make_features(workplace / "features.npz")
    with pytest.raises(UserError, match=says):
        train_config(composed("train", "experiment=genre_mlp", f"data.root={features}", "trainer.max_epochs=3", *words))
    assert not (workplace / "runs").exists()
