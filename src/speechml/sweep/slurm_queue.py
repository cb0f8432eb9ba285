"""What Slurm is asked and told, in its own commands."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess

from speechml.errors import UserError

ASK_S = 60.0  # a busy controller may take long to answer
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED")


def check_available() -> None:
    """Check that jobs can be submitted.

    Raises:
        UserError: no `sbatch` on this machine.
    """
    if not shutil.which("sbatch"):
        raise UserError(
            "there is no Slurm on this machine (sbatch is not found); launch from a login node of the cluster, or use "
            "hydra/launcher=local"
        )


def ask(*words: str) -> str:
    """What one of Slurm's commands prints.

    Raises:
        UserError: it fails, or takes too long.
    """
    try:
        limit_s = None if words[0] == "sbatch" else ASK_S  # one that is given up may have been taken all the same
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit_s)
    except FileNotFoundError:
        check_available()
        raise
    except subprocess.TimeoutExpired as error:
        raise UserError(f"Slurm has not answered {words[0]} for {ASK_S:.0f} s; try again later") from error
    if done.returncode:
        text = " ".join(line.partition("error: ")[2] or line for line in done.stderr.strip().splitlines())
        raise UserError(f"Slurm refused ({words[0]}): {text or f'exit code {done.returncode}'}")
    return done.stdout


def queue(users: set[str] | None = None) -> dict[str, tuple[str, str]]:
    """The jobs of users (null: of this one), arrays task by task: state and reason by `job` or `job_task`."""
    whose = ",".join(sorted(users or {getpass.getuser()}))
    listed = ask("squeue", "--noheader", "--array", f"--user={whose}", "--format=%i|%T|%r")
    rows = (line.split("|") for line in listed.splitlines())
    return {row[0].strip(): (row[1], row[2]) for row in rows if len(row) == 3}


def end_of(job: str) -> str:
    """How a job that is no longer in the queue has ended, as far as Slurm remembers."""
    try:
        text = ask("scontrol", "--oneliner", "show", "job", job)
    except UserError:
        return "Slurm no longer knows it"
    found = dict(re.findall(r"(\w+)=(\S*)", text.splitlines()[0]))
    reason = found.get("Reason", "None")
    because = f", {reason}" * (reason != "None")
    return f"{found.get('JobState', 'UNKNOWN')}{because}, exit code {found.get('ExitCode', '?')}"


def cancel(jobs: list[str]) -> None:
    """Ask Slurm to end jobs: those that run get TERM, save, and stop."""
    if jobs:
        ask("scancel", *jobs)


def requeue(job: str) -> None:
    """Put the job that this process belongs to into the queue again, which ends it."""
    ask("scontrol", "requeue", job)


def partitions() -> list[str]:
    """The names of all partitions."""
    return sorted(set(ask("sinfo", "--noheader", "--format=%R").split()))


def setting(name: str, fallback: int) -> int:
    """A whole number of the cluster's configuration."""
    found = re.search(rf"^{name}\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    return int(found[1]) if found else fallback
