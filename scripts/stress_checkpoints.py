"""Load damaged, forged and hostile checkpoints: each must be refused in a sentence, and nothing in it run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import torch

from speechml.storage.progress import progress
from stress_damage import KINDS as DAMAGES
from stress_payloads import KINDS as PAYLOADS
from stress_reader import LIMIT_MB, LIMIT_S, Reader
from stress_resume import make_features

COMMANDS, RESUMES = 20, 8  # at most as many are run as commands
QUIET = ("callbacks.listening=null", "callbacks.figures=null", "trainer.max_epochs=2", "checkpoint.every_n_steps=1")
FIR = ("experiment=lab2a_fir", "+data.count=40", "model.net.taps=8", *QUIET)
MLP = ("experiment=genre_mlp", "data.root=features.npz", *QUIET[2:])
RESUMABLE = (
    "cut", "cut at an end", "bit flipped", "bytes inserted", "archive with code", "block zeroed", "bomb", "halves joined",
)  # fmt: skip


def checkpoints(cases: int, seed: int = 0) -> int:
    """Make `cases` damaged checkpoints and load them, some with the commands and some to resume; the number of failures."""
    kinds, begin, faults = DAMAGES | PAYLOADS, time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="stress-checkpoints-") as folder, ThreadPoolExecutor(2) as pool:
        place = Path(folder)
        originals = trained(place, pool)
        commands = wanted(cases, 25, COMMANDS)
        samples = {(number * cases // commands + number) % cases for number in range(commands)}
        later = [pool.submit(resumed, place, number, seed) for number in range(wanted(cases, 60, RESUMES))]
        with Reader(place) as reader:
            for number in progress(range(cases), cases, "loading"):
                kind = list(kinds)[number % len(kinds)]
                path, canary = place / str(number) / "best.ckpt", place / str(number) / "canary"
                path.parent.mkdir()
                kinds[kind](originals, Random(f"{seed}-{number}"), path, canary)
                what = path.with_suffix(".what")
                name = f"{number} ({kind}{': ' + what.read_text() if what.exists() else ''})"
                faults += [f"{name} {fault}" for fault in wrong_answer(reader.load(path), path, canary)]
                if number in samples:
                    later.append(pool.submit(commanded, place, name, path, canary))
                else:
                    shutil.rmtree(path.parent)
        for future in progress(later, len(later), "commands"):
            faults += future.result()
    for fault in faults:
        print(f"checkpoints, seed {seed}: {fault}")
    refused = cases - len({fault.split()[0] for fault in faults if fault[0].isdigit()})
    ran = sum("ran its code" in fault or "should not" in fault for fault in faults)
    print(
        f"checkpoints: {cases} damaged, {refused} refused in one sentence, {ran or 'no'} code run; {len(later)} of them "
        f"given to commands; {time.monotonic() - begin:.0f} s; {len(faults)} failures"
    )
    return len(faults)


def wanted(cases: int, each: int, most: int) -> int:
    """One of `each` cases, one at least and `most` at most."""
    return max(1, min(most, cases // each))


def program(name: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name(name)), *words]
    try:
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, -1, "", "still running after 120 s")


def trained(place: Path, pool: ThreadPoolExecutor) -> list[bytes]:
    """Checkpoints of a filter and of a classifier, trained in `place / "work"`."""
    work = place / "work"
    work.mkdir()
    make_features(work / "features.npz")
    for done in pool.map(lambda words: program("speechml-train", *words, cwd=work), (FIR, MLP)):
        if done.returncode:
            raise SystemExit(f"nothing to damage: {done.stderr}")
    return [
        path.read_bytes() for path in sorted(work.glob("runs/*/*/checkpoints/*.ckpt")) if path.name != "previous.ckpt"
    ]


def wrong_answer(answer: dict[str, Any], path: Path, canary: Path) -> Iterator[str]:
    """What is wrong with what came of loading a damaged checkpoint."""
    told = answer.get("refused")
    if told is None:
        yield answer.get("fault", "was loaded")[:300].replace("\n", " | ")
    elif len(told.splitlines()) != 1 or str(path) not in told or len(told) > 1000:
        yield f"was refused, but not in a sentence that names it: {told[:300]!r}"
    if canary.exists():
        yield "ran its code"
    if answer.get("seen"):
        yield f"did what it should not: {answer['seen'][:3]}"
    if answer.get("s", 0) > LIMIT_S or answer.get("mb", 0) > LIMIT_MB:
        yield f"took {answer['s']:.1f} s and {answer['mb']} MB"


def commanded(place: Path, name: str, path: Path, canary: Path) -> list[str]:
    """What is wrong when a command is given a damaged checkpoint."""
    word = Random(name).choice(["denoise", "classify"])
    output = ["-o", "out"] if word == "denoise" else []
    done = program("speechml", word, str(path), str(place / "work"), *output, cwd=place)
    lines, faults = done.stderr.splitlines(), []
    if done.returncode != 2 or len(lines) != 1 or str(path) not in lines[0] or done.stdout:
        faults = [
            f"{name} with speechml {word} ended with code {done.returncode}: {(done.stdout + done.stderr)[-400:]!r}"
        ]
    return faults + [f"{name} with speechml {word} ran its code"] * canary.exists()


def resumed(place: Path, number: int, seed: int) -> list[str]:
    """What is wrong when a run goes on whose last checkpoint is damaged; of every second one the one before is gone."""

    kind = RESUMABLE[number % len(RESUMABLE)]
    work = place / f"resumed{number}"
    shutil.copytree(place / "work", work)
    (run,) = work.glob("runs/lab2a_fir/*")
    last, canary = run / "checkpoints" / "last.ckpt", work / "canary"
    originals = [last.read_bytes(), last.with_name("best.ckpt").read_bytes()]
    before = torch.load(last, weights_only=True)["state_dict"]
    (DAMAGES | PAYLOADS)[kind](originals, Random(f"{seed}-resumed-{number}"), last, canary)
    if number % 2:
        last.with_name("previous.ckpt").unlink()
    card = json.loads((run / "card.json").read_text())
    (run / "card.json").write_text(json.dumps({**card, "state": "stopped"}))
    done = program("speechml-train", *FIR, cwd=work)
    said = done.stdout + done.stderr
    after = torch.load(last, weights_only=True)["state_dict"] if done.returncode == 0 else {}
    same = before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    told = "last.ckpt" in said and ("begins again" if number % 2 else "resuming") in said and "Traceback" not in said
    state = json.loads((run / "card.json").read_text())["state"]
    if (done.returncode, state, same, told, canary.exists()) == (0, "done", True, True, False):
        return []
    found = f"code {done.returncode}, {state}, weights {'equal' if same else 'other'}, canary {canary.exists()}"
    return [f"resumed {number} ({kind}): {found}: {said[-500:]!r}"]
