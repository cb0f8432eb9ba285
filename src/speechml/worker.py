"""The one program that computes runs for another process, each from its frozen config: `python -m speechml.worker ...`

serve PARENT RESULTS              jobs come as JSON lines on standard input, outcomes go as such to the descriptor RESULTS;
                                  those of a line that can be trained together are
measure PARENT RESULTS           one job comes as a line of JSON on standard input, and what a run takes goes to RESULTS
rank PARENT FOLDER [CHECKPOINT]   one further rank of the run in a folder
track PARENT FOLDER TRACKER      the rows of a run's journal go to a tracker, see report.tracking
slurm FILE                        the runs of line SLURM_ARRAY_TASK_ID of a file of jobs

With PARENT, the number of the process that started it, it ends with that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from speechml.children import end_with
from speechml.engine.import_compat import defer_imports
from speechml.process import SIGNALS


def main(words: list[str]) -> int:
    """Do what the words of the command line say; the exit code."""
    defer_imports()
    match words:
        case ["serve", parent, results]:
            end_with(int(parent))  # before what takes seconds to load: it may be killed meanwhile
            return _serve(int(results))
        case ["measure", parent, results]:
            end_with(int(parent))
            return _measure(int(results))
        case ["rank", parent, folder, *checkpoint]:
            end_with(int(parent))
            from speechml.engine.ranks import train_rank

            return train_rank(Path(folder), *map(Path, checkpoint))
        case ["track", parent, folder, tracker]:
            end_with(int(parent))
            from speechml.report.tracking import track

            return track(Path(folder), tracker)
        case ["slurm", file]:
            from speechml.cli import explain_refusals
            from speechml.sweep.slurm_task import compute_task

            with explain_refusals():
                return compute_task(Path(file))
    print(__doc__, file=sys.stderr)
    return 2


def _serve(results: int) -> int:
    """Compute jobs until there are no more, or a signal stops this process: then the exit code is RESUMABLE."""
    import json
    import signal
    from dataclasses import asdict

    from speechml.engine.signals import interruptible

    jobs = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # whatever a run reads, it is no job
    with interruptible(), os.fdopen(results, "w") as answers:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # see `children.start_worker`
        from speechml.sweep.fused import Fused
        from speechml.sweep.jobs import Job

        launcher = Fused(0)
        for line in iter(jobs.readline, ""):
            launcher.submit([Job(**one) for one in json.loads(line)])
            for job, outcome in launcher.outcomes():
                print(json.dumps([job.number, asdict(outcome)]), file=answers, flush=True)
    return 0


def _measure(results: int) -> int:
    """Measure what the run of a job takes."""
    import json
    import signal
    import time
    from dataclasses import asdict

    began = time.perf_counter()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # see `children.start_worker`
    from speechml.cli import explain_refusals
    from speechml.sweep.jobs import Job
    from speechml.sweep.measuring import measure_here

    with explain_refusals(), os.fdopen(results, "w") as answers:
        job = Job(**json.loads(sys.stdin.readline()))
        answers.write(f"{json.dumps(asdict(measure_here(job, time.perf_counter() - began)))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
