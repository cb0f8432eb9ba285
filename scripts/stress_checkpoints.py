"""Load damaged, forged and hostile checkpoints: each must be refused in a sentence, and nothing in it run."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from stress_damage import KINDS as DAMAGES
from stress_payloads import KINDS as PAYLOADS
from stress_reader import LIMIT_MB, LIMIT_S, Reader

WHOLE = sorted((Path(__file__).parents[1] / "tests" / "fixtures" / "format2").glob("*.ckpt"))  # a filter, a classifier


def checkpoints(cases: int, seed: int = 0) -> int:
    """Make `cases` damaged checkpoints and load them; the number of failures."""
    kinds, begin, faults, refused = DAMAGES | PAYLOADS, time.monotonic(), [], 0
    originals = [path.read_bytes() for path in WHOLE]
    with tempfile.TemporaryDirectory(prefix="stress-checkpoints-") as folder, Reader(WHOLE) as reader:
        for number in tqdm(range(cases), "loading", leave=False, disable=None):
            kind = list(kinds)[number % len(kinds)]
            path = Path(folder) / str(number) / "best.ckpt"
            canary, what = path.with_name("canary"), path.with_suffix(".what")
            path.parent.mkdir()
            kinds[kind](originals, Random(f"{seed}-{number}"), path, canary)
            name = f"{number} ({kind}{': ' + what.read_text() if what.exists() else ''})"
            wrong = [f"{name} {fault}" for fault in wrong_answer(reader.load(path), path, canary)]
            refused += not wrong
            faults += wrong
            shutil.rmtree(path.parent)
    for fault in faults:
        print(f"checkpoints, seed {seed}: {fault}")
    ran = sum("ran its code" in fault or "should not" in fault for fault in faults)
    print(
        f"checkpoints: {cases} damaged, {refused} refused in one sentence, {ran or 'no'} code run; "
        f"{time.monotonic() - begin:.0f} s; {len(faults)} failures"
    )
    return len(faults)


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
