"""The learning-rate finder: it tells a rate, and nobody else notices that it ran."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, command, composed, make_words
from speechml.config.compose import resolve_config
from speechml.config.instantiate import build
from speechml.engine.lr_finder import HIGHEST, LOWEST, find_rate, steepest, untouched
from speechml.engine.train import with_classes

WORDS = ("data.root=words", "data.split=random", "model.net.width=8")


def states() -> list[object]:
    return [torch.get_rng_state().tolist(), random.getstate(), [str(x) for x in np.random.get_state()]]


def test_random_states_are_put_back() -> None:
    before = states()
    with untouched():
        torch.randn(3), random.random(), np.random.rand()
    assert states() == before


@pytest.mark.parametrize("experiment", ["words_tuned", "lab2a_fir", "hw2_cnn1d"])
def test_every_kind_of_task_has_a_curve_and_nothing_is_changed(experiment: str, workplace: Path) -> None:
    make_words(workplace / "words", speakers=12)
    keys = {"words_tuned": WORDS, "lab2a_fir": (*TINY, "model.net.taps=8"), "hw2_cnn1d": ()}[experiment]
    config = resolve_config(composed("train", f"experiment={experiment}", *keys))
    data = build(config["data"])
    config = with_classes(config, data)
    before = states()
    found = find_rate(config, data, steps=12)
    assert states() == before
    again = find_rate(config, data, steps=12)
    assert found == again
    np.testing.assert_allclose(found.rates[0], LOWEST)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 12
    assert LOWEST <= found.suggestion <= HIGHEST


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    curve = 1 / (1 + np.exp((np.arange(100) - 40) / 4))
    curve[70:] += 0.1 * np.arange(30)
    assert abs(steepest(curve.tolist()) - 40) <= 1


def test_one_override_plots_the_curve_and_prints_the_override_to_paste(workplace: Path) -> None:
    make_words(workplace / "words", speakers=12)
    done = command(
        "speechml-train",
        "experiment=words_tuned",
        "data.root=words",
        "data.split=random",
        "model.net.width=8",
        "find_lr=true",
    )
    assert done.returncode == 0, done.stderr
    assert "\n  optimizer.lr=" in done.stdout
    folder = next((workplace / "runs" / ".lr_finder" / "words_tuned").iterdir())
    assert {p.name for p in folder.iterdir()} == {"lr_finder.png", "lr_finder.csv"}
    assert not list((workplace / "runs").glob("words_tuned/*"))
