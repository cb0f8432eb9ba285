"""A job of a cluster: `python -m speechml.sweep.job FILE` computes the runs of its array task, one after another."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(path: Path) -> int:
    """Compute the runs of line SLURM_ARRAY_TASK_ID in a file of frozen configs; the exit code.

    What is computed is told in `ended/`, a file for each run; a job that gets USR1 saves, and is put into the queue
    again as long as that gets its runs on.
    """
    # As many threads as cores, before anything that counts them is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    from speechml.engine.signals import RESUMABLE, Stopped, interruptible

    task = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    with path.open() as file:
        runs = json.loads(next(line for number, line in enumerate(file) if number == task))
    first = int(os.environ.get("SLURM_PROCID", "0")) == 0
    failed, told = False, path
    try:
        with interruptible(patient=True):
            for content in runs:
                told = path.parent / "ended" / f"{content['told']}.json"
                if not told.exists():
                    outcome = _computed(content)
                    failed = failed or outcome["kind"] == "error"
                    if first:
                        _tell(told, outcome)
    except Stopped as stopped:
        if not first:
            return 0  # as all ranks; the first one's exit code counts
        print(stopped.reason, file=sys.stderr, flush=True)
        if stopped.signal_name == "SIGUSR1" and (why := _back_into_the_queue(told, task, stopped.step)):
            _tell(told, {"kind": "error", "error": why, "run": ""})
            return 1
        return RESUMABLE
    return int(failed)


def _computed(content: dict[str, Any]) -> dict[str, Any]:
    """What came of one run: its folder, and its value or why there is none."""
    from speechml.errors import UserError
    from speechml.runs.identity import run_id
    from speechml.sweep.frozen import thawed
    from speechml.sweep.trial import train_trial
    from speechml.sweep.workers import described

    cfg = thawed(content)
    run = str(Path(str(cfg.paths.runs)) / str(cfg.name) / run_id(cfg))
    print(f"run {run}  {' '.join(content['hydra']['overrides.task'])}", file=sys.stderr, flush=True)
    try:
        return {"kind": "value", "value": train_trial(cfg), "run": run}
    except Exception as error:
        if not isinstance(error, UserError):
            import traceback

            traceback.print_exc()
        else:
            print(f"error: {error}", file=sys.stderr)
        return {**described(error)._asdict(), "kind": "error", "run": run}


def _tell(path: Path, outcome: dict[str, Any]) -> None:
    from speechml.storage.files import write_json

    path.parent.mkdir(exist_ok=True)
    write_json(path, outcome)


def _back_into_the_queue(told: Path, task: int, step: int | None) -> str:
    """Requeue this job unless its run, by the file that tells of it, would not get on; why not.

    Twice in a row without a step more than before is once too often: the time is too short even to begin.
    """
    from speechml.storage.files import write_text
    from speechml.sweep.slurm_queue import requeue

    note = told.with_suffix(".step")
    before, idle = map(int, note.read_text().split()) if note.exists() else (0, 0)
    idle = 0 if (step or 0) > before else idle + 1
    if idle > 1:
        return (
            "its time limit ends before a step is done; raise hydra.launcher.timeout_min (now and then a job gets USR1 a "
            "minute early), or lower hydra.launcher.signal_delay_s"
        )
    write_text(note, f"{max(before, step or 0)} {idle}")
    print("ahead of the time limit: queued again", file=sys.stderr, flush=True)
    array, own = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ["SLURM_JOB_ID"]
    requeue(f"{array}_{task}" if array else own)
    return ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
