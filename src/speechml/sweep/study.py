"""A study on disk: a journal of trials in the sweep's folder, continued where it was cut off."""

from __future__ import annotations

import hashlib
import inspect
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from speechml.contracts import Config
from speechml.errors import UserError, did_you_mean
from speechml.sweep.optuna_compat import resume_trial
from speechml.sweep.space import Space, grid

JOURNAL = "journal.log"
NAME = "sweep"
SHORT = {"random": "RandomSampler", "tpe": "TPESampler", "grid": "grid", "median": "MedianPruner"}
REFUSED = {
    "CmaEsSampler": "it keeps pickled objects in the study",
    "BruteForceSampler": "choose grid, which tries every combination as well",
    "GridSampler": "choose grid",
}


def storage(folder: Path) -> JournalStorage:
    """The journal of a sweep's folder.

    Raises:
        UserError: it is damaged.
    """
    path = folder / JOURNAL
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, IndexError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}); move {folder} away to search anew") from error
    except OSError as error:
        raise UserError(f"{path} cannot be used ({error.strerror}); mend that, or move {folder} away") from error


def repair_journal(folder: Path) -> None:
    """After a kill, take away a last line that was cut short, and Optuna's own lock.

    Only for who holds the folder: nobody else is writing.
    """
    path = folder / JOURNAL
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if path.is_file() and not path.is_symlink():
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            part = path.with_name(f".{JOURNAL}.part")
            part.write_bytes(content[: content.rfind(b"\n") + 1])
            part.replace(path)


def open_study(folder: Path, space: Space, direction: str, about: Mapping[str, object]) -> optuna.Study:
    """The study of a sweep's folder, new or continued.

    Args:
        folder: held by the caller.
        space: what is searched.
        direction: minimize or maximize.
        about: what else all trials must share (plain values).

    Raises:
        UserError: the study there is of another space or command, or damaged.
    """
    repair_journal(folder)
    kept = storage(folder)
    wanted = {
        "space": space.as_json(),
        "fixed": sorted(space.fixed),
        "direction": direction,
        **about,
    }
    silence_optuna()
    try:
        study = optuna.create_study(
            study_name=NAME, storage=kept, direction=StudyDirection[direction.upper()], load_if_exists=True
        )
        if not study.user_attrs and not study.get_trials(deepcopy=False):
            study.set_user_attr("about", wanted)
        found = study.user_attrs.get("about")
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, IndexError) as error:
        raise UserError(
            f"{folder / JOURNAL} is damaged ({type(error).__name__}); move {folder} away to search anew"
        ) from error
    if found != wanted:
        other = ", ".join(key for key in wanted if (found or {}).get(key) != wanted[key])
        raise UserError(
            f"the study in {folder} is of another search ({other}); name another folder with hydra.sweep.dir=FOLDER, or move it"
        )
    return study


