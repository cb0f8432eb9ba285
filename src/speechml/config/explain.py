"""`speechml explain KEY` and --help: what a key is, what it may be, and who gave it its value."""

from __future__ import annotations

import re
from pathlib import Path

from speechml.config.compose import (
    adapt_overrides,
    as_command,
    conf_dir,
    dotted_keys,
    flatten,
    translate_hydra_errors,
)
from speechml.config.hydra_compat import ABSENT, Composition, compose_with_sources, find_sweep
from speechml.config.schema import REQUIRED, Key, Schema, did_you_mean, keys_of, schema_of, shown
from speechml.config.third_party import Trainer
from speechml.config.train_config import EvaluateConfig, TrainConfig
from speechml.errors import UserError

MUST_BE_GIVEN = "???"
TARGET = Key("what is built of this section: the other keys here are its arguments",
             allowed="a class of speechml, torch, torchmetrics or lightning; others are refused")  # fmt: skip
OF_HYDRA = Key("a key of Hydra itself: see hydra.cc", kind=object)
OF_CLASS = Key("an argument of the class that is built: see its documentation", kind=object)
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
    app = "evaluate" if key == "run" or any(word.startswith("run=") for word in overrides) else "train"
    words = adapt_overrides(overrides, app)
    with as_command(words), translate_hydra_errors(words):
        if several := find_sweep(words):
            raise UserError(f"{several} describes several configs", fix="give one value")
        return explain_key(compose_with_sources(conf_dir(), app, words), key)


def explain_key(made: Composition, key: str) -> str:
    """As `explain`, of a key of a config that is composed already."""
    group = next((name for name in (key, key.replace(".", "/")) if name in made.choices and name != "hydra"), "")
    key = key.replace("/", ".") if group else key
    known, value = find_key(made.raw, key), pick(made.raw, key)
    if group or isinstance(value, dict):
        return _section(made, key, group, known)
    return _leaf(made, key, known or OF_HYDRA, value) if value is not ABSENT else _absent(made, key, known)


def find_key(config: object, key: str, schema: type[Schema] | None = None) -> Key | None:
    """What is known of a dotted key of a config; None where nothing reads it."""
    schema = schema or (EvaluateConfig if isinstance(config, dict) and "run" in config else TrainConfig)
    word, _, rest = key.partition(".")
    node = config.get(word) if isinstance(config, dict) else None
    known = keys_of(schema).get(word) if schema else None
    if word == "_target_":
        return TARGET
    if not rest:
        return OF_CLASS if schema and word in schema.FURTHER else known
    inner = known.section if known else None
    if isinstance(node, dict) and "_target_" in node:
        inner = schema_of(node["_target_"])
    if inner is None and known and known.is_section:
        return known if isinstance(node, dict) else None  # an entry of a mapping
    if word == "hydra":
        section, _, rest = rest.partition(".")
        node = node.get(section) if isinstance(node, dict) else None
        inner = schema_of(node.get("_target_")) if isinstance(node, dict) else None
    return find_key(node, rest, inner) if inner and rest else None


def pick(node: object, key: str) -> object:
    """The value at a dotted place; the keys of a mapping may have dots themselves. ABSENT where there is none."""
    if not isinstance(node, dict):
        return ABSENT
    if key in node:
        return node[key]
    for name, value in node.items():
        if key.startswith(f"{name}.") and (found := pick(value, key.removeprefix(f"{name}."))) is not ABSENT:
            return found
    return ABSENT


def _leaf(made: Composition, key: str, known: Key, value: object) -> str:
    """Of a key that has a value."""
    given = [(pick(source.config, key), source) for source in made.sources]
    steps = [(step, source) for step, source in given if step is not ABSENT]
    defaults = [(step, source) for step, source in steps if source.is_default]
    if defaults:
        default = f"{_brief(defaults[-1][0])} ({defaults[-1][1].name})"
    else:
        default = "none" if known.default is REQUIRED else f"{shown(known.default)}, where no config sets it"
    before = ", ".join(f"{shown(step)} by {source.name}" for step, source in steps[-2::-1] if step != MUST_BE_GIVEN)
    origin = steps[-1][1].name + f" (before: {before})" * bool(before) if steps else "the config of Hydra"
    rows = [*_facts(known, default), ("from", origin)]
    rows += [("taken from", text) for text in [_taken_from(made, value)] if text]
    searched = pick(made.raw, f"hydra.sweeper.params.{key}")
    rows += [("searched", f"{searched}, with -m")] * (searched is not ABSENT)
    final = made.value(key)
    if value != MUST_BE_GIVEN and known.kind is not object and "${" not in str(final) and not known.accepts(final):
        rows.append(("", f"{shown(final)} is not allowed"))
    return _aligned(f"{key} must be given" if value == MUST_BE_GIVEN else f"{key} = {shown(final)}", rows)


def _facts(known: Key, default: str) -> Rows:
    if known.kind is object:
        return [("why", known.why)]
    return [("type", known.type), ("unit", known.unit or "none"), ("default", default), ("allowed", known.range),
            ("why", known.why)]  # fmt: skip


