"""What Slurm is asked and told, in its own commands, and the script of a job."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from speechml.contracts import Config
from speechml.errors import UserError
from speechml.storage.files import make_folder, write_text
from speechml.sweep.schema import SlurmLauncher

ASK_S = 60.0  # a busy controller may take long to answer
# Keys of hydra.launcher that are options of sbatch under the same name.
SAME = (
    "partition", "account", "qos", "cpus_per_task", "gpus_per_node", "constraint", "exclude", "gres", "cpus_per_gpu",
    "gpus_per_task", "mem_per_gpu", "mem_per_cpu", "comment",
)  # fmt: skip


def ask(*words: str) -> str:
    """What one of Slurm's commands prints. Raises UserError where there is no Slurm, or the command fails."""
    try:
        limit_s = None if words[0] == "sbatch" else ASK_S  # one that is given up may have been taken all the same
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit_s)
    except FileNotFoundError as error:
        raise UserError(
            f"there is no Slurm on this machine ({words[0]} is not found)",
            fix="launch from a login node of the cluster, or use hydra/launcher=local",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"Slurm has not answered {words[0]} for {ASK_S:.0f} s; try again later") from error
    if done.returncode:
        text = " ".join(line.partition("error: ")[2] or line for line in done.stderr.strip().splitlines())
        fix = "set SLURM_CONF, or launch from a login node of the cluster" if "configuration source" in text else ""
        raise UserError(f"Slurm refused ({words[0]}): {text or f'exit code {done.returncode}'}", fix=fix)
    return done.stdout


def queue(users: set[str]) -> dict[str, tuple[str, str]]:
    """The jobs of users, arrays task by task: state and reason by `job` or `job_task`."""
    if not users:
        return {}
    lines = ask("squeue", "--noheader", "--array", f"--user={','.join(sorted(users))}", "--format=%i|%T|%r")
    rows = (line.split("|") for line in lines.splitlines())
    return {row[0].strip(): (row[1], row[2]) for row in rows if len(row) == 3}


def end_of(job: str) -> str:
    """How a job that is no longer in the queue has ended, as far as Slurm remembers."""
    try:
        text = ask("scontrol", "--oneliner", "show", "job", job)
    except UserError:
        return "Slurm no longer knows it"
    known = dict(re.findall(r"(\w+)=(\S*)", text.splitlines()[0]))
    reason = known.get("Reason", "None")
    because = f", {reason}" * (reason != "None")
    return f"{known.get('JobState', 'UNKNOWN')}{because}, exit code {known.get('ExitCode', '?')}"


def widest_array() -> int:
    """How many tasks an array of jobs may have."""
    line = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(line[1])) if line else 1001


def submit_script(options: SlurmLauncher, trainer: Config, path: Path, tasks: int) -> str:
    """Submit an array of `tasks` jobs that compute the lines of a file; its number.

    Args:
        options: keys of hydra.launcher.
        trainer: of the runs, which says how many processes each has.
        path: of the file.
        tasks: number of its lines.
    """
    parts = Path(options.submitit_folder or path.parent / "logs").absolute().parts
    # Slurm makes no folder for each job, as `%j` would have it.
    logs = Path(*parts[: next((i for i, part in enumerate(parts) if "%" in part), len(parts))])
    make_folder(logs)
    script = path.with_suffix(".sh")
    write_text(script, job_script(options, trainer, path, tasks, logs))
    try:
        answer = ask("sbatch", "--parsable", str(script))
    except UserError as error:
        if "partition" not in str(error).lower():
            raise
        partitions = sorted(set(ask("sinfo", "--noheader", "--format=%R").split()))
        raise UserError(f"{error} (there are: {', '.join(partitions)})") from error
    return answer.strip().partition(";")[0]  # on several clusters, their name follows


def job_script(options: SlurmLauncher, trainer: Config, path: Path, tasks: int, logs: Path) -> str:
    """The text of the script; as for `submit_script`, with the folder for logs."""
    job = "%A_%a" if tasks > 1 else "%j"
    flags = resources(options, trainer)
    if tasks > 1:
        flags["array"] = f"0-{tasks - 1}%{min(tasks, options.array_parallelism or tasks)}"
    flags |= {"output": f"{logs}/{job}_0_log.out", "open-mode": "append"} | (options.additional_parameters or {})
    lines = []
    for key, value in sorted(flags.items()):
        text = "" if value is True else f"={shlex.quote(str(value))}"
        lines.append(f"#SBATCH --{key.replace('_', '-')}{text}")
    # srun does not inherit the number of cores, and a rank that dies would leave the others waiting.
    cores = [f"--cpus-per-task={options.cpus_per_task}"] if options.cpus_per_task else []
    srun = ["srun", "--unbuffered", "--output", f"{logs}/{job}_%t_log.out", *cores, "--kill-on-bad-exit=1"]
    program = f"{options.python or shlex.quote(sys.executable)} -u -m speechml.worker slurm {shlex.quote(str(path))}"
    command = f"{shlex.join([*srun, *map(str, options.srun_args or [])])} {program}"
    return "\n".join(["#!/bin/bash", *lines, *(options.setup or []), command, ""])


def resources(options: SlurmLauncher, trainer: Config) -> Config:
    """The options of sbatch that say what a job needs, by their names."""
    flags: Config = {key.replace("_", "-"): value for key in SAME if (value := getattr(options, key)) is not None}
    if options.mem_gb is not None:
        flags["mem"] = f"{options.mem_gb}GB"
    return (
        flags
        | {
            "job-name": options.name,
            "time": options.timeout_min,
            "nodes": options.nodes or int(trainer.get("num_nodes") or 1),
            "ntasks-per-node": options.tasks_per_node or _devices(trainer, options),
            "signal": f"USR1@{options.signal_delay_s}",  # what clusters send of themselves, and what runs are documented to take
            "requeue": True,
        }
    )


def _devices(trainer: Config, options: SlurmLauncher) -> int:
    """The processes of a run on a node."""
    devices = trainer.get("devices", 1)
    if isinstance(devices, list):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return options.gpus_per_node or 1 if str(trainer.get("accelerator")) != "cpu" else 1
    try:
        return int(devices)
    except (TypeError, ValueError) as error:
        raise UserError(f"trainer.devices is {devices}; give hydra.launcher.tasks_per_node beside it") from error
