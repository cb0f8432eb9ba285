"""What the keys of a config are: typed fields with unit, bounds and purpose.

A section that builds a class is described by the Schema of the same name in `schema.py` of the class's room, those of
torch and lightning in `speechml.config.third_party`. Refusals before torch is loaded, `speechml explain`, --help, editors'
JSON schemas, the identity of a run and the keys that are paths all come from them.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from speechml.contracts import Config
from speechml.errors import UserError, closest

REQUIRED: object = object()  # default of a key that has to be given
ROOMS = ("callbacks", "data", "models", "tasks")  # packages whose classes configs name
THIRD_PARTY = ("torch.optim", "torch.optim.lr_scheduler", "lightning.pytorch", "lightning")


@dataclass(frozen=True)
class Key:
    """What is known of a key.

    Attributes:
        why: what it is for, and what more or less of it does, one line.
        default: what holds where no config sets it.
        unit: of its numbers.
        above, least, below, most: bounds of a number, or of each in a list.
        allowed: what type and bounds do not say, in words.
        effect: whether it can change a result; what cannot is no part of a run's id.
        later: whether it came when there were runs already: with its default it is no part of a run's id.
        kind: its type, as it is written in the Schema.
        section: what is known of the keys within, where it is a section of known keys.
    """

    why: str
    default: object = REQUIRED
    _: KW_ONLY
    unit: str = ""
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    allowed: str = ""
    effect: bool = True
    later: bool = False
    kind: object = str
    section: type[Schema] | None = None

    @property
    def choices(self) -> list[object]:
        """The values that it can have, where they are listed."""
        return [choice for arm in arms(self.kind) if get_origin(arm) is Literal for choice in get_args(arm)]

    @property
    def is_section(self) -> bool:
        """Whether its value is a mapping."""
        return self.section is not None or any(get_origin(arm) is dict for arm in arms(self.kind))

    @property
    def is_path(self) -> bool:
        """Whether its value is a file or folder."""
        return Path in arms(self.kind)

    def accepts(self, value: object) -> bool:
        """Whether a value is of the type and within the bounds."""
        return fits(value, self.kind) and all(map(self._is_within, leaves(value)))

    def _is_within(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or self.choices:
            return True
        return not math.isfinite(value) or (  # which `check_section` names by its own key
            (self.above is None or value > self.above) and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below) and (self.most is None or value <= self.most)
        )  # fmt: skip


key: Callable[..., Any] = Key  # a field of a Schema; to type checkers of whatever type the field is


class Schema:
    """The keys of a section, as fields `name: type = key(...)`, with `from_` for `from`; its docstring says what it is for."""

    OPEN: ClassVar[object] = None  # the type of further keys, where the section takes such
    FURTHER: ClassVar[Mapping[str, object]] = {}  # kinds of, or Keys for, further arguments of the class
    REPLACED: ClassVar[Mapping[str, str]] = {}  # arguments that are not the config's to give, and what to do instead

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        """Refuse what is wrong with values that are right by themselves; `where` is the key of the section and a dot."""

    @classmethod
    def recipe(cls, node: Config) -> int:  # noqa: ARG003 (for those that it depends on)
        """The number of what the class makes of a section; raised where equal keys come to give something else."""
        return 1


_KEYS: dict[type[Schema], dict[str, Key]] = {}  # of the sections that were asked for


def keys_of(schema: type[Schema]) -> dict[str, Key]:
    """The keys of a section by their names."""
    if schema not in _KEYS:
        keys: dict[str, Key] = {}
        for base in reversed(schema.__mro__):
            for name in [name for name, value in vars(base).items() if isinstance(value, Key)]:
                # Other annotations of the user's own class may name what only a type checker imports.
                only = types.SimpleNamespace(__annotations__={name: base.__annotations__[name]})
                kind = get_type_hints(only, vars(sys.modules[base.__module__]))[name]
                keys[name] = replace(vars(base)[name], kind=kind, section=section_of(kind))
        present = {name: known for name, known in keys.items() if isinstance(getattr(schema, name), Key)}
        _KEYS[schema] = {name.removesuffix("_"): known for name, known in present.items()}
    return _KEYS[schema]


def walk(schema: type[Schema], prefix: str = "") -> Iterator[tuple[str, Key]]:
    """All keys of a section and of the sections within it, by their dotted names."""
    for name, known in keys_of(schema).items():
        yield f"{prefix}{name}", known
        if known.section:
            yield from walk(known.section, f"{prefix}{name}.")


@cache
def schema_of(target: object) -> type[Schema] | None:
    """The schema of the class that a `_target_` names, or None where there is none."""
    package, _, name = str(target).rpartition(".")
    words = package.replace("hydra_plugins", "speechml.sweep").split(".")
    if package in THIRD_PARTY:
        place = f"speechml.config.{'schedules' if package == 'torch.optim.lr_scheduler' else 'third_party'}"
    elif words[0] != "speechml" or len(words) < 2:
        return None
    else:
        if words[1] in ROOMS and len(words) == 2:  # a door: the class may lie in another room
            words = _places(words[1]).get(name, package).split(".")
        place = f"speechml.{words[1]}.schema"
    try:
        found = getattr(import_module(place), name, None)
    except ModuleNotFoundError:
        return None
    return found if isinstance(found, type) and issubclass(found, Schema) else None


def _places(room: str) -> dict[str, str]:
    places: dict[str, str] = vars(import_module(f"speechml.{room}"))["PLACES"]
    return places


def room_targets(room: str) -> list[str]:
    """The classes that configs name by a package: data, models ..."""
    return [f"speechml.{room}.{name}" for name in _places(room)]


def room_schemas(room: str) -> list[type[Schema]]:
    """The schemas of these classes."""
    return [schema for target in room_targets(room) if (schema := schema_of(target))]


@cache
def data_keys(target: object) -> dict[str, Key]:
    """The keys of a data module's class; where it is the user's own, those of all of ours."""
    schema = schema_of(target)
    schemas = [schema] if schema else room_schemas("data")
    return {name: known for schema in schemas for name, known in keys_of(schema).items()}


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
    if origin is dict:
        return isinstance(value, dict) and (inner[1] is Any or all(fits(item, inner[1]) for item in value.values()))
    if section_of(kind):
        return isinstance(value, dict)
    if isinstance(value, bool):
        return kind is bool
    if kind is Path:
        return isinstance(value, str) and bool(value.strip())  # an empty one would be the current folder
    plain = {float: (int, float)}.get(kind, kind)  # type: ignore[call-overload] # any type is hashable
    return isinstance(value, plain)


def leaves(value: object) -> list[object]:
    """The values in a list or mapping, and in those within it; or a value alone."""
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


def is_a_computers(number: object) -> bool:
    """Whether a number is finite, and a whole one of 64 bits; true of what is no number."""
    if isinstance(number, float):
        return math.isfinite(number)
    return not isinstance(number, int) or -(2**63) <= number < 2**63


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
    if not isinstance(node, dict):
        raise refuse_value(where.rstrip("."), node, "it must be a section")
    known = keys_of(schema)
    for name, value in node.items():
        if name in known:
            _check_value(value, known[name], f"{where}{name}")
        elif schema.OPEN is not None and fits(value, schema.OPEN):
            check_node(value, f"{where}{name}.")
        elif schema.OPEN is not None:
            raise refuse_value(f"{where}{name}", value, "it must be a section that names a class: _target_")
        elif name in schema.REPLACED:
            raise UserError(f"{where}{name} is no key: speechml gives the class its own", fix=schema.REPLACED[name])
        elif name in schema.FURTHER:
            kind = schema.FURTHER[name]
            _check_value(value, kind if isinstance(kind, Key) else Key("", kind=kind), f"{where}{name}")
        elif name != "_target_":
            raise refuse_unknown(where, name, {*known, *schema.FURTHER})
    for name, known_key in known.items():
        if name not in node and known_key.default is REQUIRED and name not in absent:
            raise UserError(f"{where}{name} must be given", fix=f"add {where}{name}=VALUE to the command")
    schema.check(node, where)


def _check_value(value: object, known: Key, where: str) -> None:
    if not known.accepts(value):
        from speechml.config.words import allowed_text

        verb = "can" if known.choices or known.kind is bool else "must"
        raise refuse_value(where, value, f"it {verb} be {allowed_text(known)}")
    if known.section and isinstance(value, dict) and not ("_target_" in value and Config in arms(known.kind)):
        check_section(value, known.section, f"{where}.")
    else:
        check_node(value, f"{where}.")
    for leaf in (leaf for leaf in leaves(value) if not is_a_computers(leaf)):
        raise refuse_value(where, value, "it must be finite" if isinstance(leaf, float) else "it must be below 2^63")


def refuse_value(name: str, value: object, fix: str) -> UserError:
    """The refusal of a key's value."""
    from speechml.config.words import format_value

    return UserError(f"{name} is {format_value(value)}", fix=fix)


