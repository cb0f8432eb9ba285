"""What the library does on a GPU, in a table and a JSON file: `python scripts/gpu_check.py --minutes 9`.

With --device cpu the same checks run without a GPU, which shows that they work. Every check is a command, so what runs here runs
for a user. A check that there is no time left for says so.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stress_resume import ALL, TASKS, differences, make_features

BIN = Path(sys.executable).parent
QUIET = ("report=false", "callbacks=none", "test=false")
# Relative differences of a validation loss after the same steps, chosen here: sums in another order, and 8 bits of a number.
TOLERANCE = {"32-true": 1e-3, "bf16-mixed": 5e-2}
BOOK = ("experiment=words_spectrogram", "data=spoken_words", "data.voices=20")
BOOK_CLIPS, BOOK_EPOCHS = 38_800, 40  # of the R torch book's split of Speech Commands, and of a training of ours
FEWEST_S = 20  # that a check is begun with


@dataclass(frozen=True)
class Row:
    """A line of the table; `is_right` is None where nothing is judged."""

    check: str
    what: str
    value: str
    is_right: bool | None = None


@dataclass(frozen=True)
class Place:
    """Where the checks work, on what, and until when (seconds of the monotonic clock)."""

    folder: Path
    device: str
    until: float

    @property
    def length(self) -> tuple[str, str]:
        """How long a training is whose speed is measured."""
        batches, epochs = (400, 10) if self.device == "cuda" else (10, 1)
        return f"+trainer.limit_train_batches={batches}", f"trainer.max_epochs={epochs}"

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()

    def train(self, runs: str, *words: str, device: str = "") -> dict[str, Any]:
        """Run `speechml-train` once; the card of the run. Raises CalledProcessError, TimeoutExpired."""
        trainer = f"trainer={'gpu' if (device or self.device) == 'cuda' else 'cpu'}"
        command = [str(BIN / "speechml-train"), *words, trainer, f"paths.runs={runs}"]
        subprocess.run(
            command, cwd=self.folder, check=True, capture_output=True, text=True, timeout=max(1.0, self.left_s)
        )
        card: dict[str, Any] = json.loads(self.card(runs).read_text())
        return card

    def card(self, runs: str) -> Path:
        """The card of the only run in a folder of runs."""
        (path,) = self.folder.glob(f"{runs}/*/*/card.json")
        return path


def check_tasks(place: Place) -> Iterator[Row]:
    """Every task for some steps, in float32 and bf16, beside the CPU's numbers."""
    short = ("trainer.max_epochs=1", "trainer.max_steps=-1", "+trainer.limit_train_batches=6")
    for name, words in TASKS.items():
        words = (
            *(word for word in words if "limit_train_batches" not in word),
            *ALL,
            "report=false",
            "test=false",
            *short,
        )
        usual = place.train(f"{name}-cpu", *words, device="cpu")["monitored"]
        for precision, tolerance in TOLERANCE.items():
            card = place.train(f"{name}-{precision}", *words, f"trainer.precision={precision}")
            apart = abs(card["monitored"] - usual) / max(abs(usual), 1e-9)
            value = f"{card['monitored']:.5g}, on a CPU {usual:.5g}: {apart:.1e} apart (tolerance {tolerance:.0e})"
            yield Row("agreement", f"{name}, {precision}", value, apart <= tolerance)


