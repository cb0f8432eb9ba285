"""Programs whose system calls fail, one at a time: a sentence or success, no half file, and launched again the same bits."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

import forked
from stress_leavings import half_files, left_over, wrong_end
from stress_resume import TASKS, differences, make_features

forked.MODULES += [
    "speechml.cli.main", "speechml.report.pages", "speechml.report.sweep_page", "speechml.music.task", "speechml.sweep.grid",
    "speechml.inference.denoise", "speechml.sweep.search", "optuna.visualization.matplotlib", "optuna.importance",
    "sklearn.ensemble", "matplotlib.pyplot", "PIL.PngImagePlugin",
]  # fmt: skip
KINDS = ("open", "write", "fsync", "rename", "unlink", "mkdir")  # as scripts/faults.c numbers them
ERRORS = ("EIO", "ENOSPC", "EMFILE", "ESTALE")
GENRE = (
    *TASKS["genre"], "threads=1", "callbacks.figures=null", "callbacks.progress=null", "trainer.max_epochs=2",
    "data.batch_size=60", "checkpoint.every_n_steps=2", "report=false",
)  # fmt: skip
FIR = ("experiment=lab2a_fir", "+data.count=40", "threads=1", "trainer.max_epochs=1", "callbacks.figures=null")
SEARCH = (
    "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.executions_per_trial=1", "hydra.sweeper.retrain=null",
    "optimizer.lr=interval(0.001,0.01)",
)  # fmt: skip


class Program(NamedTuple):
    """A command, and what it is to leave."""

    words: tuple[str, ...]
    results: Callable[[Path, Path], list[str]]  # what differs between what two of its launches left, in words
    before: tuple[str, ...] = ()  # a command that nothing disturbs, whose work it goes on with


class Injection(NamedTuple):
    """A call of a program that fails: the how manyth of its kind, and how."""

    program: str
    kind: int
    at: int
    error: str


def runs_of(place: Path) -> dict[str, Path]:
    """The runs below a folder, by name."""
    return {
        f"{card.parent.parent.name}/{card.parent.name}": card.parent
        for card in place.glob("work/runs/[!.]*/*/card.json")
    }


def unequal_runs(one: Path, other: Path) -> list[str]:
    """What differs between the runs, and between the searches, of two folders."""
    runs, others = runs_of(one), runs_of(other)
    if runs.keys() != others.keys():
        return [f"runs {sorted(runs)} and {sorted(others)}"]
    found = [f"{name}: {what}" for name in runs for what in differences(runs[name], others[name])]
    names = [
        {str(path.relative_to(run)) for path in run.rglob("*") if _is_kept(path)}
        for run in [*runs.values(), *others.values()]
    ]
    found += [f"files {sorted(names[0] ^ own)} are in one only" for own in names[1:] if own != names[0]]
    return found + [f"sweep: {_sweep(one)} and {_sweep(other)}"] * (_sweep(one) != _sweep(other))


def _is_kept(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(("events.", "previous.", "."))


def _sweep(place: Path) -> object:
    """What a sweep or search came to, without times and places."""
    content = [json.loads(path.read_text()) for path in place.glob("work/runs/.sweeps/*/*/sweep.json")]
    keep = ("number", "state", "value", "params", "values", "id", "error")
    return [
        (one["state"], [{key: run.get(key) for key in keep} for run in one.get("trials", one.get("runs"))])
        for one in content
    ]


def unequal_files(folder: str) -> Callable[[Path, Path], list[str]]:
    """What compares the files below a folder."""

    def read(place: Path) -> dict[str, bytes]:
        paths = [path for path in place.glob(folder) if path.is_file() and not path.name.endswith(".lock")]
        return {str(path.relative_to(place)): path.read_bytes() for path in paths}

    def unequal(one: Path, other: Path) -> list[str]:
        files, others = read(one), read(other)
        return [name for name in files.keys() | others.keys() if files.get(name) != others.get(name)] or ["nothing"] * (
            not files
        )

    return unequal


PROGRAMS: dict[str, Program] = {
    "training": Program(("speechml-train", *GENRE), unequal_runs),
    "sweep": Program(("speechml-train", "-m", *GENRE, "trainer.max_epochs=1", "seed=0,1"), unequal_runs),
    "search": Program(("speechml-train", "-m", *GENRE, "trainer.max_epochs=1", *SEARCH), unequal_runs),
    "pack": Program(("speechml", "data", "prepare", "data=spoken_pairs", "+data.count=12"), unequal_files("cache/**/*")),
    "denoise": Program(
        ("speechml", "denoise", "RUN", "recordings", "-o", "out", "--overwrite"), unequal_files("work/out/**/*"),
        ("speechml-train", *FIR, "report=false"),
    ),
    "report": Program(
        ("speechml", "report", "RUN"), unequal_files("work/runs/*/*/report.html"),
        ("speechml-train", *FIR, "report=false"),
    ),
}  # fmt: skip


def build_library(name: str) -> Path | None:
    """Compile the library that lets calls fail into a new folder, and load it into servers that are forked from now on.

    None, and a line that says so, where there is no compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler or not sys.platform.startswith("linux"):
        print(f"{name}: skipped, since there is no C compiler here, or no Linux")
        return None
    library = Path(tempfile.mkdtemp(prefix=f"speechml-{name}-")) / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-lpthread"], check=True)
    os.environ["LD_PRELOAD"] = str(library)
    return library


