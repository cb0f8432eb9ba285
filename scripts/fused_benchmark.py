"""Small networks trained together against one by one: a search, many seeds, and what a run costs beside its training."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stress_resume import make_features

TRAIN = str(Path(sys.executable).with_name("speechml-train"))
GENRE = ["experiment=genre_mlp", "data.root=features.npz", "callbacks.figures=null"]
FUSED = ["hydra/launcher=fused"]
# The exercise's search, without the run that follows it.
SEARCH = ["hparams_search=genre", "hydra.sweeper.retrain=null"]
BUSY = "while True: pass"


def run(quick: bool) -> None:
    """Print the figures; what would take minutes one by one is done for a tenth, and multiplied."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        os.environ["SPEECHML_CACHE"] = str(place / "cache")
        make_features(place / "features.npz", each=200 if quick else 1800)
        trials, seeds = (4, 8) if quick else (50, 100)
        _search(place, trials)
        _seeds(place, seeds)
        _overhead(place, 16 if quick else 64)
        _beside_others(place, 1 if quick else 3)


def _timed(place: Path, *words: str) -> float:
    began = time.perf_counter()
    subprocess.run([TRAIN, *words], cwd=place, capture_output=True, check=True)
    return time.perf_counter() - began


def _search(place: Path, trials: int) -> None:
    """The search of the genre network, of two executions each, with its table and figures."""
    few = max(1, trials // 10)
    together = _timed(place, "-m", *FUSED, *GENRE, *SEARCH, f"hydra.sweeper.n_trials={trials}", "paths.runs=a")
    one, several = (_timed(place, "-m", *GENRE, *SEARCH, f"hydra.sweeper.n_trials={n}", f"paths.runs=b{n}")
                    for n in (few, 2 * few))  # fmt: skip
    each = (several - one) / few
    print(f"search of {trials} trials x 2: {together:.0f} s together; one by one {one + (trials - few) * each:.0f} s, "
          f"from {2 * few} trials in {several:.0f} s (goal 30 s)", flush=True)  # fmt: skip


def _seeds(place: Path, count: int) -> None:
    """Many seeds of the genre network."""
    few = max(2, count // 20)
    together = _timed(place, "-m", *FUSED, *GENRE, f"seed=range({count})", "paths.runs=c")
    one, several = (_timed(place, "-m", *GENRE, f"seed=range({n})", f"paths.runs=d{n}") for n in (few, 2 * few))
    alone = one + (count - few) * (several - one) / few
    print(f"{count} seeds: {together:.0f} s together, one by one {alone:.0f} s, from {2 * few} in {several:.0f} s: "
          f"{alone / together:.1f} times (goal 20)", flush=True)  # fmt: skip


def _overhead(place: Path, count: int) -> None:
    """What a further run takes beside its share of the training."""
    spent = []
    for number in (count // 2, count):
        words = [f"seed=range({number})", "trainer.max_epochs=1", f"paths.runs=e{number}", "hydra.launcher.n_jobs=1"]
        took = _timed(place, "-m", *FUSED, *GENRE, *words)
        cards = [json.loads(path.read_text()) for path in place.glob(f"e{number}/*/*/card.json")]
        spent.append(took - sum(card["training_s"] for card in cards))
    print(
        f"beside its training, a run takes {(spent[1] - spent[0]) / (count - count // 2):.3f} s (goal 0.1)", flush=True
    )


def _beside_others(place: Path, rounds: int) -> None:
    """How much longer a training takes beside three busy processes: of lab 2B's network, on all cores."""
    words = ["experiment=lab2b_mimo_cnn", "trainer.max_epochs=4", "report=false", "callbacks=none", "test=false"]
    subprocess.run(
        [str(Path(TRAIN).with_name("speechml")), "data", "prepare", *words], cwd=place, capture_output=True, check=True
    )
    for policy, variables in {
        "sleep": {},
        "spin": {"GOMP_SPINCOUNT": "300000"},
    }.items():  # the latter is OpenMP's default
        os.environ |= variables
        found = []
        for number in range(rounds):
            took = []
            for busy in (0, 3):
                others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
                try:
                    _timed(place, *words, f"paths.runs=f{policy}{number}{busy}")
                finally:
                    for other in others:
                        other.kill()
                        other.wait()
                (card,) = place.glob(f"f{policy}{number}{busy}/*/*/card.json")
                took.append(json.loads(card.read_text())["training_s"])
            found.append(took[1] / took[0])
        for name in variables:
            del os.environ[name]
        ratio = statistics.median(found)
        print(f"threads {policy} while they wait: training beside three busy processes takes {ratio:.1f} times as long as alone "
              "(goal 2.7)", flush=True)  # fmt: skip
