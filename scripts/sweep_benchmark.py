"""What sweeps cost: runs side by side against one after the other, time outside training, plans over many cards."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stress_resume import make_features

BIN = Path(sys.executable).parent
RUNS = 8
# Tiny networks on features: two threads compute them no faster than one.
TINY = ["experiment=genre_mlp", "data.root=features.npz", "callbacks.early_stopping=null", f"seed=range({RUNS})"]


def run(quick: bool) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        os.environ["SPEECHML_CACHE"] = str(place / "cache")
        make_features(place / "features.npz", each=600)
        _throughput(place, rounds=1 if quick else 5, epochs=2 if quick else 150)
        _outside(place, rounds=1 if quick else 3)
        _plan(place, cards=100 if quick else 1000, rounds=1 if quick else 5)


def _timed(place: Path, *words: str) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run([str(BIN / words[0]), *words[1:]], cwd=place, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout


def _throughput(place: Path, rounds: int, epochs: int) -> None:
    """Whole commands, in turn, in new folders."""
    words = ["speechml-train", "-m", *TINY, f"trainer.max_epochs={epochs}"]
    side = ["hydra/launcher=local", "hydra.launcher.n_jobs=2"]
    ratios = []
    for number in range(rounds):
        one, _ = _timed(place, *words, f"paths.runs=one{number}")
        two, _ = _timed(place, *words, *side, f"paths.runs=two{number}")
        ratios.append(one / two)
        print(f"{RUNS} runs: {one:.1f} s one after the other, {two:.1f} s two at a time", flush=True)
    spread = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"two at a time: {statistics.median(ratios):.2f} times the throughput (goal 1.8; {spread})", flush=True)


def _outside(place: Path, rounds: int) -> None:
    """What a further run of a sweep in one process costs beside its training, with and without figures."""
    for what, more in (("figures", []), ("no figures", ["callbacks.figures=null"])):
        found = []
        for number in range(rounds):
            spent = []
            for runs in (1, RUNS):
                folder = f"{what.replace(' ', '_')}{number}_{runs}"
                words = [*TINY[:-1], f"seed=range({runs})", "trainer.max_epochs=3", f"paths.runs={folder}", *more]
                took, _ = _timed(place, "speechml-train", "-m", *words)
                cards = [json.loads(path.read_text()) for path in place.glob(f"{folder}/*/*/card.json")]
                spent.append(took - sum(card["training_s"] for card in cards))
            found.append((spent[1] - spent[0]) / (RUNS - 1))
        print(f"outside training, with {what}: {statistics.median(found):.2f} s a run (goal 0.5)", flush=True)


def _plan(place: Path, cards: int, rounds: int) -> None:
    """A plan of runs that all have a card, made by writing one card for each."""
    words = [
        "speechml",
        "sweep",
        "plan",
        "experiment=lab2b_mimo_cnn",
        f"seed=range({cards // 10})",
        "optimizer.lr=range(1,11)",
    ]
    _, told = _timed(place, *words)
    one = json.loads(next(place.glob("one0/*/*/card.json")).read_text())
    for identity in re.findall(r"^lab2b_mimo_cnn  (\w+)", told, re.MULTILINE):
        folder = place / "runs" / "lab2b_mimo_cnn" / identity
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(json.dumps(one))
    times = [_timed(place, *words) for _ in range(rounds)]
    assert f"{cards} done already" in times[0][1]
    print(f"plan of {cards} runs over {cards} cards: {statistics.median(t for t, _ in times):.2f} s (goal 3 s)")
