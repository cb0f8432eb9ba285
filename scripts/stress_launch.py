"""Launch the same few experiments many times at once, and check that each was trained once and nothing was lost."""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from forked import run_forked

TINY = (
    "experiment=lab2a_fir", "+data.count=40", "trainer.max_epochs=1", "callbacks.listening=null", "callbacks.figures=null",
)  # fmt: skip


class Launch(NamedTuple):
    """A launch that has ended."""

    config: int
    redo: bool
    code: int
    output: str


def launch(processes: int, configs: int, launches: int, seed: int = 0) -> int:
    """Launch `configs` experiments `launches` times, `processes` at once, then redo one; the number of failures."""
    draws = random.Random(seed)
    configs = min(configs, launches)
    order = [number % configs for number in range(launches)]
    draws.shuffle(order)
    redone = [(draws.randrange(configs), False)] * processes
    redone += [(redone[0][0], True)] * max(4, processes)
    draws.shuffle(redone)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stress-launch-") as folder:
        place = Path(folder)
        for name in ("work", "said", "tmp"):
            (place / name).mkdir()
        ended = launched(place, [(config, False) for config in order], processes, 0)
        faults = [*wrong_ends(ended), *wrong_runs(place, configs), *left_over(place)]
        before = {run.name: content(run) for run in runs(place)}
        again = launched(place, redone, processes, launches)
        faults += [*wrong_ends(again), *wrong_redo(place, configs, before, again), *left_over(place)]
        for fault in faults:
            print(f"launch, seed {seed}: {fault}", flush=True)
        trained = sum(was_trained(end) for end in ended)
        print(
            f"launch: {launches} launches, {configs} configs, {len(runs(place))} runs, {trained} trainings; "
            f"{launches - trained} found it done or busy; {sum(was_trained(end) for end in again)} of "
            f"{len(again)} at once redid a run; {time.monotonic() - begin:.0f} s; {len(faults)} failures"
        )
    return len(faults)


def environment(place: Path) -> dict[str, str]:
    """One thread, and a cache and temporary files of our own, empty at first."""
    ours = {"OMP_NUM_THREADS": "1", "SPEECHML_CACHE": str(place / "cache"), "TMPDIR": str(place / "tmp")}
    return {**os.environ, **ours}


def words_of(config: int, redo: bool) -> list[str]:
    """The command line of a launch."""
    return ["speechml-train", *TINY, f"model.net.taps={config + 3}", *["redo=true"] * redo]


def launched(place: Path, jobs: list[tuple[int, bool]], processes: int, first: int) -> list[Launch]:
    """Forked launches, given by config and whether to redo; `first` is the number of the first of them."""

    def run(number: int, job: tuple[int, bool]) -> Launch:
        output = place / "said" / f"{first + number}.txt"
        code = run_forked(words_of(*job), place / "work", environment(place), output)
        return Launch(*job, -1 if code is None else code, output.read_text())

    with ThreadPoolExecutor(processes) as pool:
        return list(tqdm(pool.map(run, range(len(jobs)), jobs), "launching", len(jobs), leave=False, disable=None))


def was_trained(end: Launch) -> bool:
    """Whether the launch trained its run to the end."""
    return end.code == 0 and "done already" not in end.output


def wrong_ends(ended: list[Launch]) -> Iterator[str]:
    """Launches that ended otherwise than trained, done already, or busy."""
    for end in ended:
        busy = end.code == 2 and "is being trained by" in end.output and len(end.output.splitlines()) == 1
        if not (end.code == 0 or busy) or "Traceback" in end.output:
            said = " | ".join(end.output.strip().splitlines()[-6:])
            yield f"{' '.join(words_of(end.config, end.redo))} ended with code {end.code}: {said[-700:]}"


def runs(place: Path) -> list[Path]:
    """What lies where runs of the experiment belong."""
    return sorted((place / "work" / "runs" / "lab2a_fir").iterdir())


def wrong_runs(place: Path, configs: int, beside: tuple[str, ...] = ()) -> Iterator[str]:
    """Runs that are not done, not what their name says, or not trained exactly once, and what is beside them."""
    if len(runs(place)) != configs:
        yield f"{configs} configs left {len(runs(place))} runs"
    expected = [place / "work" / "runs", *(place / "work" / "runs" / name for name in ("lab2a_fir", *beside))]
    for path in [*(place / "work").iterdir(), *(place / "work" / "runs").iterdir()]:
        if path not in expected:
            yield f"{path} is no run"
    for run in runs(place):
        yield from (f"{run.name} {fault}" for fault in wrong_run(run))


def wrong_run(run: Path) -> Iterator[str]:
    """What is wrong with the folder of a run that was trained once."""
    try:
        card, log = json.loads((run / "card.json").read_text()), (run / "train.log").read_text().splitlines()
    except (OSError, ValueError) as error:
        yield f"cannot be read: {error}"
        return
    if (card["state"], card["id"]) != ("done", run.name.partition("-")[0]):
        yield f"is {card['state']}, and {card['id']} by its card"
    begun, ended = (sum(mark in line for line in log) for mark in (f"INFO lab2a_fir {card['id']}:", "INFO done"))
    if (begun, ended, len(log)) != (1, 1, 2):
        yield f"was begun {begun} times and ended {ended} times by its log: {log}"
    rows = (run / "metrics.csv").read_text().splitlines()
    if len(rows) != 2:
        yield f"has {len(rows) - 1} epochs in metrics.csv, not 1"
    for name in ("config.yaml", "scores.txt", "predictions.npz", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        if not (run / name).is_file():
            yield f"lacks {name}"


def left_over(place: Path) -> Iterator[str]:
    """Files of writing that was not finished, and temporary files that nobody removed."""
    for path in [*place.glob("work/**/*"), *place.glob("cache/**/*")]:
        if ".part" in path.name or path.name.startswith("tmp"):
            yield f"{path} was left behind"
    for path in (place / "tmp").iterdir():
        if not path.name.startswith("torchinductor_"):  # the cache of torch's compiler, one for each user
            yield f"{path} was left behind"


def content(run: Path) -> dict[str, str]:
    """The sum of each file of a run, its lock aside."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def wrong_redo(place: Path, configs: int, before: dict[str, dict[str, str]], again: list[Launch]) -> Iterator[str]:
    """What was lost or changed when one of the runs was redone by several processes at once."""
    yield from wrong_runs(place, configs, beside=(".old",))
    kept = sorted((place / "work" / "runs" / ".old" / "lab2a_fir").glob("*"))
    if len(kept) != sum(was_trained(end) for end in again) or not kept:
        yield f"{sum(was_trained(end) for end in again)} runs were redone and {len(kept)} are kept"
    for old in kept:
        yield from (f"kept {old.name} {fault}" for fault in wrong_run(old))
    redone = {old.name.partition("-")[0] for old in kept}
    for run in runs(place):
        if run.name not in redone and content(run) != before[run.name]:
            yield f"{run.name} changed although another run was redone"
        elif run.name in redone and before[run.name] not in [content(old) for old in kept]:
            yield f"{run.name} was redone and the run before is not kept whole"
