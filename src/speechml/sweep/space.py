"""What a search tries: Hydra's sweep syntax as Optuna's distributions, and a grid over them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from speechml.config.compose import flatten
from speechml.config.hydra_compat import override_text
from speechml.contracts import Config
from speechml.errors import UserError
from speechml.sweep.run_configs import last_words

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


class Space(NamedTuple):
    """Keys that are searched, in order, and overrides that all trials share."""

    distributions: dict[str, Distribution]
    overrides: list[str]

    def as_json(self) -> Config:
        """The distributions as plain values, as Optuna writes them."""
        return {key: json.loads(distribution_to_json(dist)) for key, dist in self.distributions.items()}

    def overrides_without_search(self) -> list[str]:
        """The shared overrides of a run that is computed alone."""
        return [word for word in self.overrides if not word.lstrip("+").startswith("hparams_search=")]

    def first_point(self) -> list[str]:
        """Overrides with one value for each key, to see whether a config can be composed with them."""
        return as_overrides({
            key: dist.choices[0] if isinstance(dist, CategoricalDistribution) else dist.low
            for key, dist in self.distributions.items()
        })  # fmt: skip


def leaf_above(key: str, leaves: Container[str]) -> str:
    """The key above a dotted key that has a single value; empty where there is none."""
    words = key.split(".")
    return next((place for end in range(1, len(words)) if (place := ".".join(words[:end])) in leaves), "")


def changing_words(before: Config, after: Config) -> list[str]:
    """Overrides that make one config of another, but for its objective."""
    old, words = flatten(before), dict[str, str]()
    for key, value in flatten(after).items():
        if key == "objective" or (key in old and old[key] == value):
            continue
        node: object = value
        if place := leaf_above(key, old):  # a mapping stands where one value was
            key, node = place, after
            for word in place.split("."):
                node = node[word] if isinstance(node, dict) else node
        words[key] = f"{'' if key in old else '+'}{key}={override_text(node)}"
    return list(words.values())


def read_space(params: Mapping[str, object] | None, arguments: Sequence[str]) -> Space:
    """The space of a `hydra.sweeper.params` mapping and of a command line, which has the last word on each key."""
    overrides = list(last_words(params, arguments).values())
    searched = {o.get_key_element(): distribution(o) for o in overrides if o.is_sweep_override()}
    if not searched:
        raise UserError(
            "the search space is empty: add hparams_search=NAME, or ranges as in 'optimizer.lr=tag(log, interval(0.01, 1))'"
        )
    return Space(searched, [str(o.input_line) for o in overrides if not o.is_sweep_override()])


def distribution(override: Override) -> Distribution:
    """Optuna's distribution for one swept override."""
    value = override.value()
    log = "log" in getattr(value, "tags", set())
    try:
        if isinstance(value, ChoiceSweep):
            return CategoricalDistribution([_choice(item) for item in value.list])
        if isinstance(value, IntervalSweep) and value.start is not None and value.end is not None:
            whole = isinstance(value.start, int) and isinstance(value.end, int)  # as in int(interval(1, 8))
            kind = IntDistribution if whole else FloatDistribution
            return kind(value.start, value.end, log=log)  # type: ignore[arg-type]
        if isinstance(value, RangeSweep) and not log:
            steps = list(value.range())
            if steps and all(isinstance(step, int) for step in steps):
                return IntDistribution(min(steps), max(steps), step=abs(int(value.step)))
            return CategoricalDistribution(steps)
    except ValueError as error:
        raise UserError(f"{override.input_line} cannot be searched: {' '.join(str(error).split())}") from error
    raise UserError(
        f"{override.input_line} cannot be searched; write choice(...), range(...), interval(...) or tag(log, interval(...))"
    )


def _choice(item: object) -> bool | int | float | str | None:
    """A choice as Optuna keeps it: a plain value, or what would stand on the command line."""
    return item if item is None or isinstance(item, (bool, int, float)) else override_text(item)


def as_overrides(params: Mapping[str, object]) -> list[str]:
    """Values as overrides of the command line."""
    return [f"{key}={'null' if value is None else value}" for key, value in params.items()]


def grid(space: Space) -> list[Config]:
    """Every combination of a space of choices and ranges."""
    values: list[Sequence[object]] = []
    for key, dist in space.distributions.items():
        if isinstance(dist, CategoricalDistribution):
            values.append(dist.choices)
        elif isinstance(dist, IntDistribution) and not dist.log:
            values.append(range(dist.low, dist.high + 1, dist.step))
        else:
            raise UserError(f"a grid has no end on an interval of {key}; write choice(...) or range(...)")
    return [dict(zip(space.distributions, point, strict=True)) for point in itertools.product(*values)]
