"""What the keys of a config are: typed fields with unit, bounds and purpose.

A section that builds a class is described by the Schema of the same name in `schema.py` of the class's room, those of
torch and lightning in `speechml.config.third_party`. Refusals before torch is loaded, `speechml explain`, --help, editors'
JSON schemas, the identity of a run and the keys that are paths all come from them.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, dataclass_transform, get_args, get_origin, get_type_hints

from speechml.contracts import Config
from speechml.errors import UserError

REQUIRED: object = object()  # default of a key that has to be given
ROOMS = ("callbacks", "data", "models", "tasks")  # packages whose classes configs name
NAMES = {int: "int", float: "float", bool: "bool", str: "text", Path: "path", type(None): "null", dict: "mapping"}
PHRASES = {"int": "a whole number", "float": "a number", "bool": "true or false", "text": "text", "path": "a path",
           "mapping": "a mapping", "section": "a section"}  # fmt: skip
ITEMS = {"int": "whole numbers", "float": "numbers", "text": "words"}


@dataclasses.dataclass(frozen=True)
class Key:
    """What is known of a key.

    Attributes:
        why: what it is for, and what more or less of it does, one line.
        unit: of its numbers.
        above, least, below, most: bounds of a number, or of each in a list.
        allowed: what type and bounds do not say, in words.
        effect: whether it can change a result; what cannot is no part of a run's id.
        later: whether it came when there were runs already: with its default it is no part of a run's id.
        default: what holds where no config sets it.
        kind: its type.
        section: what is known of the keys within, where it is a section of known keys.
    """

    why: str
    unit: str = ""
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    allowed: str = ""
    effect: bool = True
    later: bool = False
    default: object = REQUIRED
    kind: object = str
    section: type[Schema] | None = None

    @property
    def type(self) -> str:
        """Its type in words, as `int or null`."""
        return " or ".join(dict.fromkeys(_type_name(arm) for arm in arms(self.kind)))

    @property
    def choices(self) -> list[object]:
        """The values that it can have, where they are listed."""
        return [choice for arm in arms(self.kind) if get_origin(arm) is Literal for choice in get_args(arm)]

    @property
    def is_section(self) -> bool:
        return self.section is not None or "mapping" in self.type

    @property
    def range(self) -> str:
        """The allowed values in words, as `a whole number of at least 1, or null`."""
        if self.choices:
            words = list(dict.fromkeys(map(shown, self.choices)))
            words += [name for name in self.type.split(" or ") if name == "null"]
            return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
        names = [name for name in self.type.split(" or ") if name != "null"]
        names = [name for name in names if name != "int" or "float" not in names]
        text = " or ".join(map(_phrase, names)) + self._bounds()
        return text + ", or null" * self.type.endswith("null") + f" ({self.allowed})" * bool(self.allowed)

    def _bounds(self) -> str:
        if self.least is not None and self.most is not None:
            return f" from {self.least} to {self.most}"
        bounds = {" of at least ": self.least, " above ": self.above, " below ": self.below, " of at most ": self.most}
        return " and".join(f"{word}{bound}" for word, bound in bounds.items() if bound is not None)

    def accepts(self, value: object) -> bool:
        """Whether a value is of the type and within the bounds."""
        return fits(value, self.kind) and all(map(self._is_within, _leaves(value)))

    def _is_within(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or self.choices:
            return True
        return (
            (self.above is None or value > self.above) and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below) and (self.most is None or value <= self.most)
        )  # fmt: skip


def key(
    why: str, default: Any = REQUIRED, *, unit: str = "", above: float | None = None, least: float | None = None,
    below: float | None = None, most: float | None = None, allowed: str = "", effect: bool = True, later: bool = False,
) -> Any:  # fmt: skip
    """A field of a Schema; see Key."""
    known = Key(why, unit, above, least, below, most, allowed, effect, later, default)
    if default is REQUIRED:
        return dataclasses.field(metadata={"key": known})
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata={"key": known})
    return dataclasses.field(default=default, metadata={"key": known})


@dataclass_transform(eq_default=False, kw_only_default=True, field_specifiers=(key, dataclasses.field))
class Schema:
    """The keys of a section; its docstring says what the section is for."""

    OPEN: ClassVar[object] = None  # the type of further keys, where the section takes such
    FURTHER: ClassVar[frozenset[str]] = (
        frozenset()
    )  # arguments of the class that need no word of ours; the class checks them

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(kw_only=True, eq=False)(cls)

    @classmethod
    def check(cls, node: Mapping[str, Any], where: str) -> None:
        """Refuse what is wrong with values that are right by themselves; `where` is the key of the section and a dot."""


_KEYS: dict[type[Schema], dict[str, Key]] = {}  # what keys_of has found


def keys_of(schema: type[Schema]) -> dict[str, Key]:
    """The keys of a section by their names."""
    if schema not in _KEYS:
        _KEYS[schema] = _read_keys(schema)
    return _KEYS[schema]


def _read_keys(schema: type[Schema]) -> dict[str, Key]:
    hints, found = get_type_hints(schema, include_extras=True), {}
    for field in dataclasses.fields(schema):  # type: ignore[arg-type] # __init_subclass__ makes it a dataclass
        if "key" in field.metadata:
            kind, *schemas = (
                get_args(hints[field.name]) if get_origin(hints[field.name]) is Annotated else [hints[field.name]]
            )
            section = next(iter(schemas), section_of(kind))
            found[field.name] = dataclasses.replace(field.metadata["key"], kind=kind, section=section)
    return found


@cache
def schema_of(target: object) -> type[Schema] | None:
    """The schema of the class that a `_target_` names, or None where there is none."""
    from speechml.config.third_party import SCHEMAS

    package, _, name = str(target).rpartition(".")
    if package.startswith("hydra_plugins."):
        package = "speechml.sweep"
    words = package.split(".")
    if words[0] != "speechml" or len(words) < 2:
        return SCHEMAS.get(str(target))
    if words[1] in ROOMS and len(words) == 2:  # a door: the class may lie in another room
        words = vars(import_module(package))["PLACES"].get(name, package).split(".")
    try:
        found = vars(import_module(f"speechml.{words[1]}.schema")).get(name)
    except ModuleNotFoundError:
        return None
    return found if isinstance(found, type) and issubclass(found, Schema) else None


def room_targets(room: str) -> list[str]:
    """The classes that configs name by a package: data, models ..."""
    return [f"speechml.{room}.{name}" for name in vars(import_module(f"speechml.{room}"))["PLACES"]]


def room_schemas(room: str) -> list[type[Schema]]:
    """The schemas of these classes."""
    return [schema for target in room_targets(room) if (schema := schema_of(target))]


def arms(kind: object) -> tuple[object, ...]:
    """The alternatives of a type."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def section_of(kind: object) -> type[Schema] | None:
    """The schema among the alternatives of a type."""
    return next((arm for arm in arms(kind) if isinstance(arm, type) and issubclass(arm, Schema)), None)


