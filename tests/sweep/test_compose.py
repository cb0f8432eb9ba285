"""Ids and configs of many runs without composing each: the same as Hydra would have composed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from conftest import composed
from speechml.config.compose import conf_dir
from speechml.runs.identity import run_id
from speechml.sweep.run_configs import Composer


def with_hydra(overrides: list[str]) -> Any:
    return composed("train", *overrides, keep_hydra=True)


def is_group(key: str) -> bool:
    return (Path(conf_dir()) / key).is_dir()


@pytest.fixture(scope="module")
def quick() -> Composer:
    """One for all examples, so that configs are changed after one another."""
    return Composer(with_hydra, is_group)


VALUES = {
    "seed": st.integers(0, 9),
    "optimizer.lr": st.sampled_from([0.1, 0.25, 1e-3]),
    "data.sample_rate": st.sampled_from([8000, 32000]),  # which others are taken from
    "trainer.max_epochs": st.integers(1, 3),
    "trainer.precision": st.sampled_from(["32-true", "bf16-mixed"]),
    "+data.count": st.integers(40, 42),
    "model": st.sampled_from(["cnn", "mimo_cnn", "fir"]),
    "experiment": st.sampled_from(["lab2a_fir", "lab2b_mimo_cnn", "mimo_cnn_tuned"]),
    "paths.runs": st.sampled_from(["here", "there"]),
    "logger.csv": st.booleans(),
    "redo": st.sampled_from(["true", "True", "false"]),
    "threads": st.sampled_from(["null", 2]),
    "callbacks.figures": st.just("null"),
    "checkpoint.monitor": st.sampled_from(["val/loss", "'val/snr_db'"]),
    "optimizer": st.sampled_from(["adam", "sgd"]),
    "scheduler": st.just("one_cycle"),
    "model.net.taps": st.sampled_from(["[3,5]", "[4,4]"]),
    "++published.note": st.sampled_from(["a", "b c"]),
}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(chosen=st.fixed_dictionaries({}, optional=VALUES))
def test_ids_are_those_of_configs_that_hydra_composes(quick: Composer, chosen: dict[str, Any]) -> None:
    overrides = [f"{key}={value}" for key, value in chosen.items()]
    networks = chosen.keys() & {"model", "experiment"}  # the default experiment's network has no taps either
    if not networks or chosen.get("model") == "fir" or chosen.get("experiment") == "lab2a_fir":
        overrides = [word for word in overrides if "taps" not in word]
    cfg = composed("train", *overrides)
    assert quick.run(overrides) == (cfg.name, run_id(cfg), Path(cfg.paths.runs) / cfg.name / run_id(cfg), cfg.redo)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["optimizer.lr=1", "optimizer={lr:2}"], ["optimizer.lr=3", "optimizer={lr:2}"]),
        (["model.net={channels:2}"], ["model.net={channels:3}"]),
        (["data.sample_rate=${seed}", "seed=8000"], ["data.sample_rate=${seed}", "seed=9000"]),
        (["~callbacks.figures", "seed=1"], ["~callbacks.figures", "seed=2"]),
        (["seed=1"], ["seed=1", "optimizer.lr=7"]),
        (["name=lab_${seed}", "seed=1"], ["name=lab_${seed}", "seed=2"]),
        (["name=one"], ["name=two"]),
        (["paths.runs=out_${seed}", "seed=1"], ["paths.runs=out_${seed}", "seed=2"]),
        (["+a={b:${seed}}", "+e=${a}", "seed=1"], ["+a={b:${seed}}", "+e=${a}", "seed=2"]),
        (["optimizer.lr=7", "seed=1"], ["seed=2"]),
    ],
)
def test_what_cannot_be_changed_in_place_is_composed(first: list[str], second: list[str]) -> None:
    quick = Composer(with_hydra, is_group)
    for overrides in (first, second, first):
        cfg = composed("train", *overrides)
        assert quick.run(overrides).folder == Path(cfg.paths.runs) / cfg.name / run_id(cfg)


def test_a_config_is_the_one_that_hydra_composes() -> None:
    quick = Composer(with_hydra, is_group)
    for overrides in (["seed=1", "optimizer.lr=2", "+data.count=40"], ["seed=3", "optimizer.lr=4", "+data.count=41"]):
        found = quick.config(overrides)
        wanted = with_hydra(overrides)
        for key in wanted:
            if key != "hydra":
                assert OmegaConf.to_container(OmegaConf.create({"x": found[key]})) == OmegaConf.to_container(
                    OmegaConf.create({"x": wanted[key]})
                )
        assert list(found.hydra.overrides.task) == overrides
