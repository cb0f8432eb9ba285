"""JSON schemas of the config groups, by which editors complete, explain and check the files of conf/."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

import yaml

from speechml.config.compose import WHOLE, conf_dir
from speechml.config.schema import REQUIRED, Key, Schema, arms, keys_of, room_targets, schema_of
from speechml.config.train_config import EvaluateConfig, TrainConfig
from speechml.contracts import Config
from speechml.storage.files import make_folder, write_text

LATER = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}  # taken from another key, or still to be given
TYPES = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "string",
    Path: "string",
    dict: "object",
    NoneType: "null",
}


def write_schemas(folder: Path) -> list[Path]:
    """Write one JSON schema for each config group, and one for each app's own file."""
    make_folder(folder)
    schemas = {folder / f"{name}.json": schema for name, schema in json_schemas().items()}
    for path, schema in schemas.items():
        content = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
        write_text(path, json.dumps(content, indent=2, default=str) + "\n")
    return list(schemas)


def json_schemas() -> dict[str, Config]:
    """The schema of each group by its name, as optimizer or hydra_launcher."""
    conf = Path(conf_dir())
    names = sorted({str(path.parent.relative_to(conf)) for path in conf.glob("*/**/*.yaml")} - set(WHOLE))
    groups = {name.replace("/", "_"): _group(name) for name in names}
    sections = {name: groups[name] for name in groups if name in keys_of(TrainConfig)}
    whole = _section(TrainConfig, {**sections, "hydra": {}})
    return groups | dict.fromkeys((*WHOLE, "train"), whole) | {"evaluate": _section(EvaluateConfig, {"hydra": {}})}


def _group(name: str) -> Config:
    """Of the files of a group."""
    known = keys_of(TrainConfig).get(name)
    if name == "hydra":
        return {"type": "object"}
    if name == "callbacks" and known and known.section:
        return _section(known.section) | {"additionalProperties": _any_of(room_targets(name))}
    if known and known.section:
        return _section(known.section)
    files = sorted((Path(conf_dir()) / name).glob("*.yaml"))
    return _any_of([target for file in files if (target := yaml.safe_load(file.read_text()).get("_target_"))])


def _any_of(targets: Iterable[str]) -> Config:
    """Of a section that builds one of some classes, or one of the user's own."""
    targets = list(dict.fromkeys(targets))
    own = {"required": ["_target_"], "properties": {"_target_": {"not": {"enum": targets}}}}
    return {"type": ["object", "null"], "anyOf": [*map(_built, targets), own]}


def _built(target: str) -> Config:
    """Of a section that builds a class."""
    more: dict[str, Config] = {"_target_": {"const": target}}
    schema = schema_of(target)
    if schema is None:
        return {"type": "object", "properties": more}
    if "net" in keys_of(schema):
        more["net"] = _any_of(room_targets("models"))
    return _section(schema, more)


def _section(schema: type[Schema], more: dict[str, Config] | None = None) -> Config:
    """Of a section whose keys are known; `more` are those of further keys, or of some that are known better."""
    own = {name: _value(known) for name, known in keys_of(schema).items()}
    for name, content in (more or {}).items():
        own[name] = content | {"description": own[name]["description"] if name in own else ""}
    return {
        "type": "object", "description": " ".join((schema.__doc__ or "").split()),
        "properties": {"defaults": {}, **own, **{name: {} for name in schema.FURTHER}},
        "additionalProperties": schema.OPEN is not None,
    }  # fmt: skip


def _value(known: Key) -> Config:
    """Of a value."""
    kinds = [
        _section(known.section) if known.section and kind is known.section else _type(kind, known)
        for kind in arms(known.kind)
    ]
    unit = f" ({known.unit})" if known.unit else ""
    default = {} if known.default is REQUIRED else {"default": known.default}
    return {"description": known.why + unit, "anyOf": [*kinds, LATER], **default}


def _type(kind: object, known: Key) -> Config:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is list:
        return {"type": "array", "items": {"anyOf": [*(_type(arm, known) for arm in arms(inner[0])), LATER]}}
    bounds = {
        "minimum": known.least, "exclusiveMinimum": known.above, "maximum": known.most, "exclusiveMaximum": known.below,
    }  # fmt: skip
    own: Config = {bound: value for bound, value in bounds.items() if kind in (int, float) and value is not None}
    if origin is dict and (known.section or known.choices):  # or else one of a class
        own["required"] = ["_target_"]
    return {"type": TYPES[origin or kind], **own}  # type: ignore[index] # a type that keys have
