"""From the config of the sweeper to a search, its report, and the run with the best values."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from optuna.distributions import BaseDistribution, CategoricalDistribution

from speechml.config.compose import flatten, resolve_config
from speechml.config.schema import did_you_mean
from speechml.engine.signals import RESUMABLE
from speechml.errors import UserError
from speechml.storage.files import make_folder
from speechml.sweep.lock import held
from speechml.sweep.report import SearchReport, best_of, scores_of
from speechml.sweep.search import Plan, search
from speechml.sweep.space import Space, as_overrides, read_space
from speechml.sweep.study import pruner, sampler
from speechml.sweep.workers import one_by_one

ENDS_THAT_FALL = ("loss", "mse", "l1")  # scores of which less is better


def sweep(options: dict[str, Any], config: Any, launcher: Any, context: Any, arguments: list[str]) -> float | None:
    """Search, tell, draw, and train once more with the best values where `retrain` says so.

    Args:
        options: keys of conf/hydra/sweeper/optuna.yaml.
        config: Hydra's own config of the sweep.
        launcher, context: Hydra's.
        arguments: overrides of the command line.

    Returns:
        The best value.

    Raises:
        UserError: options or space that cannot be searched, or every trial failed.
    """
    params: Any = OmegaConf.to_container(OmegaConf.create(options["params"] or {}))
    space = read_space(params, arguments)
    compose = partial(context.config_loader.load_sweep_config, config)
    first = composed(compose, [*space.fixed, *as_overrides(some_point(space))])
    hydra = list(config.hydra.overrides.hydra)
    standalone = [*space.fixed_without_search(), *set_by_file(compose, space, first, hydra)]
    plan = planned(options, config, space, first, standalone)
    again = retraining(options["retrain"])
    if again is not None:
        composed(compose, [*space.fixed, *as_overrides(some_point(space)), *again])
    gpus: list[str] = []
    if hasattr(launcher, "alone"):
        launcher, count, gpus = launcher.alone()
        plan = plan._replace(n_jobs=max(plan.n_jobs, count))
    make_folder(plan.folder)
    if again is not None:
        told = f" ({' '.join(again)})" if again else ""
        print(
            f"a run with the best values will follow{told}; hydra.sweeper.retrain=null leaves it out", file=sys.stderr
        )
    try:
        with held(plan.folder):
            record = search(plan, launcher.launch, alone=type(launcher).__name__ == "BasicLauncher", gpus=gpus)
            return _told(record, launcher, again, Path(str(first.paths.runs)) / plan.experiment)
    except (KeyboardInterrupt, SystemExit):  # Lightning makes the one into the other
        print(f"\nstopped; the same command goes on with the search in {plan.folder}", file=sys.stderr)
        sys.exit(RESUMABLE)


def _told(record: SearchReport, launcher: Any, again: list[str] | None, runs: Path) -> float | None:
    """Say and draw what was found, train once more, and give the best value."""
    record.tell()
    figures = record.draw()
    best = best_of(record.study)
    if best is not None and again is not None:
        _retrain(record, launcher, again)
    drawings = "".join(f", figures/{path.name}" for path in figures)
    print(f"Search: {record.plan.folder} (sweep.json{drawings})")
    print(f"Side by side: speechml tensorboard {runs}  (HPARAMS)")
    return None if best is None else best.value


def composed(compose: Any, overrides: list[str]) -> Any:
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


def retraining(given: Any) -> list[str] | None:
    """The overrides of the run after the search.

    Raises:
        UserError: it is no list of overrides.
    """
    if given is None:
        return None
    words = list(given) if isinstance(given, (list, ListConfig)) else [given]
    for word in words:
        if not isinstance(word, str) or "=" not in word:
            raise UserError(f"hydra.sweeper.retrain holds {word}; it is a list of overrides, as in ['seed=7']")
    return words


def set_by_file(compose: Any, space: Space, first: Any, hydra: list[str]) -> list[str]:
    """Overrides for what the file of `hparams_search` sets beside the search itself, so that a run goes without it."""
    fixed = space.fixed_without_search()
    if fixed == space.fixed:
        return []
    # The file chose the sweeper, and the command line may have set keys of it.
    sweeper = [] if any(word.startswith("hydra/sweeper=") for word in hydra) else ["hydra/sweeper=optuna"]
    alone = composed(compose, [*sweeper, *fixed, *as_overrides(some_point(space))])
    with_file, without = (flatten(resolve_config(cfg)) for cfg in (first, alone))
    changed = {k: v for k, v in with_file.items() if k != "objective" and (k not in without or without[k] != v)}
    return [f"{'' if k in without else '+'}{k}={Override._get_value_element_as_str(v)}" for k, v in changed.items()]


def some_point(space: Space) -> dict[str, Any]:
    """One value for each key, to see whether a config can be composed with them."""
    return {key: _some(dist) for key, dist in space.searched.items()}


def _some(dist: BaseDistribution) -> Any:
    return dist.choices[0] if isinstance(dist, CategoricalDistribution) else dist.low  # type: ignore[attr-defined]


def planned(
    options: dict[str, Any], config: DictConfig, space: Space, first: DictConfig, standalone: list[str]
) -> Plan:
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
    sampler(str(options["sampler"]), 0, space, options["sampler_options"] or {})
    if options["pruner"] is not None:
        pruner(str(options["pruner"]), options["pruner_options"] or {})
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


def _retrain(record: SearchReport, launcher: Any, overrides: list[str]) -> None:
    """Train anew with the best values, `overrides` and all figures, and score that."""
    best = best_of(record.study)
    assert best is not None
    job = [*record.plan.space.fixed, *as_overrides(best.params), *overrides]
    print(f"\nTraining with the values of trial {best.number}, from new weights ({' '.join(overrides)}):", flush=True)
    found = one_by_one(launcher.launch, -1, [job])[0]
    if found.error:
        raise UserError(f"the run after the search failed: {found.error}")
    record.after = {"retrained": {"run": found.run, "value": found.value, "scores": scores_of(found.run)}}
    record.write("done")
