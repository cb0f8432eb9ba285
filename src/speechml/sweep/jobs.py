"""A run as a job: its composed config as plain values, which any process computes without replaying a command line."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from speechml.config.compose import flatten, plain
from speechml.contracts import Config
from speechml.errors import (
    FolderBusy,
    MachineError,
    Pruned,
    UnknownScore,
    UnusableData,
    UserError,
    echo,
    explain_missing_extras,
    machine_failure,
)
from speechml.runs.card import load_card
from speechml.runs.catalogue import state_of
from speechml.runs.folder import missing_files

# What a job knows of Hydra's own config.
KEPT = (
    "mode", "sweep.dir", "job.name", "job.num", "job.config_name", "overrides.task", "runtime.choices", "runtime.cwd", "sweeper",
)  # fmt: skip
BUSY_S = 1.0  # between two tries at a run that another process is computing


@dataclass(frozen=True)
class Job:
    """One run that somebody is to compute; JSON holds it as it is.

    Attributes:
        number: of the run in its sweep.
        config: its composed config and Hydra's part of it, as plain values (`dump_job`).
        label: what tells it from the others, as "optimizer.lr=0.1 seed=2".
        folder: of the run, absolute.
    """

    number: int
    config: Config
    label: str
    folder: str


@dataclass(frozen=True)
class Outcome:
    """What became of one run: its value, or why there is none.

    Attributes:
        value: of the objective.
        run: folder of the run.
        error: why there is no value, one line.
        may_retry: whether trying again may help.
        is_busy: whether another process is computing the run.
        is_pruned: whether the search stopped it early.
        affects_all: "data" or "objective", where it would be so for every run that does not change them.
        stopped_by: the signal that stopped it.
        is_scoreless: whether it came to its end, but has no score to choose by.
    """

    value: float | None = None
    run: str = ""
    error: str = ""
    may_retry: bool = False
    is_busy: bool = False
    is_pruned: bool = False
    affects_all: str = ""
    stopped_by: str = ""
    is_scoreless: bool = False

    @property
    def failure(self) -> str:
        """Why the run has not come to its end; empty where it has."""
        return "" if self.is_scoreless else self.error


class Launcher(Protocol):
    """Whoever computes runs: this process, or processes of this machine or jobs of a cluster, which start
    `python -m speechml.worker`.

    Attributes:
        capacity: runs that are computed at a time.
        together: whether they had better be given all at once.
    """

    capacity: int
    together: bool

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have runs computed as soon as there is room. Raises UserError where none can be."""

    def outcomes(self) -> Iterator[tuple[Job, Outcome]]:
        """Give each submitted run with what became of it, as they end, until all have; meanwhile others may be submitted."""

    def close(self) -> None:
        """End the processes that compute here, which save their runs first; jobs of a cluster go on."""


