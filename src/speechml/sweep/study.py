"""A study on disk: a journal of trials in the sweep's folder, continued where it was cut off."""

from __future__ import annotations

import hashlib
import inspect
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from speechml.config.train_config import check_score_keys
from speechml.contracts import HIGHER_IS_BETTER, Config
from speechml.errors import UserError, did_you_mean
from speechml.metrics import sense_of
from speechml.sweep.optuna_compat import resume_trial
from speechml.sweep.schema import OptunaSweeper
from speechml.sweep.space import Distribution, Space, grid
from speechml.sweep.sweep_command import JOURNAL

Built = TypeVar("Built")
NAME = "sweep"
SHORT = {"random": "RandomSampler", "tpe": "TPESampler", "grid": "grid", "median": "MedianPruner"}
REFUSED = {
    "CmaEsSampler": "it keeps pickled objects in the study",
    "BruteForceSampler": "choose grid, which tries every combination as well",
    "GridSampler": "choose grid",
}


@contextmanager
def _translate_damage(folder: Path) -> Iterator[None]:
    """Inside, what Optuna makes of a journal that it cannot read is one sentence."""
    path = folder / JOURNAL
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be used ({error.strerror}); mend that, or move {folder} away") from error
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, IndexError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}); move {folder} away to search anew") from error


def storage(folder: Path) -> JournalStorage:
    """The journal of a sweep's folder. Raises UserError where it is damaged."""
    with _translate_damage(folder):
        return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


def repair_journal(folder: Path) -> None:
    """After a kill, take away a last line that was cut short; only for who holds the folder."""
    path = folder / JOURNAL
    if path.is_file() and not path.is_symlink():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def choose_direction(config: Config, direction: str | None) -> tuple[str, str]:
    """The score that a search of runs of a config goes by, and whether to minimize or maximize it: its sense says so.

    Raises:
        UserError: it is no validation score, `direction` is against its sense, or neither is known.
    """
    check_score_keys(config, sense_of)
    monitor, mode = (config["checkpoint"][key] for key in ("monitor", "mode"))
    objective = str(config["objective"] or monitor)
    more = sense_of(config, objective)
    if more is None and mode and objective == monitor:
        more = mode == "max"
    if more is None and direction is None:
        what = f"objective is {objective}, of which it is not known whether more is better"
        known = ", ".join(f"val/{name}" for name in HIGHER_IS_BETTER)
        raise UserError(what, fix=f"set hydra.sweeper.direction to minimize or maximize, or choose one of {known}")
    own = direction if more is None else "maximize" if more else "minimize"
    if direction not in (None, own):
        what = f"hydra.sweeper.direction is {direction}, and {'more' if more else 'less'} of {objective} is better"
        raise UserError(what, fix="leave it out")
    return objective, str(own)


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
    wanted = {"space": space.as_json(), "fixed": sorted(space.overrides), "direction": direction, **about}
    silence_optuna()
    kept = storage(folder)
    with _translate_damage(folder):
        study = optuna.create_study(
            study_name=NAME, storage=kept, direction=StudyDirection[direction.upper()], load_if_exists=True
        )
        if not study.user_attrs and not study.get_trials(deepcopy=False):
            study.set_user_attr("about", wanted)
        there = study.user_attrs.get("about") or {}
    if there != wanted:
        other = ", ".join(key for key in wanted if there.get(key) != wanted[key])
        raise UserError(
            f"the study in {folder} is of another search ({other}); name another folder with hydra.sweep.dir=FOLDER, or move it"
        )
    return study


def silence_optuna() -> None:
    """Keep Optuna's own lines off the terminal; ours say the same."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _class_of(module: ModuleType, name: str, kind: str) -> type:
    """A class of Optuna's by its name, or our short one for it."""
    names = [n for n in dir(module) if n.endswith(kind) and not n.startswith(("_", "Base"))]
    if (full := SHORT.get(name, name)) not in names:
        near = did_you_mean(name, [*SHORT, *names])
        raise UserError(f"hydra.sweeper.{kind.lower()}={name} is none of Optuna's{near}")
    found: type = getattr(module, full)
    return found


