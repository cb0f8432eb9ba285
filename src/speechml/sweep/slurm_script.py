"""The script of a job, and how it is submitted."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from speechml.contracts import Config
from speechml.errors import UserError
from speechml.storage.files import make_folder, write_text
from speechml.sweep import slurm_queue

# Keys of conf/hydra/launcher/slurm.yaml that are options of sbatch under the same name.
SAME = (
    "partition", "account", "qos", "cpus_per_task", "gpus_per_node", "constraint", "exclude", "gres", "cpus_per_gpu",
    "gpus_per_task", "mem_per_gpu", "mem_per_cpu", "comment",
)  # fmt: skip


def submit_script(options: Config, trainer: Config, path: Path, tasks: int) -> str:
    """Submit an array of `tasks` jobs that compute the lines of a file; its number.

    Args:
        options: keys of conf/hydra/launcher/slurm.yaml.
        trainer: of the runs, which says how many processes each has.
        path: of the file.
        tasks: number of its lines.

    Raises:
        UserError: for options that cannot be, or what Slurm says when it refuses the job.
    """
    logs = _log_folder(options["submitit_folder"] or path.parent / "logs")
    make_folder(logs)
    script = path.with_suffix(".sh")
    write_text(script, job_script(options, trainer, path, tasks, logs))
    try:
        answer = slurm_queue.ask("sbatch", "--parsable", str(script))
    except UserError as error:
        where = f" (there are: {', '.join(slurm_queue.partitions())})" if "partition" in str(error).lower() else ""
        raise UserError(f"{error}{where}") from error
    return answer.strip().partition(";")[0]  # on several clusters, their name follows


def _log_folder(pattern: Path | str) -> Path:
    """The part of a path before what would be a folder for each job, as `%j`: Slurm makes none."""
    parts = Path(pattern).absolute().parts
    return Path(*parts[: next((i for i, part in enumerate(parts) if "%" in part), len(parts))])


def job_script(options: Config, trainer: Config, path: Path, tasks: int, logs: Path) -> str:
    """The text of the script; as for `submit_script`, with the folder for logs."""
    job = "%A_%a" if tasks > 1 else "%j"
    flags = resources(options, trainer)
    if tasks > 1:
        flags["array"] = f"0-{tasks - 1}%{min(tasks, options['array_parallelism'] or tasks)}"
    flags |= {"output": f"{logs}/{job}_0_log.out", "open-mode": "append"} | (options["additional_parameters"] or {})
    # srun does not inherit the number of cores, and a rank that dies would leave the others waiting.
    cores = [f"--cpus-per-task={options['cpus_per_task']}"] if options["cpus_per_task"] else []
    srun = ["srun", "--unbuffered", "--output", f"{logs}/{job}_%t_log.out", *cores, "--kill-on-bad-exit=1"]
    srun += map(str, options["srun_args"] or [])
    python = options["python"] or shlex.quote(sys.executable)
    return "\n".join([
        "#!/bin/bash",
        *(_flag(key, value) for key, value in sorted(flags.items())),
        *(options["setup"] or []),
        f"{shlex.join(srun)} {python} -u -m speechml.worker slurm {shlex.quote(str(path))}",
        "",
    ])  # fmt: skip


def _flag(key: str, value: object) -> str:
    name = key.replace("_", "-")
    return f"#SBATCH --{name}" if value is True else f"#SBATCH --{name}={shlex.quote(str(value))}"


def resources(options: Config, trainer: Config) -> Config:
    """The options of sbatch that say what a job needs, by their names.

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
    nodes = options["nodes"] or int(trainer.get("num_nodes") or 1)
    processes = options["tasks_per_node"] or _devices(trainer, options)
    flags: Config = {key.replace("_", "-"): options[key] for key in SAME if options[key] is not None}
    if options["mem_gb"] is not None:
        flags["mem"] = f"{options['mem_gb']}GB"
    # USR1 is what clusters send of themselves, and what speechml is documented to take.
    return flags | {
        "job-name": options["name"], "time": limit, "nodes": nodes, "ntasks-per-node": processes,
        "signal": f"USR1@{delay}", "requeue": True,
    }  # fmt: skip


def _devices(trainer: Config, options: Config) -> int:
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