def dump_job(cfg: DictConfig, number: int, label: str, folder: Path, config: Config | None = None) -> Job:
    """A run as plain values. Hydra has composed it, and made it known.

    Args:
        cfg: with Hydra's own part.
        config: the run's own part as plain values, interpolations kept: its id depends on them; None: it is taken out.
    """
    hydra: Config = {}
    for key in KEPT:
        value = OmegaConf.select(cfg.hydra, key)
        hydra[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    hydra |= {"mode": "MULTIRUN", "job.num": number, "sweep.dir": str(Path(str(cfg.hydra.sweep.dir)).absolute())}
    if config is None:
        config = plain(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    # Where the runs are is decided here, where the cache is on the machine that computes: it may be a disk of its own.
    config["paths"]["runs"] = str(Path(str(cfg.paths.runs)).absolute())
    return Job(number, {"config": config, "hydra": hydra, "command": sys.argv}, label, str(folder.absolute()))


def load_job(job: Job) -> DictConfig:
    """The config of a job, with Hydra's part and the command made known to the process: a run's card has it."""
    from hydra.conf import HydraConf
    from hydra.core.utils import setup_globals

    sys.argv = list(job.config["command"])
    setup_globals()  # what `${hydra:...}` means
    whole = OmegaConf.create({"hydra": HydraConf()})
    with open_dict(whole):
        for key, value in job.config["hydra"].items():
            OmegaConf.update(whole.hydra, key, value, merge=False, force_add=True)
    HydraConfig.instance().set_config(whole)
    cfg = DictConfig(job.config["config"])
    OmegaConf.set_struct(cfg, True)
    return cfg


class JobConfigs:
    """Loads jobs as `load_job` does; of a sweep they differ by a few values, and making each anew takes longer."""

    def __init__(self) -> None:
        self.last: tuple[Config, Config] | None = None  # Hydra's part and the run's own, the latter flat
        self.hydra = self.cfg = DictConfig({})

    def load(self, job: Job) -> DictConfig:
        """The config of a job, valid until the next is asked for."""
        known, own = job.config["hydra"], flatten(job.config["config"])
        if self.last is None or (self.last[0].keys(), self.last[1].keys()) != (known.keys(), own.keys()):
            self.cfg = load_job(job)
            self.hydra = HydraConfig.instance().cfg  # type: ignore[assignment] # of the job
        else:
            OmegaConf.set_readonly(self.hydra.hydra, False)
            _set_changed(self.hydra.hydra, self.last[0], known)
            _set_changed(self.cfg, self.last[1], own)
            HydraConfig.instance().set_config(self.hydra)
        self.last = known, own
        return self.cfg


def _set_changed(cfg: DictConfig, before: Config, values: Config) -> None:
    """Set those of some values, by dotted keys, that are not as before."""
    with open_dict(cfg):
        for key, value in values.items():
            if type(before[key]) is not type(value) or before[key] != value:
                OmegaConf.update(cfg, key, value, merge=False, force_add=True)


def compute(job: Job) -> Outcome:
    """Train and test the run of a job in this process. Raises Stopped where a signal stops it."""
    from speechml.sweep.training import train_checked

    before = HydraConfig.instance().cfg
    try:
        with explain_missing_extras():
            value = train_checked(load_job(job), job.config["hydra"])
    except Exception as error:  # whatever it is, it ends this run alone
        error = machine_failure(error) or error if not isinstance(error, (UserError, Pruned)) else error
        if not isinstance(error, (UserError, Pruned)):
            traceback.print_exc()
        return describe_error(error, job.folder)
    finally:
        HydraConfig.instance().cfg = before
    return outcome_of_value(value, job.folder)


def outcome_of_value(value: float | None, run: str) -> Outcome:
    """The outcome of a run that came to its end."""
    if value is not None and math.isfinite(value):
        return Outcome(float(value), run)
    return Outcome(run=run, error=f"its score is {'absent' if value is None else value}", is_scoreless=True)


def compute_when_free(job: Job) -> Outcome:
    """`compute`, after any other process that computes the same run: soon it is done."""
    while (outcome := compute(job)).is_busy:
        time.sleep(BUSY_S)
    return outcome


def describe_error(error: Exception, run: str) -> Outcome:
    """The outcome of a run that ended with an exception."""
    text = " ".join(str(error).split()) or type(error).__name__
    is_busy, is_told = isinstance(error, FolderBusy), isinstance(error, (UserError, Pruned))
    may_retry = not is_told or isinstance(error, (FolderBusy, MachineError))
    affects = "objective" if isinstance(error, UnknownScore) else "data" if isinstance(error, UnusableData) else ""
    return Outcome(
        run=run, error=text if is_told else f"{type(error).__name__}: {text}", is_pruned=isinstance(error, Pruned),
        may_retry=may_retry, is_busy=is_busy, affects_all=affects,
    )  # fmt: skip


def lost_outcome(folder: str, why: str, job: Job | None = None) -> Outcome:
    """The outcome of a run whose process has ended without a word: its card tells what there is.

    Args:
        folder: of the run.
        why: what is known of the end of the process.
        job: where it is known; what is trained anew was done before.
    """
    state = condition(Path(folder))[0]
    if state == "stopped":
        return Outcome(run=folder, error="stopped", may_retry=True, stopped_by="a signal")
    if (outcome := done_outcome(folder, job)) is None:
        return Outcome(run=folder, error=why, may_retry=True)
    lost = "; its page or files are incomplete, and the same command writes what is missing" * (state == "incomplete")
    echo(f"note: {folder} is done, but {why}{lost}", file=sys.stderr, flush=True)
    return outcome


def done_outcome(folder: str, job: Job | None = None) -> Outcome | None:
    """What a run came to by its card; None where it is not done, or was done before and is to be trained anew.

    Args:
        folder: of the run.
        job: that computed it; without it the score to choose by is not known.
    """
    config = OmegaConf.create(job.config.get("config", {}) if job else {})
    if condition(Path(folder))[0] not in ("done", "incomplete") or config.get("redo"):
        return None
    card, monitor = load_card(Path(folder)), OmegaConf.select(config, "checkpoint.monitor")
    if card is None or monitor is None:
        return Outcome(run=folder, error="its score is not known", is_scoreless=True)
    try:
        return outcome_of_value(card.objective_value(OmegaConf.select(config, "objective"), monitor), folder)
    except UnknownScore as error:
        return describe_error(error, folder)


def condition(folder: Path) -> tuple[str, int]:
    """The state of a run, and how often in a row it has failed.

    The state is `new` where there is no card, and `incomplete` where it is done, but its page or a file is missing.
    """
    try:
        if (card := load_card(folder)) is None:
            return "new", 0
        state = state_of(folder, card)
        is_incomplete = state == "done" and missing_files(folder, card)
        return "incomplete" if is_incomplete else state, card.failures
    except UserError:
        return "damaged", 0