def check_resuming(place: Place) -> Iterator[Row]:
    """A training that is killed at three moments ends as an undisturbed one; what exactness costs."""
    words = (
        *TASKS["words"],
        *ALL,
        "report=false",
        "trainer.deterministic=true",
        "logger.csv=true",
        "logger.tensorboard=true",
    )
    began = time.monotonic()
    place.train("whole", *words)
    took = time.monotonic() - began
    command = [
        str(BIN / "speechml-train"),
        *words,
        f"trainer={'gpu' if place.device == 'cuda' else 'cpu'}",
        "paths.runs=killed",
    ]
    for share in (0.5, 0.7, 0.9):
        process = subprocess.Popen(command, cwd=place.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(share * took)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    place.train("killed", *words)
    found = differences(place.card("whole").parent, place.card("killed").parent)
    yield Row("resume", "killed at three moments", "; ".join(found)[:200] or "equal bit for bit", not found)
    times = {}
    for exact in (True, False):
        runs = f"exact-{exact}"
        times[exact] = place.train(runs, *BOOK, *place.length, *QUIET, f"trainer.deterministic={str(exact).lower()}")[
            "training_s"
        ]
    yield Row("resume", "deterministic=true", f"{times[True] / times[False]:.2f} times the time of a training without")


def check_book(place: Place) -> Iterator[Row]:
    """How fast the book's network trains, and where its time goes."""
    speeds = {}
    for name, words in {
        "plain": (),
        "bf16": ("trainer.precision=bf16-mixed",),
        "compiled": ("+trainer.compile=true",),
    }.items():
        if place.left_s < FEWEST_S:
            return
        card = place.train(f"book-{name}", *BOOK, *place.length, *QUIET, *words)
        speeds[name] = card["clips_per_s"]
        hours = BOOK_CLIPS * BOOK_EPOCHS / card["clips_per_s"] / 3600
        value = f"{card['clips_per_s']:.0f} clips/s: {BOOK_EPOCHS} epochs of {BOOK_CLIPS:,} clips take {hours:.2f} h"
        yield Row("the book's network", name, value)


def check_memory(place: Place) -> Iterator[Row]:
    """What the book's network takes at most, by a plan."""
    trainer = f"trainer={'gpu' if place.device == 'cuda' else 'cpu'}"
    command = [str(BIN / "speechml"), "sweep", "plan", "--measure", *BOOK, *QUIET, trainer, "paths.runs=planned"]
    done = subprocess.run(
        command, cwd=place.folder, check=True, capture_output=True, text=True, timeout=max(1.0, place.left_s)
    )
    yield Row("memory", "the book's network", done.stdout.splitlines()[-1])


def check_sweeps(place: Place) -> Iterator[Row]:
    """Sixty-four small networks together (on the CPU: stacks are not computed elsewhere), beside one by one."""
    words = ["-m", "experiment=genre_mlp", "data.root=features.npz", "trainer.max_epochs=3", *QUIET]
    times = {}
    for runs, more in {"together": ["hydra/launcher=fused", "seed=range(64)"], "few": ["seed=range(4)"]}.items():
        began = time.monotonic()
        command = [str(BIN / "speechml-train"), *words, *more, f"paths.runs={runs}"]
        subprocess.run(command, cwd=place.folder, check=True, capture_output=True, timeout=max(1.0, place.left_s))
        times[runs] = time.monotonic() - began
    yield Row(
        "sweeps", "64 runs", f"{times['together']:.0f} s together; 4 one by one {times['few']:.0f} s, starts included"
    )


CHECKS: tuple[Callable[[Place], Iterator[Row]], ...] = (
    check_tasks,
    check_resuming,
    check_book,
    check_memory,
    check_sweeps,
)


def run_checks(place: Place) -> list[Row]:
    """All checks that there is time for; one that fails is a line of the table."""
    rows: list[Row] = []
    for check in CHECKS:
        name = check.__name__.removeprefix("check_")
        if place.left_s < FEWEST_S:
            rows.append(Row(name, "", "no time was left"))
            continue
        try:
            for row in check(place):
                rows.append(row)
                print(f"{place.left_s:5.0f} s left  {row.check}: {row.what}: {row.value}", flush=True)
        except subprocess.TimeoutExpired:
            rows.append(Row(name, "", "cut off, no time was left"))
        except subprocess.CalledProcessError as error:
            last = (error.stderr or error.stdout or "")[-300:]
            rows.append(Row(name, "", f"failed: {' '.join(str(last).split())}", is_right=False))
    return rows


def describe_device(device: str) -> str:
    """The name of what computes."""
    if device == "cpu":
        return f"{os.cpu_count()} CPU cores"
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"


def main() -> int:
    """Run the checks; 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what computes")
    parser.add_argument("--minutes", type=float, default=9, help="after which no check begins, and none goes on")
    parser.add_argument("--json", type=Path, default=Path("gpu_check.json"), help="file for the table")
    options = parser.parse_args()
    name = describe_device(options.device)
    if name == "no GPU":
        print("no GPU is visible; --device cpu tries the checks without one", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as made:
        os.environ["SPEECHML_CACHE"] = str(Path(made) / "cache")
        make_features(Path(made) / "features.npz")
        rows = run_checks(Place(Path(made), options.device, time.monotonic() + 60 * options.minutes))
    options.json.write_text(json.dumps({"device": name, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    print(f"\n{name}")
    marks = {True: "right", False: "WRONG", None: ""}
    for row in rows:
        print(f"{row.check:20} {row.what:26} {marks[row.is_right]:6} {row.value}")
    print(options.json)
    return 1 if any(row.is_right is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