def silence_optuna() -> None:
    """Keep Optuna's own lines off the terminal; ours say the same."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def by_name(module: ModuleType, name: str, what: str) -> type:
    """A sampler's or pruner's class.

    Raises:
        UserError: there is none of that name.
    """
    names = [n for n in dir(module) if n.endswith(what) and not n.startswith(("_", "Base"))]
    full = SHORT.get(name, name)
    if full not in names:
        raise UserError(
            f"hydra.sweeper.{what.lower()}={name} is none of Optuna's{did_you_mean(name, [*SHORT, *names])}"
        )
    found: type = getattr(module, full)
    return found


class Grid(BaseSampler):
    """Each new trial gets the next point of the grid, also in a study that is continued."""

    def __init__(self, points: list[Config]) -> None:
        self.points = points

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]  # noqa: ARG002
    ) -> Config:  # fmt: skip
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution  # noqa: ARG002
    ) -> object:  # fmt: skip
        before = study.get_trials(deepcopy=False)[: trial.number]
        return self.points[sum("retry_of" not in t.user_attrs for t in before)][param_name]


def new_sampler(name: str, seed: int, space: Space, options: Mapping[str, object], *where: int | str) -> BaseSampler:
    """The sampler for one draw, seeded by `where` it is made (trial and key): a continued study repeats no other draw.

    Raises:
        UserError: no such sampler, options that it does not take, or one that cannot be used.
    """
    if name == "grid":
        return Grid(grid(space))
    if name in REFUSED:
        raise UserError(f"hydra.sweeper.sampler={name} is refused: {REFUSED[name]}")
    cls = by_name(optuna.samplers, name, "Sampler")
    own = int.from_bytes(hashlib.blake2b(repr((seed, *where)).encode(), digest_size=4).digest(), "little")
    seeded = {"seed": own} if "seed" in inspect.signature(cls).parameters else {}
    try:
        built: BaseSampler = cls(**seeded, **options)
    except (TypeError, ValueError, ImportError) as error:
        raise UserError(f"hydra.sweeper.sampler={name}: {' '.join(str(error).split())}") from error
    return built


def new_pruner(name: str, options: Mapping[str, object]) -> BasePruner:
    """What decides whether a run is stopped early.

    Raises:
        UserError: no such pruner, or options that it does not take.
    """
    try:
        built: BasePruner = by_name(optuna.pruners, name, "Pruner")(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"hydra.sweeper.pruner={name}: {' '.join(str(error).split())}") from error
    return built


def ask(study: optuna.Study, space: Space, sampler_for: Callable[..., BaseSampler], number: int | None = None) -> Trial:
    """A new trial with a value for every key, or one that was cut off, with those that it lacks.

    Args:
        sampler_for: gives a sampler for a trial's number and a key.
        number: of the trial that was cut off; None: the next that waits, or a new one.
    """
    trials = study.get_trials(deepcopy=False)
    waiting = [t.number for t in trials if t.state == TrialState.WAITING]
    own = number if number is not None else waiting[0] if waiting else len(trials)
    study.sampler = sampler_for(own)
    trial = study.ask() if number is None else resume_trial(study, number)
    for key, dist in space.searched.items():
        study.sampler = sampler_for(own, key)
        suggest(trial, key, dist)
    return trial


def suggest(trial: Trial, key: str, dist: BaseDistribution) -> None:
    """Draw a value, unless the trial has one."""
    if isinstance(dist, FloatDistribution):
        trial.suggest_float(key, dist.low, dist.high, step=dist.step, log=dist.log)
    elif isinstance(dist, IntDistribution):
        trial.suggest_int(key, dist.low, dist.high, step=dist.step, log=dist.log)
    elif isinstance(dist, CategoricalDistribution):
        trial.suggest_categorical(key, dist.choices)


def unfinished(study: optuna.Study) -> list[int | None]:
    """Numbers of the trials that were being computed when the search was cut off; None for each that has yet to be asked for."""
    trials = study.get_trials(deepcopy=False)
    cut: list[int | None] = [trial.number for trial in trials if trial.state == TrialState.RUNNING]
    return cut + [None for trial in trials if trial.state == TrialState.WAITING]


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials with an end: complete, pruned, or failed and not begun anew."""
    anew = replaced(study)
    return [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and t.number not in anew]


def replaced(study: optuna.Study) -> set[int]:
    """Numbers of the failed trials that a later one tries again with the same values."""
    return {t.user_attrs["retry_of"] for t in study.get_trials(deepcopy=False) if "retry_of" in t.user_attrs}


def try_again(study: optuna.Study) -> None:
    """Give each trial that failed by accident, in a search that has ended since, a successor with the same values."""
    for trial in finished(study):
        if trial.state == TrialState.FAIL and trial.user_attrs.get("accident"):
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})


def archive(folder: Path) -> None:
    """Put a journal in which every trial failed out of the way."""
    (folder / JOURNAL).replace(folder / f"{JOURNAL}.{time.strftime('%Y%m%d-%H%M%S')}.{os.getpid()}")
