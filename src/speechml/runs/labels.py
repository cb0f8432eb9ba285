"""The settings by which runs of an experiment differ, and short names made of them. Nothing heavy is imported."""

from __future__ import annotations

import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import yaml

from speechml.config.compose import flatten
from speechml.contracts import Config
from speechml.errors import UserError, printable, reason
from speechml.runs.card import DAMAGE, RunCard, load_card
from speechml.runs.identity import keys_without_effect, overridden_keys, setting_value, without_later_keys
from speechml.storage.plain_files import check_tree, read_plain

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first needs libyaml, which not every build has
LONGEST = 120  # letters of a name
LARGEST = 1_000_000  # bytes of a config, and
DEEPEST = 2_000  # brackets in it, or signs that nest before a line's words: libyaml falls over a hundred thousand
NESTING = re.compile(rf"^[\s?:-]{{{DEEPEST}}}", re.MULTILINE)


def load_config(folder: Path) -> Config:
    """The config of a run, read ten times faster than OmegaConf does.

    Raises:
        UserError: it is not there, or is none.
    """
    path = folder / "config.yaml"
    try:
        text = read_plain(folder, path.name, LARGEST).decode()
        if text.count("[") + text.count("{") > DEEPEST or NESTING.search(text):
            raise ValueError("it is no config of a run")
        return {str(key): value for key, value in dict(_parse(text)).items()}
    except (OSError, yaml.YAMLError, *DAMAGE) as error:
        raise UserError(f"{path} cannot be read", reason(error), "train the run again") from error


def _parse(text: str) -> Config:
    """The content of a YAML text without aliases, with which a small one can stand for an endless one."""
    loader = LOADER(text)
    try:
        if root := loader.get_single_node():
            check_tree(root, _inner_nodes)
        content: Config = loader.construct_document(root)
        return content
    finally:
        loader.dispose()


def _inner_nodes(node: yaml.Node) -> list[yaml.Node]:
    """The lists and mappings in one."""
    items = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
    return [item for item in items if isinstance(item, yaml.CollectionNode)]


def result_settings(config: Config) -> Config:
    """The dotted keys of a config that can change a result, without the seed."""
    without = tuple(
        f"{key}." for key in (*keys_without_effect(config), "seed", "data.seed", "model.seed", "data.cache")
    )
    settings = flatten(without_later_keys(config))
    return {key: value for key, value in settings.items() if not f"{key}.".startswith(without)}


class LabelledRun(NamedTuple):
    """A run as it is shown beside others."""

    folder: Path
    settings: Config  # by which it may differ from them
    card: RunCard


class _Run(NamedTuple):
    folder: Path
    card: RunCard
    config: Config
    overrides: dict[str, str]

    def values(self, keys: Iterable[str]) -> Config:
        values = {key: setting_value(self.config, key, self.overrides.get(key)) for key in keys}
        return {key: value for key, value in values.items() if value is not None}


def label_runs(folders: Iterable[Path]) -> dict[str, LabelledRun]:
    """Runs by names that say how they differ from the others of their experiment, as `lr=0.2 seed=1`.

    Where there are several experiments, theirs stands before it, as `lab2a_fir/lr=0.2 seed=1`. Runs that cannot be read
    are left out.
    """
    groups: dict[str, list[_Run]] = defaultdict(list)
    for folder in folders:
        with contextlib.suppress(UserError):
            if card := load_card(folder):
                config = load_config(folder)
                name = printable(card.experiment).replace("/", "_").lstrip(".")  # of a folder, never of one elsewhere
                groups[name].append(_Run(folder, card, config, overridden_keys(config, card.overrides)))
    differing = {experiment: _differing_keys(runs) for experiment, runs in groups.items()}
    columns = dict.fromkeys(key for keys in differing.values() for key in keys if key != "seed")
    labelled: dict[str, LabelledRun] = {}
    for experiment, runs in groups.items():
        names = [settings_name(run.values(differing[experiment])) for run in runs]
        often = Counter(names)
        for run, name in zip(runs, names, strict=True):
            label = name if often[name] == 1 else f"{name} {run.folder.name}".strip()
            whole = label if label and len(groups) == 1 else f"{experiment}/{label}" if label else experiment
            first = {"experiment": experiment} if len(groups) > 1 else {}
            labelled[whole] = LabelledRun(run.folder, {**first, **run.values([*columns, "seed"])}, run.card)
    return labelled


def _differing_keys(runs: list[_Run]) -> list[str]:
    """The keys of which the runs have several values; the seed last."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides if key != "seed")
    return [key for key in (*keys, "seed") if len({str(run.values([key])) for run in runs}) > 1]


def settings_name(values: Config) -> str:
    """Settings as a name, which can be that of a folder: `lr=0.2 taps=[20,20] seed=1`. One too long ends in `...`."""
    short = shorten_keys(list(values))
    words = [f"{short[key]}={f'{v:g}' if isinstance(v, float) else v}" for key, v in values.items()]
    name = printable(" ".join(words)).replace("/", "_")
    if len(name) <= LONGEST:
        return name
    cut = name[: LONGEST - len(" ...") + 1]
    return (cut.rpartition(" ")[0] or cut[:-1]) + " ..."  # a value that is cut in two would be another


def name_differences(configs: Sequence[Config]) -> list[str]:
    """For each of several flat configs the keys of which they have several values, as a name: `lr=0.2 net=MIMOCNN`.

    Where another class is built, keys that one of the classes does not have say nothing more, and neither do keys whose values
    are those of another key in every config. Equal configs have equal names, and so may others that are cut.
    """
    absent = object()
    columns = {
        key: [one.get(key, absent) for one in configs] for key in sorted({key for one in configs for key in one})
    }
    columns = {key: column for key, column in columns.items() if any(value != column[0] for value in column)}
    sections = tuple(key.removesuffix("_target_") for key in columns if key.endswith("_target_"))
    names: list[Config] = [{} for _ in configs]
    repeated = set()
    for key, column in columns.items():
        is_class = key.endswith("_target_")
        is_missing = [value is absent for value in column]
        if (key.startswith(sections) and not is_class and any(is_missing)) or (row := repr(column)) in repeated:
            continue
        repeated.add(row)
        if is_class:
            column, key = _class_names(column), key.removesuffix("._target_")
        for name, value, without in zip(names, column, is_missing, strict=True):
            if without:
                name.setdefault(key, "(none)")  # such a section may be null elsewhere, which says it already
            else:
                name[key] = str(value).lower() if isinstance(value, bool) else "null" if value is None else value
    return [settings_name(name) for name in names]


def _class_names(targets: Sequence[object]) -> list[object]:
    """The last words of dotted names, or all of them where two classes have one name."""
    whole = [str(target) for target in targets]
    short = [name.rpartition(".")[2] for name in whole]
    return [*(short if len(set(short)) == len(set(whole)) else whole)]


def shorten_keys(keys: list[str]) -> dict[str, str]:
    """Each key's last word, or as much of its end as tells it from the others."""
    tails = {
        key: [".".join(words[-n:]) for n in range(1, len(words) + 1)] for key in keys for words in [key.split(".")]
    }
    often = Counter(chain.from_iterable(tails.values()))
    return {key: next((tail for tail in own if often[tail] == 1), key) for key, own in tails.items()}
