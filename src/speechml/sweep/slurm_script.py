"""The script of a job, written and submitted by submitit; what it starts reads text, where submitit's own jobs unpickle."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from speechml.errors import UserError
from speechml.storage.files import make_folder
from speechml.sweep import slurm_queue as queue

OURS = ("runs_per_job", "wait", "python", "submitit_folder", "setup", "srun_args", "additional_parameters")


def submitted(options: dict[str, Any], trainer: dict[str, Any], path: Path, tasks: int) -> str:
    """Submit an array of `tasks` jobs that compute the lines of a file; its number.

    Args:
        options: keys of conf/hydra/launcher/slurm.yaml.
        trainer: of the runs, which says how many processes each has.
        path: of the file.
        tasks: number of its lines.

    Raises:
        UserError: for options that cannot be, or what Slurm says when it refuses the job.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError, JobPaths
    from submitit.slurm.slurm import SlurmExecutor

    parameters = resources(options, trainer)
    # Without what would be a folder for each job: Slurm makes none, and file names have the job's number.
    logs = JobPaths.get_first_id_independent_folder(options["submitit_folder"] or path.parent / "logs")
    make_folder(logs)
    program = options["python"] or shlex.quote(sys.executable)
    # A private method of submitit, hence the pin of its version: its public ones pickle what is to be computed.
    try:
        executor = SlurmExecutor(logs)
        executor.update_parameters(**parameters)
        if tasks > 1:
            executor.parameters["map_count"] = tasks
        return str(executor._submit_command(f"{program} -u -m speechml.sweep.job {shlex.quote(str(path))}").job_id)
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"hydra.launcher: {' '.join(str(error).split())}") from error
    except (FailedJobError, FailedSubmissionError) as error:
        said = [line.partition("error: ")[2] for line in str(error).splitlines() if "sbatch: error: " in line]
        text = "; ".join(said) or " ".join(str(error).split())
        more = f" (there are: {', '.join(queue.partitions())})" if "partition" in text.lower() else ""
        raise UserError(f"Slurm refused the jobs: {text}{more}") from error


def resources(options: dict[str, Any], trainer: dict[str, Any]) -> dict[str, Any]:
    """What submitit is to ask Slurm for.

    Raises:
        UserError: a time limit that ends before it is announced, or words where numbers belong.
    """
    limit, delay = options["timeout_min"], options["signal_delay_s"]
    for key in ("timeout_min", "signal_delay_s", "array_parallelism", "cpus_per_task"):
        value = options[key]
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UserError(f"hydra.launcher.{key} is {value}; it must be a whole number above 0")
    if delay >= 60 * limit:
        raise UserError(
            f"hydra.launcher.signal_delay_s is {delay} and the time limit {60 * limit} s: jobs would be told to stop when "
            "they begin; raise hydra.launcher.timeout_min"
        )
    asked = {k: v for k, v in options.items() if k not in OURS and v is not None}
    asked["time"] = asked.pop("timeout_min")
    if "mem_gb" in asked:
        asked["mem"] = f"{asked.pop('mem_gb')}GB"
    asked["job_name"] = asked.pop("name")
    asked["nodes"] = asked.get("nodes") or int(trainer.get("num_nodes") or 1)
    asked["ntasks_per_node"] = asked.pop("tasks_per_node", None) or _devices(trainer, options)
    if asked["nodes"] * asked["ntasks_per_node"] == 1:
        asked.pop("nodes")
    # srun does not inherit the number of cores, and a rank that dies would leave the others waiting.
    cores = [f"--cpus-per-task={options['cpus_per_task']}"] if options["cpus_per_task"] else []
    asked["srun_args"] = [*cores, "--kill-on-bad-exit=1", *(options["srun_args"] or [])]
    asked |= {"wckey": None, "stderr_to_stdout": True}
    asked["setup"] = list(options["setup"] or []) or None
    # USR1 for submitit's USR2: what clusters send of themselves, and what speechml is documented to take.
    asked["additional_parameters"] = {
        "signal": f"USR1@{delay}", "requeue": True, **(options["additional_parameters"] or {})
    }  # fmt: skip
    return asked


def _devices(trainer: dict[str, Any], options: dict[str, Any]) -> int:
    """The processes of a run on a node."""
    devices = trainer.get("devices", 1)
    if isinstance(devices, list):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return int(options["gpus_per_node"] or 1) if str(trainer.get("accelerator")) != "cpu" else 1
    try:
        return int(devices)
    except (TypeError, ValueError) as error:
        raise UserError(f"trainer.devices is {devices}; give hydra.launcher.tasks_per_node beside it") from error