def _build(cls: type[Built], where: str, options: Config) -> Built:
    try:
        return cls(**options)
    except (TypeError, ValueError, ImportError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error


def new_sampler(options: OptunaSweeper, *where: int | str) -> BaseSampler:
    """The sampler for one draw, seeded by `where` it is made (trial and key): a continued study repeats no other draw."""
    name = options.sampler
    if name == "grid":  # whose points wait in the study: nothing is drawn
        return optuna.samplers.RandomSampler()
    if name in REFUSED:
        raise UserError(f"hydra.sweeper.sampler={name} is refused: {REFUSED[name]}")
    if "seed" in (options.sampler_options or {}):  # all draws would be alike
        raise UserError("hydra.sweeper.sampler_options has a seed", fix="set hydra.sweeper.seed")
    cls: type[BaseSampler] = _class_of(optuna.samplers, name, "Sampler")
    own = int.from_bytes(hashlib.blake2b(repr((options.seed, *where)).encode(), digest_size=4).digest(), "little")
    seeded = {"seed": own} if "seed" in inspect.signature(cls).parameters else {}
    return _build(cls, f"hydra.sweeper.sampler={name}", {**seeded, **(options.sampler_options or {})})


def new_pruner(name: str, options: Config) -> BasePruner:
    """What decides whether a run is stopped early."""
    cls: type[BasePruner] = _class_of(optuna.pruners, name, "Pruner")
    return _build(cls, f"hydra.sweeper.pruner={name}", options)


def ask(study: optuna.Study, space: Space, options: OptunaSweeper, number: int | None = None) -> Trial:
    """A new trial with a value for every key, or one that was cut off, with those that it lacks.

    Args:
        number: of the trial that was cut off; None: the next that waits, or a new one.
    """
    trials = study.get_trials(deepcopy=False)
    waiting = [t.number for t in trials if t.state == TrialState.WAITING]
    if number is None and not waiting and options.sampler == "grid":
        study.enqueue_trial(grid(space)[len(trials) - len(replaced_trials(study))])
    own = number if number is not None else waiting[0] if waiting else len(trials)
    study.sampler = new_sampler(options, own)
    trial = study.ask() if number is None else resume_trial(study, number)
    for key, dist in space.distributions.items():
        study.sampler = new_sampler(options, own, key)
        _suggest(trial, key, dist)
    return trial


def _suggest(trial: Trial, key: str, dist: Distribution) -> None:
    """Draw a value, unless the trial has one."""
    if isinstance(dist, FloatDistribution):
        trial.suggest_float(key, dist.low, dist.high, step=dist.step, log=dist.log)
    elif isinstance(dist, IntDistribution):
        trial.suggest_int(key, dist.low, dist.high, step=dist.step, log=dist.log)
    else:
        trial.suggest_categorical(key, dist.choices)


def unfinished_trials(study: optuna.Study) -> list[int | None]:
    """Numbers of the trials that were being computed when the search was cut off; None for each that has yet to be asked for."""
    states = {trial.number: trial.state for trial in study.get_trials(deepcopy=False)}
    cut: list[int | None] = [number for number, state in states.items() if state == TrialState.RUNNING]
    return cut + [None] * list(states.values()).count(TrialState.WAITING)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials with an end: complete, pruned, or failed and not begun anew."""
    anew = replaced_trials(study)
    return [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and t.number not in anew]


def replaced_trials(study: optuna.Study) -> set[int]:
    """Numbers of the failed trials that a later one tries again with the same values."""
    return {t.user_attrs["retry_of"] for t in study.get_trials(deepcopy=False) if "retry_of" in t.user_attrs}


def try_again(study: optuna.Study) -> None:
    """Give each trial that failed by accident, in a search that has ended since, a successor with the same values."""
    for trial in finished_trials(study):
        if trial.state == TrialState.FAIL and trial.user_attrs.get("accident"):
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})


def archive(folder: Path) -> None:
    """Put a journal in which every trial failed out of the way."""
    (folder / JOURNAL).replace(folder / f"{JOURNAL}.{time.strftime('%Y%m%d-%H%M%S')}.{os.getpid()}")
