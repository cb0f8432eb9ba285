"""A sweep that is only planned."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from speechml.config.compose import conf_dir
from speechml.errors import UserError
from speechml.sweep.compose import Composed
from speechml.sweep.planning import Estimate, PlannedRun, combinations, given, plan_table, planned


def plan_report(arguments: list[str]) -> str:
    """The table of a sweep's runs, none of which is computed; see `plan`."""
    runs, retries = plan(arguments)
    estimate = Estimate({Path(run.folder.parent) for run in runs})
    return plan_table(runs, retries, estimate.seconds)


def plan(arguments: list[str]) -> tuple[list[PlannedRun], int]:
    """The runs of a sweep, and how often what failed is launched again.

    Args:
        arguments: what would follow `speechml-train -m`.

    Raises:
        UserError: what the sweep itself would be refused for, or a search, which draws its values as it goes.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    import speechml.config.resolvers  # noqa: F401 (registers them)

    hydra = [word for word in arguments if word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    task = [word for word in arguments if word not in hydra]
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def compose(words: list[str]) -> DictConfig:
            return loader.load_configuration("train", [*hydra, *words], run_mode=RunMode.RUN)

        composed = Composed(compose, lambda key: bool(loader.get_group_options(key)))
        parsed = OverridesParser.create(loader).parse_overrides(task)
        sweeper = compose([str(o.input_line) for o in parsed if not o.is_sweep_override()]).hydra.sweeper
        if "max_retries" not in sweeper or "n_trials" in sweeper:
            raise UserError(
                "a search draws its values as it goes, so there is no plan of it; hydra.sweeper.n_trials says how many runs"
            )
        words, retries = given(sweeper, task)
        return planned(composed, combinations(words, loader)), retries
