"""`speechml explain KEY`: what a key is, what it may be, and where its value came from, in a few aligned lines."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Any

from speechml.config.compose import dotted_keys, flatten
from speechml.config.instantiate import parameters
from speechml.config.keys import Entry, entries, entry_by_signature, entry_of, shown
from speechml.config.origins import ABSENT, Composition, Step, heading, pick
from speechml.config.schema import did_you_mean
from speechml.errors import UserError

MISSING = "???"  # OmegaConf's mark of a value that must be given
WHOLE = ("experiment", "debug", "hparams_search")  # groups whose files set keys of any section
# Arguments that speechml itself gives to what a section builds; rows of features have no sample rate.
OURS = ("data.sample_rate", "optimizer.params", "scheduler.optimizer", "model.optimizer", "model.scheduler", "model.net.classes",
        "model.net.inputs")  # fmt: skip
Rows = list[tuple[str, str]]


def explain(key: str, overrides: list[str]) -> str:
    """What there is to know of a key of the config that these overrides give.

    Args:
        key: dotted, as in --help; a section, or a group as `hydra/launcher`, as well.
        overrides: as for speechml-train, or for speechml-evaluate where `run` is among them.

    Raises:
        UserError: no such key, or overrides that cannot be.
    """
    key = key.strip().lstrip("+~")
    if "=" in key:
        raise UserError(f"{key} sets a key; name the key first, as in speechml explain {key.partition('=')[0]} {key}")
    if not key:
        raise UserError("the key is empty; give one, as in speechml explain optimizer.lr")
    evaluates = key == "run" or any(word.startswith("run=") for word in overrides)
    words, sys.argv = sys.argv, [sys.argv[0], *overrides]  # by which sweeps are named, and hints are found
    try:
        return told(Composition("evaluate" if evaluates else "train", overrides), key)
    finally:
        sys.argv = words


def told(made: Composition, key: str) -> str:
    """As `explain`, of a key of a config that is composed already."""
    group = next((name for name in (key, key.replace(".", "/")) if name in made.groups and name != "hydra"), "")
    key = key.replace("/", ".") if group else key
    value = made.value(key)
    if group or (isinstance(value, dict) and (known := _entry(made, key)) and known.is_section):
        return _section(made, key, group)
    if value is ABSENT:
        return _absent(made, key)
    return _leaf(made, key, value)


def _entry(made: Composition, key: str) -> Entry | None:
    return entry_of(key, made.classes(key))


def _leaf(made: Composition, key: str, value: Any) -> str:
    """Of a key that has a value."""
    known, kind = _entry(made, key) or _by_class(made, key), ""
    if known is None and key.startswith("hydra."):
        known = Entry(type="not declared here", why="a key of Hydra itself: see hydra.cc", allowed="what Hydra takes")
    if known is None:
        raise UserError(f"nothing reads the key {key}{_near(made, key)}")
    if _entry(made, key.rpartition(".")[0]) is known:
        kind = "entry of a mapping"
    steps, is_given = made.steps(key), value != MISSING
    allowed = known.range
    if is_given and not kind and "${" not in str(value) and not known.fits(value):
        allowed += f"; {shown(value)} is not"
    rows = [("type", kind or known.type), ("unit", known.unit), ("default", _default(known, steps))]
    rows += [*_origin(made, key, steps), ("allowed", allowed), ("why", known.why)]
    rows += _keys(made, key) if known.is_section else []
    return _aligned(f"{key} = {shown(value)}" if is_given else f"{key} must be given", rows)


def _default(known: Entry, steps: list[Step]) -> str:
    """The last value before an experiment, a debug mode or the command line has a say."""
    defaults = [step for step in steps if step.is_default]
    if defaults:
        return f"{_brief(defaults[-1].value)} ({defaults[-1].where})"
    return "none" if known.unset is ... else f"{shown(known.unset)}, where no config sets it"


def _origin(made: Composition, key: str, steps: list[Step]) -> Rows:
    """Who gave the key its value, and what it is taken from."""
    if not steps:  # within a section that was replaced as a whole
        return [("from", "the config of Hydra")]
    last = steps[-1]
    before = [f"{shown(step.value)} by {step.where}" for step in steps[-2::-1]
              if step.value not in (ABSENT, MISSING)]  # fmt: skip
    rows = [("from", last.where + f" (before: {', '.join(before)})" * bool(before))]
    known = isinstance(last.value, dict) or last.comment in _unit(made, key) or len(steps) < 2
    rows += [("says", f'"{last.comment}"')] * bool(last.comment and not known)
    if isinstance(last.value, str) and "${" in last.value:
        rows.append(("taken from", ", ".join(_sources(made, last.value))))
    searched = pick(made.raw, ["hydra", "sweeper", "params"])
    if isinstance(searched, dict) and key in searched:
        where = made.steps(f"hydra.sweeper.params.{key}")[-1].where
        rows.append(("searched", f"{searched[key]}, with -m ({where})"))
    return rows


def _unit(made: Composition, key: str) -> str:
    known = _entry(made, key)
    return known.unit if known else ""


def _sources(made: Composition, text: str) -> Iterable[str]:
    """What an interpolation is taken from."""
    for name in re.findall(r"\$\{oc\.env:(\w+)", text):
        yield f"${name} (which is {os.environ.get(name) or 'not set'})"
    for name in re.findall(r"\$\{hydra:runtime\.choices\.(\w+)\}", text):
        yield f"the choice of {name} ({made.chosen_by(name)})"
    for name in re.findall(r"\$\{([a-z]\w*(?:\.\w+)*)\}", text):
        steps, value = made.steps(name), made.value(name)
        yield (
            name
            + (", which is not there" if value is ABSENT else f" = {_brief(value)}")
            + (f" ({steps[-1].where})" if steps else "")
        )


def _section(made: Composition, key: str, group: str) -> str:
    """Of a section: the choices that there are for it, and its keys."""
    known = _entry(made, key)
    rows: Rows = [] if known is None else [("why", known.why)]
    title, steps = key, made.steps(key)
    if group:
        choice, default = made.choices[group], made.default_choices.get(group, made.choices[group])
        title = f"{group} = {shown(choice)}"
        by = made.chosen_by(group)
        before = f" (before: {shown(default)} by {made.file_of(made.config_name)[0]})" * (default != choice)
        rows = [("from", by + before), *rows, *_options(made, group), *_sets(made, group)]
    elif steps:
        rows.insert(0, ("from", ", then ".join(dict.fromkeys(step.name for step in steps))))
    return _aligned(title, [*rows, *_keys(made, key)])


def _options(made: Composition, group: str) -> Rows:
    """The choices of a group, each with what its file says of itself."""
    names = made.options(group)
    lines = []
    for name in names:
        mark = " (chosen)" * (name == made.choices[group])
        file = made.file_of(f"{group}/{name}")[1]
        lines.append((f"{group}={name}{mark}", heading(file) if file else "Hydra's own, or a plugin's"))
    return _labelled("options", lines)


def _sets(made: Composition, group: str) -> Rows:
    """What the chosen file of a group sets that may set any key."""
    if group not in WHOLE or made.choices[group] is None:
        return []
    layers = [layer for layer in made.layers if layer.file and layer.file.parent.name == group]
    names = {layer.name for layer in layers}
    lines = [f"{other} = {shown(choice)}" for other, choice in made.choices.items() if made.chosen_by(other) in names]
    values: dict[str, Any] = {}
    for layer in layers:
        values |= flatten(layer.config)
    return _labelled("sets", [(line, "") for line in [*lines, *(f"{k} = {shown(v)}" for k, v in values.items())]])


def _keys(made: Composition, key: str) -> Rows:
    """The keys of a section, each with its value and what it is for."""
    node, lines = pick(made.raw, key.split(".")), []
    names = [f"{key}.{name}" for name in dotted_keys(node)] if isinstance(node, dict) else []
    for name in names:
        known = _entry(made, name)
        if known is None or known.is_section or entry_of(name.rpartition(".")[0], []) is known:
            continue  # what a key of Hydra itself is, Hydra knows
        why = "" if name.endswith("_target_") else known.why  # the same for all
        lines.append((f"{name} = {_brief(made.value(name))}", why))
    if node is None:
        classes = made.classes(key)
        lines = [(f"{name} (not set)", known.why) for name in entries() if name.startswith(f"{key}.")
                 and (known := entry_of(name, classes))]  # fmt: skip
    return _labelled("keys", lines)


def _absent(made: Composition, key: str) -> str:
    """Of a key that this config has not: what could have it."""
    group, words = made.group_of(key), key.split(".")
    having: list[tuple[str, Any]] = []
    for name in [group] if group and group not in WHOLE else []:
        having += _those_with(made, name, words)
    by_class = _by_class(made, key)
    for name in () if having else WHOLE:
        having += _those_with(made, name, words) if name in made.groups else []
    if by_class is None and not having:
        raise UserError(f"there is no key {key}{_near(made, key)}")
    known = _entry(made, key) or _first_known(key) or by_class or _entry_like(having)
    assert known is not None  # else nothing had it
    rows = [("type", known.type), ("unit", known.unit)]
    if by_class is not None:
        default = "none" if by_class.unset is ... else shown(by_class.unset)
        rows.append(("default", f"{default} (of {made.classes(key)[0]}, which takes it)"))
    rows += [("allowed", known.range), ("why", known.why)]
    rows += _labelled("has it", [(f"{option} ({_brief(value)})", "") for option, value in having])
    how = f"+{key}=VALUE sets it" if by_class is not None else _closed(made, key)
    return _aligned(f"{key} is not set here: {how}", rows)


def _brief(value: Any) -> str:
    return "must be given" if value == MISSING else shown(value)


def _closed(made: Composition, key: str) -> str:
    """Why the key has no place in this config."""
    words = key.split(".")
    for end in range(len(words) - 1, 0, -1):
        above = ".".join(words[:end])
        if made.has(above) and not isinstance(made.value(above), dict):
            null = f"{above} is {shown(made.value(above))}, by {made.steps(above)[-1].where}"
            classes = set(made.classes(above))
            ours = any(classes & set(of) for of, _ in entries().get(key, []))
            return null + f"; '{above}={{{words[-1]}: VALUE}}' sets it" * ours
    group = made.group_of(key)
    return f"{group}={made.choices[group]} has no such key" if group else ""


def _those_with(made: Composition, group: str, words: list[str]) -> list[tuple[str, Any]]:
    """The options of a group that set a key, and what to."""
    found = []
    for option in made.options(group):
        value = pick(made.of_option(group, option), words)
        found += [] if value is ABSENT else [(f"{group}={option}", value)]
    return found


def _entry_like(having: list[tuple[str, Any]]) -> Entry | None:
    """Of a key that stands in a user's own file and is explained nowhere."""
    return Entry(type=type(having[0][1]).__name__, why="nothing is known of it") if having else None


