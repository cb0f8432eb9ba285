"""The keys of sweeps and of what computes them: hydra.sweeper and hydra.launcher."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from speechml.config.schema import Schema, key
from speechml.contracts import Config
from speechml.errors import UserError

Text = str | int | float  # as Hydra reads a word of digits


class GridSweeper(Schema):
    """Every combination of the swept values."""

    params: Config | None = key("what is swept or searched beside the command line, which has the last word", None,
                                allowed="key: sweep, as {optimizer.lr: 'choice(0.1, 0.5)'}")  # fmt: skip
    max_retries: int = key("how often a run that failed is tried again when the same command is launched again", 3,
                           unit="launches", least=0)  # fmt: skip


class OptunaSweeper(GridSweeper):
    """A search with Optuna."""

    max_retries: int = key(
        "how often a trial that failed is tried again, unless it was refused", 1, unit="tries", least=0
    )
    n_trials: int = key("how many trials have an end, in all: more find better values; a larger number adds to a search that "
                        "is done", 20, unit="trials", least=1)  # fmt: skip
    n_jobs: int = key("how many trials are computed at a time; more are sooner done, and each is chosen knowing less", 1,
                      unit="trials", least=1)  # fmt: skip
    executions_per_trial: int = key("runs of each trial, with seeds that follow one another; their mean counts, so that luck "
                                    "counts less", 1, unit="runs", least=1)  # fmt: skip
    direction: Literal["minimize", "maximize"] | None = key("whether less or more of the objective is better; null: by its "
                                                            "name", None)  # fmt: skip
    sampler: str = key("how values are chosen: tpe learns from the trials so far, grid tries every combination", "tpe",
                       allowed="random, tpe, grid, or a class of optuna.samplers")  # fmt: skip
    sampler_options: Config | None = key("arguments of the sampler's class", None)
    seed: int = key("where the draws of the sampler begin: another one tries other values; runs have `seed`", 0)
    pruner: str | None = key("stops runs early that promise little beside the others; null: every run is trained to its end",
                             None, allowed="median, or a class of optuna.pruners")  # fmt: skip
    pruner_options: Config | None = key("arguments of the pruner's class, as {n_warmup_steps: 3}", None)
    retrain: list[str] | None = key("overrides of a run with the best values when all is searched; null: no such run", None,
                                    allowed="a list of overrides, as ['seed=7']")  # fmt: skip
    figures: bool = key("whether trials draw figures and write audio, which takes time", False)


class LocalLauncher(Schema):
    """Runs of a sweep side by side on this machine."""

    n_jobs: int | None = key("how many are computed at a time, with the cores divided among them; null: one on every visible "
                             "GPU, else one", None, unit="runs", least=1)  # fmt: skip
    per_gpu: int = key("how many are computed at a time on each visible GPU, which small networks leave idle; their memory is "
                       "looked at first", 1, unit="runs", least=1)  # fmt: skip


class FusedLauncher(Schema):
    """Runs of a sweep trained together in one process: those of small networks of one kind as one."""

    n_jobs: int | None = key("how many processes train, each its share of the runs; null: one on each core, where there are "
                             "runs enough", None, unit="processes", least=1)  # fmt: skip
    figures: bool = key("whether runs that are trained together draw figures and write audio, which takes longer than training",
                        False)  # fmt: skip


class SlurmLauncher(Schema):
    """Runs of a sweep as jobs of a Slurm cluster."""

    partition: Text | None = key("which of the cluster's queues the jobs wait in; null: its default", None,
                                allowed="a partition of the cluster (sinfo lists them)")  # fmt: skip
    account: Text | None = key("whose budget pays for the jobs; null: as the cluster has it", None)
    qos: Text | None = key("quality of service: priorities and limits of the cluster; null: its default", None)
    timeout_min: int = key("time limit of a job; shorter ones begin sooner; a longer run is queued again and goes on at its "
                           "step", 60, unit="min", least=1)  # fmt: skip
    signal_delay_s: int = key("a job is told so long before its limit: a step, or a validation, must fit into it, and saving",
                              120, unit="s", least=1, allowed="less than the time limit")  # fmt: skip
    cpus_per_task: int | None = key("cores of a run, and its CPU threads; more are faster for large networks only", 1,
                                    unit="cores", least=1)  # fmt: skip
    gpus_per_node: int | None = key("GPUs of a job on each machine, for trainer=gpu or trainer=ddp; null: none asked for", None,
                                    unit="GPUs", least=1)  # fmt: skip
    mem_gb: int | None = key("memory of a job on each machine; null: the cluster's default", None, unit="GB", above=0)
    nodes: int | None = key("machines of a job; null: trainer.num_nodes", None, unit="machines", least=1)
    tasks_per_node: int | None = key("processes of a job on each machine; null: one for each of trainer.devices", None,
                                     unit="processes", least=1)  # fmt: skip
    constraint: Text | None = key("features that a machine must have, as the cluster names them", None)
    exclude: Text | None = key("machines to avoid, as node3,node7", None)
    gres: Text | None = key("generic resources in Slurm's words, as gpu:a100:1", None)
    cpus_per_gpu: int | None = key("cores for each GPU; goes with gpus_per_task", None, unit="cores", least=1)
    gpus_per_task: int | None = key("GPUs of each process", None, unit="GPUs", least=1)
    mem_per_gpu: Text | None = key("memory for each GPU, as 16GB", None)
    mem_per_cpu: Text | None = key("memory for each core, as 4GB", None)
    comment: Text | None = key("a comment that Slurm keeps with the jobs", None)
    name: Text = key("name of the jobs in squeue", "speechml")
    setup: list[str] | None = key("lines of shell before the program, as ['module load cuda']", None)
    python: str | None = key("command that starts Python on a node, as 'apptainer exec --nv image.sif python'; null: this "
                             "Python", None)  # fmt: skip
    srun_args: list[Text] | None = key("further words of srun", None)
    additional_parameters: Config | None = key("further lines of the job script, as {reservation: NAME}", {})
    array_parallelism: int | None = key("how many jobs of an array run at a time; fewer leave room for others", 256,
                                        unit="jobs", least=1)  # fmt: skip
    runs_per_job: int = key("how many runs a job computes one after another: more where runs take minutes: Python starts less "
                            "often", 1, unit="runs", least=1)  # fmt: skip
    wait: bool = key("true tells of the runs until all have ended; false returns when they are submitted", True)
    submitit_folder: Path | None = key("scripts and logs of the jobs; null: slurm/logs in the sweep's folder", None)

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        delay_s, limit_s = node["signal_delay_s"], 60 * node["timeout_min"]
        if delay_s >= limit_s:
            raise UserError(
                f"{where}signal_delay_s is {delay_s} and the time limit {limit_s} s: jobs would be told to stop when they begin",
                fix=f"raise {where}timeout_min",
            )
