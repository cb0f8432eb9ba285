"""What a sweep of every combination would compute: its runs, and which of them are done already."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from speechml.config.compose import conf_dir
from speechml.errors import UserError
from speechml.runs.card import load_card
from speechml.runs.catalogue import state_of
from speechml.runs.tables import table
from speechml.sweep.run_configs import Composer

# What is done with a run of each state. One that another process has is left to it.
ACTIONS = {"new": "train", "stopped": "go on", "cut off": "go on", "failed": "try again", "damaged": "train"}
Combination = tuple[list[str], dict[str, str]]  # the overrides of a run, and the part of them that is swept


class PlannedRun(NamedTuple):
    """One run of a sweep, and what its folder said when it was planned."""

    overrides: list[str]
    experiment: str
    id: str
    folder: Path
    state: str  # `new` where there is none yet; else as `speechml runs list` calls it
    failures: int
    swept: dict[str, str]
    redo: bool = False  # trained although it is done

    @property
    def label(self) -> str:
        """What tells it from the others."""
        return " ".join(f"{key}={value}" for key, value in self.swept.items()) or " ".join(self.overrides)

    def as_json(self) -> dict[str, object]:
        """What sweep.json keeps of it."""
        return {
            "id": self.id, "folder": str(self.folder.absolute()), "overrides": self.overrides, "swept": self.swept,
        }  # fmt: skip


def plan_report(arguments: list[str]) -> str:
    """The table of a sweep's runs and of what would be done with each; see `plan_sweep`."""
    runs, retries = plan_sweep(arguments)
    rows = [[run.experiment, run.id, run.state, action(run, retries) or "-", run.label] for run in runs]
    header = ["experiment", "id", "state", "to do", "overrides"]
    return f"{table(header, rows, left=range(5))}\n\n{summarize(runs, retries)}"


def plan_sweep(arguments: list[str]) -> tuple[list[PlannedRun], int]:
    """The runs of a sweep, none of which is computed, and how often what failed is launched again.

    Args:
        arguments: what would follow `speechml-train -m`.

    Raises:
        UserError: what the sweep itself would be refused for, or a search, which draws its values as it goes.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    hydra = [word for word in arguments if word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    task = [word for word in arguments if word not in hydra]
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def compose(words: list[str]) -> DictConfig:
            return loader.load_configuration("train", [*hydra, *words], run_mode=RunMode.RUN)

        composer = Composer(compose, lambda key: bool(loader.get_group_options(key)))
        parsed = OverridesParser.create(loader).parse_overrides(task)
        sweeper = compose([str(o.input_line) for o in parsed if not o.is_sweep_override()]).hydra.sweeper
        if "max_retries" not in sweeper or "n_trials" in sweeper:
            raise UserError(
                "a search draws its values as it goes, so there is no plan of it",
                fix="hydra.sweeper.n_trials says how many runs",
            )
        words, retries = grid_options(sweeper, task)
        return plan_runs(composer, combinations(words, loader)), retries


def grid_options(options: Mapping[str, object] | DictConfig, arguments: list[str]) -> tuple[list[str], int]:
    """The overrides of a sweeper's `params` and of a command line, and how often what failed is launched again.

    Raises:
        UserError: options of another kind.
    """
    retries, params = options["max_retries"], options["params"] or {}
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise UserError(f"hydra.sweeper.max_retries is {retries}; it must be a whole number, at least 0")
    if not isinstance(params, Mapping):
        raise UserError(f"hydra.sweeper.params is {params}; it must be a mapping, key: sweep")
    return [*(f"{key}={'null' if text is None else text}" for key, text in params.items()), *arguments], retries


def combinations(arguments: list[str], loader: ConfigLoader | None = None) -> list[Combination]:
    """Every run of a sweep.

    Args:
        arguments: of the command line; the last word on a key counts.
        loader: Hydra's, which knows the config files that `glob` means.

    Raises:
        UserError: an interval has no end of values.
    """
    lists: dict[str, list[str]] = {}
    swept: set[str] = set()
    for override in OverridesParser.create(loader).parse_overrides(arguments):
        key = override.get_key_element()
        bare = key.lstrip("+~")
        for same in [k for k in lists if k.lstrip("+~") == bare]:
            del lists[same]
        swept.discard(bare)
        lists[key] = [str(override.input_line)]
        if override.is_sweep_override():
            lists[key] = [f"{key}={value}" for value in _swept_values(override)]
            swept.add(bare)
    found = []
    for words in itertools.product(*lists.values()):
        parts = (word.partition("=") for word in words)
        found.append((list(words), {k.lstrip("+"): v for k, _, v in parts if k.lstrip("+") in swept}))
    return found


def _swept_values(override: Override) -> Iterator[str]:
    if not override.is_discrete_sweep():
        raise UserError(
            f"{override.input_line}: a plain sweep runs every combination, and an interval has no end of them",
            fix="add hydra/sweeper=optuna to search it",
        )
    return override.sweep_string_iterator()


def plan_runs(composer: Composer, combos: list[Combination]) -> list[PlannedRun]:
    """The runs of a sweep in its order.

    Raises:
        UserError: two combinations are one run.
    """
    if not combos:
        raise UserError("the sweep has no runs: a swept key has no values")
    runs, seen = [], dict[Path, dict[str, str]]()
    for overrides, swept in combos:
        run = composer.run(overrides)
        if run.runs in ("None", ""):
            raise UserError("paths.runs is empty; it must be a folder")
        if run.folder in seen:
            raise UserError(_one_run(seen[run.folder], swept, run.folder, len(combos)))
        seen[run.folder] = swept
        runs.append(PlannedRun(overrides, run.experiment, run.id, run.folder, *condition(run.folder), swept, run.redo))
    return runs


def _one_run(one: dict[str, str], other: dict[str, str], folder: Path, count: int) -> str:
    differing = [key for key in other if one.get(key) != other[key]]
    if not differing:
        return f"the sweep has {' '.join(f'{k}={v}' for k, v in one.items())} twice; they would be one run, {folder}"
    values = " and ".join(f"{key}={way[key]}" for key in differing for way in (one, other))
    several = f"of the {count} combinations several" if count > 2 else "the two"
    return f"{values} make no difference to a result: {several} would be one run, {folder}; leave one value of it"


def condition(folder: Path) -> tuple[str, int]:
    """The state of a run, `new` where it has no card, and how often in a row it has failed."""
    try:
        card = load_card(folder)
        return ("new", 0) if card is None else (state_of(folder, card), card.failures)
    except UserError:
        return "damaged", 0


def action(run: PlannedRun, max_retries: int) -> str:
    """What is to be done with a run, or nothing, as when it is done, being trained, or has failed too often."""
    if run.redo and run.state != "running":
        return "train"
    if run.state == "failed" and run.failures > max_retries:
        return ""
    return ACTIONS.get(run.state, "")


def summarize(runs: list[PlannedRun], max_retries: int) -> str:
    """One line on what is there and what there is to do."""
    titles = {
        "": "done already", "train": "to train", "go on": "to go on with", "try again": "failed, to be tried again",
        "running": "being trained by another process", "failed": "failed too often",
    }  # fmt: skip
    what = [action(run, max_retries) or (run.state if run.state in titles else "") for run in runs]
    counts = Counter(what)
    return f"{len(runs)} run{'s' * (len(runs) != 1)}: " + ", ".join(
        f"{counts[k]} {title}" for k, title in titles.items() if counts[k]
    )