def _first_known(key: str) -> Entry | None:
    """What is known of a key in whatever section."""
    return entries()[key][0][1] if key in entries() else None


def _by_class(made: Composition, key: str) -> Entry | None:
    """What the class says that the section builds, where it takes the key; this loads torch."""
    above, _, name = key.rpartition(".")
    node = pick(made.raw, above.split(".")) if above else ABSENT
    if key in OURS or not isinstance(node, dict) or "_target_" not in node or key.startswith("hydra."):
        return None
    from speechml.config.instantiate import import_class

    cls = import_class(node["_target_"], f"{above}.")
    return entry_by_signature(cls, name) if parameters(cls) & {name, "**"} else None


def _near(made: Composition, key: str) -> str:
    """`; did you mean ...?`: a key of this name elsewhere, else one that is spelt alike."""
    here = [name for name in dotted_keys(made.raw) if not name.startswith("hydra.") or _entry(made, name)]
    known = dict.fromkeys([*here, *(name for name in entries() if "*" not in name), *made.groups])
    known.pop(key, None)  # one that was added, and nothing reads
    ends = [name for name in known if name.endswith(f".{key}")]
    return f"; did you mean {' or '.join(ends[:3])}?" if ends else did_you_mean(key, known)


def _labelled(label: str, lines: list[tuple[str, str]]) -> Rows:
    """Lines in two columns, the first of them labelled."""
    width = max((len(left) for left, _ in lines if len(left) <= 48), default=0)
    texts = [f"{left:<{width}}  {right}".rstrip() for left, right in lines]
    return [(label if number == 0 else "", text) for number, text in enumerate(texts)]


def _aligned(title: str, rows: Rows) -> str:
    return "\n".join([title, *(f"{label:<10} {text}".rstrip() for label, text in rows)])
