"""Give commands wrong overrides, configs, runs, recordings and features: each must end, in success or in one sentence."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from forked import run_forked
from stress_cases import KINDS, RUNS, Case, draw_case
from stress_resume import make_features

CPU_S, WALL_S, MEMORY_MB = 20, 300, 4000  # of a command; a busy machine may make one wait, but not compute
CODES = (0, 1, 2)  # done; flagged, or refused by Hydra; refused by speechml
OWN = ("runs/", "out/", "conf/", "cache/")  # where commands may write, below the folder that they work in


def inputs(cases: int, seed: int = 0, first: int = 0, jobs: int = 1) -> int:
    """Run `cases` cases of a seed, from number `first` on, some at a time; the number of findings."""
    numbers = range(first, first + cases)
    begin, findings, counts, found = time.monotonic(), 0, Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="stress-inputs-") as folder, ThreadPoolExecutor(jobs) as pool:
        benches = [Bench(Path(folder) / str(job)) for job in range(jobs)]

        def try_case(number: int) -> tuple[Case, list[str]]:
            bench, case = benches.pop(), draw_case(seed, number)
            try:
                return case, list(bench.findings(case))
            finally:
                benches.append(bench)

        done = tqdm(pool.map(try_case, numbers), "trying", total=cases, leave=False, disable=None)
        for number, (case, faults) in zip(numbers, done, strict=True):
            counts[case.kind] += 1
            for finding in faults:
                found[case.kind] += 1
                findings += 1
                print(
                    f"--seed {seed} --first {number} --cases 1: {finding}\n  {json.dumps(asdict(case))[:1500]}",
                    flush=True,
                )
    print(f"\n{'inputs':<12}{'cases':>8}{'findings':>10}")
    for kind in KINDS:
        print(f"{kind:<12}{counts[kind]:>8}{found[kind]:>10}")
    print(f"seed {seed}: {cases} cases, {findings} findings; {time.monotonic() - begin:.0f} s")
    return findings


class Bench:
    """A place to try cases in, one after the other.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path) -> None:
        self.place, self.template, self.cache = folder / "case", folder / "template", folder / "cache"
        work = self.template / "work"
        for side in ("noisy", "clean"):
            (work / "pairs" / side).mkdir(parents=True)
            for number in range(4):
                tone = 0.3 * np.sin(np.arange(4000) / (5 + number)) + (side == "noisy") * 0.1 * np.cos(
                    np.arange(4000) * 3
                )
                soundfile.write(work / "pairs" / side / f"{number}.wav", tone, 8000)
        shutil.copy(work / "pairs" / "noisy" / "0.wav", work / "one.wav")
        make_features(work / "x.npz")
        (self.template / "home").mkdir()
        (self.template / "tmp").mkdir()
        (self.template / "outside").mkdir()
        (self.template / "outside" / "secret.txt").write_text("secret of another folder")

    def findings(self, case: Case) -> Iterator[str]:
        """What is wrong with what a command made of a case."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.template, self.place)
        work, output = self.place / "work", self.place / "output.txt"
        if any("runs/" in word or word == "runs" for word in case.words) or case.kind == "runs":
            for run in ("lab2a_fir/2e419249ef", "genre_mlp/1fe85111aa"):
                shutil.copytree(RUNS / run, work / "runs" / run)
        for name, change in case.files.items():
            put(work / name, change)
        before = snapshot(self.place)
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.place / "home"), "TMPDIR": str(self.place / "tmp"), "LANG": "C.UTF-8",
            "SPEECHML_CACHE": str(self.cache), "OMP_NUM_THREADS": "1", **case.environment,
        }  # fmt: skip
        limits = {"cpu_s": CPU_S, "memory_mb": MEMORY_MB}
        code = run_forked(case.words, work, environment, output, limit_s=WALL_S, limits=limits)
        text = output.read_text(errors="replace") if output.exists() else ""
        yield from wrong_end(code, text)
        yield from leftovers(case, work, before, snapshot(self.place), code)


def put(path: Path, change: str) -> None:
    """Make a file of a case: "text:...", "base64:...", "link:TARGET", "fifo:", or "gone:" for none."""
    kind, _, content = change.partition(":")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "text":
        path.write_text(content, errors="surrogatepass")
    elif kind == "base64":
        path.write_bytes(base64.b64decode(content))
    elif kind == "link":
        path.symlink_to(content)
    elif kind == "fifo":
        os.mkfifo(path)


def wrong_end(code: int | None, text: str) -> Iterator[str]:
    """What is wrong with how a command ended, and with what it said."""
    if "Traceback (most recent call last)" in text:
        lines = text.strip().splitlines()
        yield f"traceback: {lines[-1][:300]}"
    elif code is None or code == -9 or code == -24:  # killed for its time
        yield f"hang: more than {CPU_S} s of computing, or {WALL_S} s"
    elif code not in CODES:
        yield f"exit code {code}: {text[-300:]!r}"
    elif code == 0 and re.search(r"^error:", text, re.MULTILINE):
        yield f"exit code 0 after a failure: {text[-300:]!r}"
    elif code and not text.strip():
        yield f"exit code {code} without a word"
    elif code and (said := re.findall(r"^error:.*", text, re.MULTILINE)) and len(said[-1]) > 3000:
        yield f"a sentence of {len(said[-1])} letters"


def snapshot(place: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below a folder, by its name."""
    found = {}
    for folder, _, names in os.walk(place):
        for path in (Path(folder) / name for name in names):
            about = path.lstat()
            found[str(path.relative_to(place))] = (about.st_size, about.st_mtime_ns)
    return found


def leftovers(
    case: Case, work: Path, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], code: int | None
) -> Iterator[str]:
    """What a command has written where it should not, or has left half done."""
    for name in sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
        inside = name.removeprefix("work/")
        if name == "output.txt" or (inside != name and inside.startswith(OWN) and ".part" not in name):
            continue
        yield f"left or changed {name}"
    if case.words[0] == "speechml-train":
        for run in {path.parent for path in work.glob("runs/[!.]*/*/*")}:
            if not (run / "card.json").exists():
                yield f"a folder without a card: {run.relative_to(work)}"
    cards = [path for path in work.glob("runs/*/*/card.json") if path.is_file()]  # a case may have put a folder there
    is_done = any("done" in path.read_text(errors="replace") for path in cards)
    if code == 0 and "-m" in case.words and not is_done:
        yield "exit code 0, and no run is done"


def replay(path: Path) -> list[str]:
    """The findings among the cases of a file, a line each."""
    with tempfile.TemporaryDirectory(prefix="stress-inputs-") as folder:
        bench = Bench(Path(folder))
        cases = [Case(**json.loads(line)) for line in path.read_text().splitlines()]
        return [f"{' '.join(case.words)}: {finding}" for case in cases for finding in bench.findings(case)]
