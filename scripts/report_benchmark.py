"""What it takes to compare two runs and to write pages, as whole commands."""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 50  # of the sweep
ROUNDS = 5
SHORT = ("trainer.max_epochs=3",)  # of the default experiment: three recordings to hear, all figures


def run(quick: bool) -> None:
    """Print the median seconds of each command, on copies of one run of the default experiment that count as a sweep."""
    with tempfile.TemporaryDirectory() as place:
        runs = _sweep(Path(place), ("+data.count=40", *SHORT) if quick else SHORT)
        folders = sorted(path.parent for path in runs.glob("*/*/card.json"))
        print(f"{'command':42}{'s':>7}{'size':>10}")
        for name, words, written in (
            ("speechml compare of two runs", ["compare", *map(str, folders[:2])], None),
            ("speechml compare of all", ["compare", *map(str, folders)], None),
            ("speechml report of a run", ["report", str(folders[0])], folders[0] / "report.html"),
            (f"speechml report of a {RUNS}-run sweep", ["report", str(runs / "lab2b_mimo_cnn")],
             runs / ".sweeps" / "lab2b_mimo_cnn" / "report.html"),
        ):  # fmt: skip
            seconds = statistics.median(_timed(words) for _ in range(1 if quick else ROUNDS))
            size = f"{written.stat().st_size / 1e6:7.2f} MB" if written else ""
            print(f"{name:42}{seconds:7.2f}{size:>10}")


def _timed(words: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "speechml.cli.main", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _sweep(place: Path, words: tuple[str, ...]) -> Path:
    """Ten learning rates of five seeds, all with the weights and scores of one run."""
    command = [sys.executable, "-m", "speechml.train", f"paths.runs={place / 'runs'}", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = next((place / "runs").glob("*/*/card.json")).parent
    card, config = json.loads((first / "card.json").read_text()), (first / "config.yaml").read_text()
    for number in range(1, RUNS):
        copy = first.with_name(f"copy{number:06d}")
        shutil.copytree(first, copy)
        (copy / "card.json").write_text(json.dumps({**card, "id": copy.name, "seed": number % 5}))
        text = config.replace("seed: 0", f"seed: {number % 5}").replace("lr: 0.5", f"lr: {0.5 + number // 5}")
        (copy / "config.yaml").write_text(text)
    return place / "runs"