def fits(value: object, kind: object) -> bool:
    """Whether a plain value is of a type."""
    origin, inner = get_origin(kind), get_args(kind)
    if len(arms(kind)) > 1:
        return any(fits(value, arm) for arm in arms(kind))
    if origin is Literal:
        return any(isinstance(value, bool) is isinstance(choice, bool) and value == choice for choice in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if section_of(kind) or origin is dict:
        return isinstance(value, dict)
    if isinstance(value, bool):
        return kind is bool
    plain = {float: (int, float), Path: str}.get(kind, kind)  # type: ignore[call-overload] # any type is hashable
    return isinstance(value, plain)


def _leaves(value: object) -> list[object]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


def _type_name(kind: object) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(dict.fromkeys(NAMES[type(choice)] for choice in inner))
    if origin is list:
        return f"list of {_type_name(inner[0])}"
    return "section" if section_of(kind) else NAMES[origin or kind]  # type: ignore[index] # a type that keys have


def _phrase(name: str) -> str:
    head, _, item = name.rpartition("list of ")
    if not head and not name.startswith("list"):
        return PHRASES[name]
    return f"a list of {'lists of ' * (name.count('list') - 1)}{ITEMS[item]}"


def shown(value: object) -> str:
    """A value as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {shown(item)}' for name, item in value.items())}}}"
    return str(value)


def closest(word: str, words: Iterable[str]) -> str:
    """The most similar of some words, or nothing where none is similar."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)), "")


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`; did you mean ...?` for the most similar of some words, or nothing where none is similar."""
    near = closest(word, words)
    return f"; did you mean {near}?" if near else ""


def empty_none(config: Config) -> Config:
    """A config in which a section that builds nothing (`_target_: null`) is empty, whatever else was set of it."""
    return {
        name: {} if isinstance(node, dict) and node.get("_target_", "") is None else node
        for name, node in config.items()
    }


def check_section(node: object, schema: type[Schema], where: str = "", absent: Iterable[str] = ()) -> None:
    """Refuse keys of a section that nothing reads, and values that they cannot have; sections within it as well.

    Args:
        node: plain mapping.
        schema: what is known of its keys.
        where: key of the section and a dot; empty for the whole config.
        absent: keys that may be missing although nothing else holds then.

    Raises:
        UserError: for the first such key.
    """
    if not isinstance(node, Mapping):
        raise UserError(f"{where.rstrip('.')} is {shown(node)}", fix="it must be a section")
    known = keys_of(schema)
    for name, value in node.items():
        if name in known:
            _check_value(value, known[name], f"{where}{name}")
        elif schema.OPEN is not None and fits(value, schema.OPEN):
            check_node(value, f"{where}{name}.")
        elif schema.OPEN is not None:
            raise UserError(f"{where}{name} is {shown(value)}", fix="it must be a section that names a class: _target_")
        elif name not in ("_target_", *schema.FURTHER):
            refuse_unknown(f"{where}{name}", [f"{where}{other}" for other in (*known, *schema.FURTHER)])
    for name, known_key in known.items():
        if name not in node and known_key.default is REQUIRED and name not in absent:
            raise UserError(f"{where}{name} must be given", fix=f"add {where}{name}=VALUE to the command")
    schema.check(node, where)


def _check_value(value: object, known: Key, where: str) -> None:
    if not known.accepts(value):
        verb = "can" if known.choices or known.kind is bool else "must"
        raise UserError(f"{where} is {shown(value)}", fix=f"it {verb} be {known.range}")
    if known.section and value is not None:
        check_section(value, known.section, f"{where}.")
    else:
        check_node(value, f"{where}.")


def refuse_unknown(name: str, known: list[str]) -> None:
    """Say that there is no key of a name, and which ones there are."""
    near = closest(name, known)
    fix = f"did you mean {near}?" if near else f"there are {', '.join(sorted(known))}" if known else "leave it out"
    raise UserError(f"there is no key {name}", fix=fix)


def check_node(node: object, where: str) -> None:
    """Check the keys of every mapping with a `_target_`: by its schema, else by the signature of the class, which loads it."""
    if not isinstance(node, dict):
        return
    if "_target_" not in node:
        for name, value in node.items():
            check_node(value, f"{where}{name}.")
    elif schema := schema_of(node["_target_"]):
        check_section(node, schema, where)
    else:
        from speechml.config.instantiate import import_class, parameters

        known = parameters(import_class(node["_target_"], where))
        for name, value in node.items():
            if name != "_target_" and "**" not in known and name not in known:
                refuse_unknown(f"{where}{name}", [f"{where}{other}" for other in known])
            check_node(value, f"{where}{name}.")


def walk(schema: type[Schema], prefix: str = "") -> Iterator[tuple[str, Key]]:
    """All keys of a section and of the sections within it, by their dotted names."""
    for name, known in keys_of(schema).items():
        yield f"{prefix}{name}", known
        if known.section:
            yield from walk(known.section, f"{prefix}{name}.")
