"""The learning-rate finder tells a rate, and nothing is trained."""

from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, composed, make_words, succeed
from speechml.config.compose import resolve_config
from speechml.engine.lr_finder import HIGHEST, LOWEST, find_rate, steepest_fall
from speechml.engine.parts import build_data, build_parts

WORDS = ("data.root=words", "data.split=random", "model.net.width=8")


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["words_tuned", "lab2a_fir", "hw2_cnn1d"])
def test_every_kind_of_task_has_a_curve(experiment: str, workplace: Path) -> None:
    make_words(workplace / "words", speakers=12)
    keys = {"words_tuned": WORDS, "lab2a_fir": (*TINY, "model.net.taps=8"), "hw2_cnn1d": ()}[experiment]
    config = resolve_config(composed("train", f"experiment={experiment}", *keys))
    curve = find_rate(build_parts(config, build_data(config), workplace / "nowhere"), steps=12)
    assert {path.name for path in workplace.iterdir()} == {"words"}
    np.testing.assert_allclose(curve.rates[:2], [LOWEST, LOWEST * (HIGHEST / LOWEST) ** (1 / 11)])
    assert 3 <= len(curve.rates) == len(curve.losses) == len(curve.smoothed) <= 12
    assert curve.smoothed[0] == pytest.approx(curve.losses[0])
    assert LOWEST <= curve.suggestion <= HIGHEST


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    curve = 1 / (1 + np.exp((np.arange(100) - 40) / 4))
    curve[70:] += 0.1 * np.arange(30)
    assert abs(steepest_fall(curve.tolist()) - 40) <= 1


def test_one_override_plots_the_curve_and_prints_the_override_to_paste(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"JOB_ID": "7", "NTASKS": "4", "PROCID": "0", "NODEID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)  # in an allocation for four, whatever it asks for
    done = succeed("speechml-train", "experiment=lab2a_fir", *TINY, "model.net.taps=8", "threads=1", "find_lr=true")
    assert "\n  optimizer.lr=" in done.stdout
    folder = next((workplace / "runs" / ".lr_finder" / "lab2a_fir").iterdir())
    assert {p.name for p in folder.iterdir()} == {"lr_finder.png", "lr_finder.csv"}
    assert not list((workplace / "runs").glob("lab2a_fir/*"))