def environment(place: Path, library: Path, **faults: str) -> dict[str, str]:
    """The variables of a command in a place of its own."""
    own = {
        "SPEECHML_CACHE": str(place / "cache"),
        "TMPDIR": str(place / "tmp"),
        "OMP_NUM_THREADS": "1",
        "LD_PRELOAD": str(library),
    }
    under = {"FAULT_UNDER": str(place)} if faults else {}
    return {**{k: v for k, v in os.environ.items() if k != "SPEECHML_RUNS"}, **own, **under, **faults}


def make_place(place: Path) -> Path:
    """Make a folder in which commands find features, and have a cache of their own."""
    for part in ("work", "cache", "tmp"):
        (place / part).mkdir(parents=True)
    make_features(place / "work" / "features.npz")
    return place


class Harness:
    """Runs programs in copies of a prepared place, with one failing call each."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder, self.library = folder, library
        self.whole: dict[str, Path] = {}  # places in which nothing was disturbed, by program
        self.counts: dict[str, list[int]] = {}

    def prepare(self, name: str) -> None:
        """Launch a program undisturbed, and count its calls."""
        place = make_place(self.folder / f"before-{name}")
        _make_recordings(place / "work" / "recordings")
        if before := PROGRAMS[name].before:
            assert self.launch(place, before)[0] == 0
        self.whole[name] = self.folder / f"whole-{name}"
        shutil.copytree(place, self.whole[name], symlinks=True)
        code, said, numbers = self.launch(self.whole[name], PROGRAMS[name].words, FAULT_KIND="-1")
        assert code == 0, said
        self.counts[name] = numbers[:-1]

    def launch(self, place: Path, words: tuple[str, ...], **faults: str) -> tuple[int | None, str, list[int]]:
        """A command's exit code, what it printed, how many calls of each kind it made, and how many failed."""
        counter, output = place.with_suffix(".counter"), place.with_suffix(".out")
        counter.write_bytes(bytes(8 * (len(KINDS) + 1)))
        output.write_text("")
        run = next(iter(runs_of(place).values()), Path())
        full = [str(run.relative_to(place / "work")) if word == "RUN" else word for word in words]
        faults = {**faults, "FAULT_COUNTER": str(counter)} if faults else {}
        code = forked.run_forked(full, place / "work", environment(place, self.library, **faults), output)
        numbers = np.frombuffer(counter.read_bytes(), np.uint64).astype(int).tolist()
        counter.unlink()
        return code, output.read_text(), numbers

    def inject(self, injection: Injection) -> tuple[str, list[str]]:
        """What a program made of a failing call, `refused`, `warned`, `went on` or `not reached`, and what was wrong."""
        name, kind, at, error = injection
        place = self.folder / f"{name}-{KINDS[kind]}-{at}-{error}"
        shutil.copytree(self.folder / f"before-{name}", place, symlinks=True)
        words, results, _ = PROGRAMS[name]
        faults = {"FAULT_KIND": str(kind), "FAULT_AT": str(at), "FAULT_ERRNO": str(getattr(errno, error))}
        code, said, numbers = self.launch(place, words, **faults)
        made = (
            "not reached" if not numbers[-1] else "refused" if code else "warned" if "warning: " in said else "went on"
        )
        wrong = [*wrong_end(code, said), *half_files(place)]
        again, said_again, _ = self.launch(place, words)
        wrong += [f"launched again: {what}" for what in wrong_end(again, said_again)] or [
            f"launched again: exit code {again}: {said_again[-300:]}"
        ] * (again != 0)
        if again == 0:
            wrong += [f"launched again: {what}" for what in (*results(self.whole[name], place), *left_over(place))]
        if wrong:
            shutil.move(place.with_suffix(".out"), place / "second.txt")
            (place / "first.txt").write_text(said)
        else:
            shutil.rmtree(place)
            place.with_suffix(".out").unlink()
        return made, wrong