def _taken_from(made: Composition, text: object) -> str:
    """What an interpolation is taken from."""
    names = re.findall(r"\$\{([a-z]\w*(?:\.\w+)*)\}", str(text))
    variables = [f"${name}" for name in re.findall(r"\$\{oc\.env:(\w+)", str(text))]
    return ", ".join([*variables, *(f"{name} = {_brief(made.value(name))}" for name in names)])


def _section(made: Composition, key: str, group: str, known: Key | None) -> str:
    """Of a section: the choices that there are for it, and its keys."""
    title = f"{group} = {shown(made.choices[group])}" if group else key
    rows: Rows = [("why", known.why)] if known else []
    lines = []
    for name in made.options(group) if group else ():
        mark = " (chosen)" * (name == made.choices[group])
        lines.append((f"{group}={name}{mark}", heading(made.file_of(f"{group}/{name}"))))
    rows += _columns("options", lines)
    return _aligned(title, [*rows, *_columns("keys", list(key_lines(made, key)))])


def key_lines(made: Composition, key: str) -> Rows:
    """The keys of a section, each with its value and what it is for."""
    lines = []
    for name in flatten(pick(made.raw, key)):
        known = find_key(made.raw, f"{key}.{name}")
        why = known.why if known and known is not TARGET else ""  # the same for all
        lines.append((f"{key}.{name} = {_brief(made.value(f'{key}.{name}'))}", why))
    return lines


def app_help(config_name: str, words: list[str]) -> str:
    """What --help prints: the groups with their choices, then all keys, each with its value and what it is for."""
    with translate_hydra_errors(words):
        made = compose_with_sources(conf_dir(), config_name, words)
    schema = EvaluateConfig if config_name == "evaluate" else TrainConfig
    shown_groups = [
        name for name in reversed(made.choices) if "/" not in name or name in ("hydra/launcher", "hydra/sweeper")
    ]
    groups = [(group, ", ".join(made.options(group))) for group in shown_groups if group != "hydra"]
    plain = {name: known for name, known in keys_of(schema).items() if not known.is_section}
    rows = [(f"{name} = {_brief(made.value(name))}", known.why) for name, known in plain.items()]
    for name, known in keys_of(schema).items():
        if name not in plain:
            rows += [("", ""), (f"# {name}", known.why), *key_lines(made, name)]
    usage = (
        f"speechml-{config_name} [KEY=VALUE or GROUP=CHOICE]...\n\n"
        "-m: every combination of key=1,2 ..., or a search; --cfg job: print the config; --hydra-help: further options.\n"
        "speechml explain KEY tells more of a key or a group."
    )
    texts = (text for part in (groups, rows) for _, text in [("", ""), *_columns("", part)])
    return "\n".join([usage, *texts])


def _absent(made: Composition, key: str, known: Key | None) -> str:
    """Of a key that this config has not: what could have it."""
    group, _, rest = key.partition(".")
    options = made.options(group) if rest and group in made.choices else []
    having = [name for name in options if pick(made.of_option(group, name), key) is not ABSENT]
    how = _how_to_set(made, key)
    if known is None and having:
        known = find_key(made.of_option(group, having[0]), key)
        how = f"{group}={made.choices[group]} has no such key"
    if known is None:
        raise _no_such_key(made, key)
    default = "none" if known.default is REQUIRED else shown(known.default)
    rows = [*_facts(known, default), *_columns("has it", [(f"{group}={name}", "") for name in having])]
    return _aligned(f"{key} is not set here: {how}", rows)


def _how_to_set(made: Composition, key: str) -> str:
    """The override that sets a key which no file sets."""
    above, _, name = key.rpartition(".")
    if above and not isinstance(made.value(above), dict):
        return f"'{above}={{{name}: VALUE}}' sets it"
    return f"{'' if above == 'trainer' else '+'}{key}=VALUE sets it"


def _no_such_key(made: Composition, key: str) -> UserError:
    names = [name for name in (*dotted_keys(made.raw), *made.choices) if name != key]
    ends = [name for name in names if name.endswith(f".{key}")]
    known = [f"trainer.{name}" for name in (*keys_of(Trainer), *Trainer.FURTHER)]
    near = f"; did you mean {' or '.join(ends[:3])}?" if ends else did_you_mean(key, [*names, *known])
    return UserError(f"there is no key {key}{near}")


def heading(file: Path | None) -> str:
    """The first comment of a config file: what it is, in a sentence."""
    for line in file.read_text().splitlines() if file else []:
        if not line.startswith("#"):
            break
        if not line.startswith(("# @package", "# yaml-language-server")):
            return line.lstrip("# ").strip()
    return "" if file else "Hydra's own, or a plugin's"


def _brief(value: object) -> str:
    return "must be given" if value == MUST_BE_GIVEN else shown(value)


def _columns(label: str, lines: Rows) -> Rows:
    """Lines in two columns, the first of them labelled."""
    width = max((len(left) for left, _ in lines if len(left) <= 48), default=0)
    texts = [f"{left:<{width}}  {right}".rstrip() for left, right in lines]
    return [(label if number == 0 else "", text) for number, text in enumerate(texts)]


def _aligned(title: str, rows: Rows) -> str:
    return "\n".join([title, *(f"{label:<10} {text}".rstrip() for label, text in rows)])
