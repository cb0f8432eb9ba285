"""From the config of the sweeper to a search, its report, and the run with the best values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, open_dict
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from speechml.config.compose import flatten, resolve_config
from speechml.config.hydra_compat import override_text
from speechml.contracts import Config
from speechml.engine.signals import RESUMABLE
from speechml.errors import UserError, did_you_mean
from speechml.storage.files import make_folder
from speechml.sweep.jobs import Job, Launcher
from speechml.sweep.launchers import OpenLauncher
from speechml.sweep.lock import hold
from speechml.sweep.run_configs import Compose, Composer
from speechml.sweep.search import Plan, search
from speechml.sweep.search_report import SearchReport, best_of, from_here, scores_of
from speechml.sweep.space import Space, as_overrides, read_space
from speechml.sweep.study import new_pruner, new_sampler

ENDS_THAT_FALL = ("loss", "mse", "l1")  # scores of which less is better


def run_search(
    options: Config, config: DictConfig, loader: ConfigLoader, open_launcher: OpenLauncher, arguments: list[str]
) -> float | None:
    """Search, tell, draw, and train once more with the best values where `retrain` says so.

    Args:
        options: keys of conf/hydra/sweeper/optuna.yaml.
        config: Hydra's own config of the sweep.
        loader: Hydra's.
        open_launcher: gives what computes runs.
        arguments: overrides of the command line.

    Returns:
        The best value.

    Raises:
        UserError: options or space that cannot be searched, or every trial failed.
    """
    space = read_space(dict(options["params"] or {}), arguments)
    compose: Compose = partial(loader.load_sweep_config, config)
    first = compose_run(compose, [*space.fixed, *as_overrides(some_point(space))])
    standalone = [
        *space.fixed_without_search(),
        *set_by_file(compose, space, first, list(config.hydra.overrides.hydra)),
    ]
    plan = make_plan(options, config, space, first, standalone)
    again = retraining(options["retrain"])
    if again is not None:
        compose_run(compose, [*space.fixed, *as_overrides(some_point(space)), *again])
    launcher = open_launcher(plan.folder, None, least=plan.n_jobs, most=plan.total)
    make_folder(plan.folder)
    if again is not None:
        words = f" ({' '.join(again)})" if again else ""
        print(
            f"a run with the best values will follow{words}; hydra.sweeper.retrain=null leaves it out", file=sys.stderr
        )
    composer = Composer.of_sweep(loader, config)

    def make_job(overrides: list[str], number: int) -> Job:
        label = " ".join(word for word in overrides if not word.startswith("++callbacks."))
        return composer.job(overrides, number, label)

    try:
        with hold(plan.folder), closing(launcher):
            report = search(plan, launcher, make_job)
            best = _show(report)
            if best is not None and again is not None:
                _retrain(report, launcher, make_job, again)
            print(f"Side by side: speechml tensorboard {Path(str(first.paths.runs)) / plan.experiment}  (HPARAMS)")
            return best
    except (KeyboardInterrupt, SystemExit):  # Lightning makes the one into the other
        print(f"\nstopped; the same command goes on with the search in {plan.folder}", file=sys.stderr)
        sys.exit(RESUMABLE)


def _show(report: SearchReport) -> float | None:
    """Say and draw what was found; the best value."""
    report.show()
    drawings = "".join(f", figures/{path.name}" for path in report.draw())
    print(f"Search: {report.plan.folder} (sweep.json{drawings})")
    best = best_of(report.study)
    return None if best is None else best.value


def compose_run(compose: Compose, overrides: list[str]) -> DictConfig:
    """The config of a run, with what Hydra's own interpolations mean in it.

    Raises:
        UserError: a value is missing, which would be so in every trial.
    """
    found = compose(overrides)
    HydraConfig.instance().set_config(found)
    with open_dict(found):
        del found["hydra"]
    resolve_config(found)
    return found


def retraining(words: object) -> list[str] | None:
    """The overrides of the run after the search.

    Raises:
        UserError: it is no list of overrides.
    """
    if words is None:
        return None
    found = []
    for word in words if isinstance(words, (list, ListConfig)) else [words]:
        if not isinstance(word, str) or "=" not in word:
            raise UserError(f"hydra.sweeper.retrain holds {word}; it is a list of overrides, as in ['seed=7']")
        found.append(word)
    return found


def set_by_file(compose: Compose, space: Space, first: DictConfig, hydra: list[str]) -> list[str]:
    """Overrides for what the file of `hparams_search` sets beside the search itself, so that a run goes without it."""
    fixed = space.fixed_without_search()
    if fixed == space.fixed:
        return []
    # The file chose the sweeper, and the command line may have set keys of it.
    sweeper = [] if any(word.startswith("hydra/sweeper=") for word in hydra) else ["hydra/sweeper=optuna"]
    alone = compose_run(compose, [*sweeper, *fixed, *as_overrides(some_point(space))])
    with_file, without = (flatten(resolve_config(cfg)) for cfg in (first, alone))
    changed = {k: v for k, v in with_file.items() if k != "objective" and (k not in without or without[k] != v)}
    return [f"{'' if k in without else '+'}{k}={override_text(v)}" for k, v in changed.items()]


def some_point(space: Space) -> Config:
    """One value for each key, to see whether a config can be composed with them."""
    return {key: _some(dist) for key, dist in space.searched.items()}


def _some(dist: BaseDistribution) -> object:
    match dist:
        case CategoricalDistribution():
            return dist.choices[0]
        case FloatDistribution() | IntDistribution():
            return dist.low
    raise TypeError(f"{dist} is none of Optuna's distributions")


def make_plan(options: Config, config: DictConfig, space: Space, first: DictConfig, standalone: list[str]) -> Plan:
    """The plan of a search, checked.

    Raises:
        UserError: for what it could not do.
    """
    for key, least in (("n_trials", 1), ("n_jobs", 1), ("executions_per_trial", 1), ("max_retries", 0)):
        if not isinstance(options[key], int) or options[key] < least:
            raise UserError(f"hydra.sweeper.{key} is {options[key]}; it must be a whole number, at least {least}")
    objective = first.objective or first.checkpoint.monitor
    if not str(objective).startswith("val/"):
        raise UserError(f"objective is {objective}; choices are made on the validation part, as in objective=val/loss")
    rises = not str(objective).endswith(ENDS_THAT_FALL) if first.objective else first.checkpoint.mode == "max"
    direction = options["direction"] or ("maximize" if rises else "minimize")
    if direction not in ("minimize", "maximize"):
        near = did_you_mean(str(direction), ("minimize", "maximize"))
        raise UserError(f"hydra.sweeper.direction is {direction}{near or '; it can be minimize or maximize'}")
    new_sampler(str(options["sampler"]), 0, space, options["sampler_options"] or {})
    if options["pruner"] is not None:
        new_pruner(str(options["pruner"]), options["pruner_options"] or {})
    several = options["executions_per_trial"] > 1 and "seed" not in space.searched
    if options["executions_per_trial"] > 1 and not several:
        raise UserError("seed is searched, so executions_per_trial, which sets it, must be 1")
    named = {key: options[key] for key in ("sampler", "pruner", "seed", "n_trials", "n_jobs", "max_retries", "figures")}
    return Plan(
        folder=Path(str(config.hydra.sweep.dir)), experiment=str(first.name), space=space, objective=str(objective),
        standalone=standalone, direction=direction, sampler_options=dict(options["sampler_options"] or {}),
        pruner_options=dict(options["pruner_options"] or {}), executions_per_trial=options["executions_per_trial"],
        run_seed=int(first.seed) if several else None, **named,
    )  # fmt: skip


def _retrain(
    report: SearchReport, launcher: Launcher, make_job: Callable[[list[str], int], Job], overrides: list[str]
) -> None:
    """Train anew with the best values, `overrides` and all figures, and score that."""
    best = best_of(report.study)
    assert best is not None
    words = [*report.plan.space.fixed, *as_overrides(best.params), *overrides]
    print(f"\nTraining with the values of trial {best.number}, from new weights ({' '.join(overrides)}):", flush=True)
    launcher.submit([make_job(words, -1)])
    for _, outcome in launcher.outcomes():
        if outcome.error:
            raise UserError(f"the run after the search failed: {outcome.error}")
        report.after = {
            "retrained": {"run": from_here(outcome.run), "value": outcome.value, "scores": scores_of(outcome.run)}
        }
    report.write("done")
