"""`speechml explain KEY` and --help: what a key is, what it may be, and who gave it its value."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from speechml.config.compose import adapt_overrides, conf_dir, flatten
from speechml.config.hydra_compat import ABSENT, MUST_BE_GIVEN, Composition, compose_with_sources, pick
from speechml.config.refusals import translate_hydra_errors
from speechml.config.schema import REQUIRED, Key, Schema, keys_of, schema_of
from speechml.config.third_party import Trainer
from speechml.config.train_config import EvaluateConfig, TrainConfig
from speechml.config.words import allowed_text, format_value, type_text
from speechml.errors import UserError, did_you_mean

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
    before, sys.argv = sys.argv, [sys.argv[0], *words]  # by which sweeps are named
    try:
        with translate_hydra_errors(words, is_single=True):
            return explain_key(compose_with_sources(conf_dir(), app, words), key)
    finally:
        sys.argv = before


def explain_key(made: Composition, key: str) -> str:
    """As `explain`, of a key of a config that is composed already."""
    group = next((name for name in (key, key.replace(".", "/")) if name in made.choices and name != "hydra"), "")
    key = key.replace("/", ".") if group else key
    known, value = find_key(made.raw, key), pick(made.raw, key)
    if group or isinstance(value, dict):
        return _explain_section(made, key, group, known)
    return (
        _explain_leaf(made, key, known or OF_HYDRA, value) if value is not ABSENT else _explain_absent(made, key, known)
    )


def find_key(config: object, key: str, schema: type[Schema] | None = None) -> Key | None:
    """What is known of a dotted key of a config; None where nothing reads it."""
    schema = schema or (EvaluateConfig if isinstance(config, dict) and "run" in config else TrainConfig)
    word, _, rest = key.partition(".")
    node = config.get(word) if isinstance(config, dict) else None
    known = keys_of(schema).get(word)
    if word == "_target_":
        return TARGET
    if not rest:
        return OF_CLASS if word in schema.FURTHER else known
    inner = known.section if known else None
    if isinstance(node, dict) and "_target_" in node:
        inner = schema_of(node["_target_"])
    if inner is None and known and isinstance(node, dict) and "_target_" in node and rest in node:
        return TARGET if rest == "_target_" else OF_CLASS  # of a class of the user's own
    if inner is None and known and known.is_section:
        return find_key(node, rest, Schema) or known if isinstance(node, dict) else None  # an entry of a mapping
    if inner is None and known and isinstance(node, dict) and rest in node:
        return known  # a value that is given in parts
    if word == "hydra":
        section, _, rest = rest.partition(".")
        node = node.get(section) if isinstance(node, dict) else None
        inner = schema_of(node.get("_target_")) if isinstance(node, dict) else None
    return find_key(node, rest, inner) if inner and rest else None


def _explain_leaf(made: Composition, key: str, known: Key, value: object) -> str:
    """Of a key that has a value."""
    given = [(pick(source.config, key), source) for source in made.sources]
    steps = [(step, source) for step, source in given if step is not ABSENT]
    default = _default(known) + ", where no config sets it" * (known.default is not REQUIRED)
    for step, source in steps:
        if source.is_default:
            default = f"{_brief(step)} ({source.name})"
    before = ", ".join(
        f"{format_value(step)} by {source.name}" for step, source in steps[-2::-1] if step != MUST_BE_GIVEN
    )
    origin = steps[-1][1].name + f" (before: {before})" * bool(before) if steps else "the config of Hydra"
    rows = [*_facts(known, default), ("from", origin)]
    names = re.findall(r"\$\{([a-z]\w*(?:\.\w+)*)\}", str(value))
    sources = [f"${name}" for name in re.findall(r"\$\{oc\.env:(\w+)", str(value))]
    if sources := [*sources, *(f"{name} = {_brief(made.value(name))}" for name in names)]:
        rows.append(("taken from", ", ".join(sources)))
    if (searched := pick(made.raw, f"hydra.sweeper.params.{key}")) is not ABSENT:
        rows.append(("searched", f"{searched}, with -m"))
    final = made.value(key)
    is_open = known.kind is object or known.is_section or "${" in str(final)  # anything may be right
    if value != MUST_BE_GIVEN and not is_open and not known.accepts(final):
        rows.append(("", f"{format_value(final)} is not allowed"))
    return _aligned(f"{key} must be given" if value == MUST_BE_GIVEN else f"{key} = {format_value(final)}", rows)


def _facts(known: Key, default: str) -> Rows:
    if known.kind is object:
        return [("why", known.why)]
    return [("type", type_text(known.kind)), ("unit", known.unit or "none"), ("default", default),
            ("allowed", allowed_text(known)), ("why", known.why)]  # fmt: skip


def _default(known: Key) -> str:
    return "none" if known.default is REQUIRED else format_value(known.default)


def _explain_section(made: Composition, key: str, group: str, known: Key | None) -> str:
    """Of a section: the choices that there are for it, and its keys."""
    title = f"{group} = {format_value(made.choices[group])}" if group else key
    rows: Rows = [("why", known.why)] if known else []
    options = [
        (f"{group}={name}{' (chosen)' * (name == made.choices[group])}", heading(made.file_of(f"{group}/{name}")))
        for name in (made.options(group) if group else ())
    ]
    return _aligned(title, [*rows, *_columns("options", options), *_columns("keys", key_lines(made, key))])


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
    groups = [name for name in reversed(made.choices) if "/" not in name or name in ("hydra/launcher", "hydra/sweeper")]
    options = [(group, ", ".join(made.options(group))) for group in groups if group != "hydra"]
    keys = keys_of(EvaluateConfig if config_name == "evaluate" else TrainConfig)
    rows = [(f"{name} = {_brief(made.value(name))}", known.why) for name, known in keys.items() if not known.is_section]
    for name, known in keys.items():
        if known.is_section:
            rows += [("", ""), (f"# {name}", known.why), *key_lines(made, name)]
    usage = (
        f"speechml-{config_name} [KEY=VALUE or GROUP=CHOICE]...\n\n"
        "-m: every combination of key=1,2 ..., or a search; --cfg job: print the config; --hydra-help: further options.\n"
        "speechml explain KEY tells more of a key or a group."
    )
    texts = (text for part in (options, rows) for _, text in [("", ""), *_columns("", part)])
    return "\n".join([usage, *texts])


def _explain_absent(made: Composition, key: str, known: Key | None) -> str:
    """Of a key that this config has not: what could have it."""
    group, _, rest = key.partition(".")
    contents = {
        name: made.content(group, name) for name in (made.options(group) if rest and group in made.choices else ())
    }
    having = [name for name, content in contents.items() if pick(content, key) is not ABSENT]
    how = _how_to_set(made, key)
    if known is None and having:
        known = find_key(contents[having[0]], key)
        how = f"{group}={made.choices[group]} has no such key"
    if known is None:
        names = [name for name in (*dotted_keys(made.raw), *made.choices) if name != key]
        ends = [name for name in names if name.endswith(f".{key}")]
        further = [f"trainer.{name}" for name in (*keys_of(Trainer), *Trainer.FURTHER)]
        near = f"; did you mean {' or '.join(ends[:3])}?" if ends else did_you_mean(key, [*names, *further])
        raise UserError(f"there is no key {key}{near}")
    rows = [*_facts(known, _default(known)), *_columns("has it", [(f"{group}={name}", "") for name in having])]
    return _aligned(f"{key} is not set here: {how}", rows)


def _how_to_set(made: Composition, key: str) -> str:
    """The override that sets a key which no file sets."""
    above, _, name = key.rpartition(".")
    if above and not isinstance(made.value(above), dict):
        return f"'{above}={{{name}: VALUE}}' sets it"
    return f"{'' if above == 'trainer' else '+'}{key}=VALUE sets it"


def dotted_keys(node: object, prefix: str = "") -> Iterator[str]:
    """The dotted names of all keys in a plain config, sections before what they hold."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from dotted_keys(value, f"{prefix}{key}.")


def heading(file: Path | None) -> str:
    """The first comment of a config file: what it is, in a sentence."""
    for line in file.read_text().splitlines() if file else []:
        if not line.startswith("#"):
            break
        if not line.startswith(("# @package", "# yaml-language-server")):
            return line.lstrip("# ").strip()
    return "" if file else "Hydra's own, or a plugin's"


def _brief(value: object) -> str:
    return "must be given" if value == MUST_BE_GIVEN else format_value(value)


def _columns(label: str, lines: Rows) -> Rows:
    """Lines in two columns, the first of them labelled."""
    width = max((len(left) for left, _ in lines if len(left) <= 48), default=0)
    texts = [f"{left:<{width}}  {right}".rstrip() for left, right in lines]
    return [(label if number == 0 else "", text) for number, text in enumerate(texts)]


def _aligned(title: str, rows: Rows) -> str:
    return "\n".join([title, *(f"{label:<10} {text}".rstrip() for label, text in rows)])
