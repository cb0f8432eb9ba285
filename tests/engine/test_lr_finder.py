"""The learning-rate finder: it tells a rate, and nobody else notices that it ran."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, composed, make_words, succeed
from speechml.config.compose import resolve_config
from speechml.engine.lr_finder import HIGHEST, LOWEST, find_rate, random_state_kept, steepest_fall
from speechml.engine.parts import build_data, build_parts

WORDS = ("data.root=words", "data.split=random", "model.net.width=8")


def states() -> list[object]:
    return [torch.get_rng_state().tolist(), random.getstate(), [str(x) for x in np.random.get_state()]]


def test_random_states_are_put_back() -> None:
    before = states()
    with random_state_kept():
        torch.randn(3), random.random(), np.random.rand()
    assert states() == before


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["words_tuned", "lab2a_fir", "hw2_cnn1d"])
def test_every_kind_of_task_has_a_curve_and_nothing_is_changed(experiment: str, workplace: Path) -> None:
    make_words(workplace / "words", speakers=12)
    keys = {"words_tuned": WORDS, "lab2a_fir": (*TINY, "model.net.taps=8"), "hw2_cnn1d": ()}[experiment]
    config = resolve_config(composed("train", f"experiment={experiment}", *keys))
    found = []
    for _ in range(2):
        parts = build_parts(config, build_data(config), workplace / "nowhere")
        before = states()
        found.append(find_rate(parts.config, parts.task, parts.data, steps=12))
        assert states() == before
    assert found[0] == found[1]
    assert not (workplace / "nowhere").exists()
    curve = found[0]
    np.testing.assert_allclose(curve.rates[0], LOWEST)
    assert len(curve.rates) == len(curve.losses) == len(curve.smoothed) <= 12
    assert LOWEST <= curve.suggestion <= HIGHEST


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    curve = 1 / (1 + np.exp((np.arange(100) - 40) / 4))
    curve[70:] += 0.1 * np.arange(30)
    assert abs(steepest_fall(curve.tolist()) - 40) <= 1


def test_one_override_plots_the_curve_and_prints_the_override_to_paste(workplace: Path) -> None:
    make_words(workplace / "words", speakers=12)
    light = ("data.batch_size=8", "trainer.precision=32")
    done = succeed("speechml-train", "experiment=words_tuned", *WORDS, *light, "find_lr=true")
    assert "\n  optimizer.lr=" in done.stdout
    folder = next((workplace / "runs" / ".lr_finder" / "words_tuned").iterdir())
    assert {p.name for p in folder.iterdir()} == {"lr_finder.png", "lr_finder.csv"}
    assert not list((workplace / "runs").glob("words_tuned/*"))