def without_class(where: str) -> UserError:
    """The refusal of a section that is to name a class and does not."""
    return UserError(f"{where} names no class", fix=f"add {where}._target_=CLASS, or leave {where} out")


def refuse_unknown(where: str, name: str, known: set[str]) -> UserError:
    """The refusal of a key that nothing reads, with the nearest of those that there are."""
    from speechml.config.words import explain_source

    names = sorted(f"{where}{other}" for other in known)
    near = closest(f"{where}{name}", names)
    fix = f"did you mean {near}?" if near else f"there are {', '.join(names)}" if names else "leave it out"
    return UserError(f"there is no key {where}{name}", fix=explain_source(where.rstrip("."), name, fix))


def check_node(node: object, where: str) -> None:
    """Check the keys of every mapping with a `_target_`: by its schema, else by the signature of the class, which loads it."""
    if not isinstance(node, dict):
        return
    if (schema := schema_of(node.get("_target_"))) and not node.get("_partial_"):
        check_section(node, schema, where)
        return
    known = {"**"}
    if "_target_" in node and not node["_target_"]:
        raise without_class(where.rstrip("."))
    if "_target_" in node:
        from speechml.config.instantiate import import_class, parameters

        known = parameters(import_class(node["_target_"], where))
        known |= {"interval", "monitor"} if where == "scheduler." else set()  # which a task tells Lightning
    for name, value in node.items():
        if "**" not in known and name not in {*known, "_target_", "_partial_"}:
            raise refuse_unknown(where, name, known)
        check_node(value, f"{where}{name}.")