def _make_recordings(folder: Path) -> None:
    import soundfile

    folder.mkdir()
    draws = np.random.default_rng(0)
    for number in range(2):
        soundfile.write(folder / f"{number}.wav", 0.1 * draws.standard_normal(32000), 32000)


def draw_injections(counts: Mapping[str, list[int]], number: int, seed: int) -> list[Injection]:
    """Every call of every program with one of the errors, and with further ones until there are so many."""
    calls = [(name, kind, at) for name, of in counts.items() for kind in range(len(KINDS)) for at in range(of[kind])]
    rounds = [
        [Injection(*call, ERRORS[(turn + i) % len(ERRORS)]) for i, call in enumerate(calls)]
        for turn in range(len(ERRORS))
    ]
    for each in rounds:
        random.Random(seed).shuffle(each)
    return [injection for each in rounds for injection in each][:number]


def faults(number: int, seed: int = 0, programs: tuple[str, ...] = tuple(PROGRAMS)) -> int:
    """Let `number` calls of programs fail, one in each launch, and print what came of it; the number of findings."""
    library = build_library("faults")
    if library is None:
        return 0
    folder = library.parent
    harness = Harness(folder, library)
    for name in programs:
        harness.prepare(name)
        print(f"{name}: {dict(zip(KINDS, harness.counts[name], strict=True))}", file=sys.stderr, flush=True)
    made: Counter[tuple[str, int, str]] = Counter()
    injections = draw_injections(harness.counts, number, seed)
    for done, injection in enumerate(injections, 1):
        how, wrong = harness.inject(injection)
        made[injection.program, injection.kind, how] += 1
        made[injection.program, injection.kind, "findings"] += bool(wrong)
        if wrong:
            name = f"{injection.program}, {KINDS[injection.kind]} {injection.at}, {injection.error}"
            print(f"{name}: {'; '.join(wrong[:4])}", flush=True)
        if done % 25 == 0:
            print(f"{done} of {len(injections)}", file=sys.stderr, flush=True)
    findings = sum(count for (*_, how), count in made.items() if how == "findings")
    _print_table(made, programs)
    print(f"faults: {len(injections)} injections, {findings} findings" + f"; kept in {folder}" * bool(findings))
    if not findings:
        shutil.rmtree(folder)
    return findings


def _print_table(made: Counter[tuple[str, int, str]], programs: tuple[str, ...]) -> None:
    columns = ("refused", "warned", "went on", "not reached", "findings")
    print(f"{'program':10}{'call':8}{'injections':>12}" + "".join(f"{column:>13}" for column in columns))
    for name, kind in product(programs, range(len(KINDS))):
        counts = [made[name, kind, column] for column in columns]
        print(f"{name:10}{KINDS[kind]:8}{sum(counts[:-1]):12}" + "".join(f"{count:13}" for count in counts))
