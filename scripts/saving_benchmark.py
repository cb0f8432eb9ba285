"""What checkpoints cost: the share of a training's time that goes into writing them, at the default period."""

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from speechml.config.compose import conf_dir
from speechml.engine.saving import Best, Saving
from speechml.engine.train import train
from stress_resume import make_features

QUIET = ("callbacks.progress=null", "callbacks.figures=null")
RUNS: dict[str, tuple[str, ...]] = {
    "lab 2B's network": ("experiment=lab2b_mimo_cnn", "trainer.max_epochs=4"),
    "2D CNN of homework 2": ("experiment=hw2_cnn2d_tuned", "trainer.max_epochs=2"),
    "words": ("experiment=words_tuned", "data=spoken_words", "trainer.max_steps=100"),
    "genres": ("experiment=genre_mlp", "data.root=features.npz"),
}


def run(quick: bool) -> None:
    """Print for a run of each task what it saved, how long that took, and the share of its training."""
    print(f"{'run':22}{'training':>10}{'saved':>7}{'a time':>9}{'share':>8}")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        make_features(Path("features.npz"), each=600)  # about as many as in the exercise's small set
        for name, words in list(RUNS.items())[-1 if quick else 0 :]:
            spent, training_s = _cost(words)
            print(
                f"{name:22}{training_s:8.1f} s{len(spent):7}{1e3 * sum(spent) / len(spent):6.0f} ms"
                f"{100 * sum(spent) / training_s:7.2f}%"
            )


def _cost(words: tuple[str, ...]) -> tuple[list[float], float]:
    """Seconds of each saving of a run, and of its training in all."""
    spent: list[float] = []
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose("train", overrides=[*words, *QUIET, "test=false", "paths.runs=runs", "name=cost", "redo=true"])
    with (
        _timed(Saving, "save", spent), _timed(Best, "_save_checkpoint", spent),
        contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()),
    ):  # fmt: skip
        train(cfg)
    card = max(Path("runs/cost").glob("*/card.json"), key=lambda path: path.stat().st_mtime)
    return spent, float(json.loads(card.read_text())["training_s"])


@contextlib.contextmanager
def _timed(place: Any, name: str, into: list[float]) -> Iterator[None]:
    """Inside, each call of a function of a class or module adds its seconds to `into`."""
    function: Callable[..., Any] = getattr(place, name)

    def watched(*args: Any, **options: Any) -> Any:
        before = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            into.append(time.perf_counter() - before)

    setattr(place, name, watched)
    try:
        yield
    finally:
        setattr(place, name, function)
