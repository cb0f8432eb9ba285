"""What is known of each key: keys.yaml, and the signatures of the classes that take keys which stand in no config."""

from __future__ import annotations

import inspect
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

BOUNDS = {"above": "above", "least": "at least", "below": "below", "most": "at most"}
PLAIN: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "text": str, "path": str, "class": str,
         "mapping": dict, "section": dict}  # fmt: skip


class Entry(NamedTuple):
    """What keys.yaml says of a key; see its first lines."""

    type: str
    why: str
    unit: str = "none"
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    one_of: tuple[Any, ...] = ()
    allowed: str = ""
    unset: Any = ...

    @property
    def is_section(self) -> bool:
        return self.type.startswith("section")

    @property
    def range(self) -> str:
        """The allowed values in words."""
        if self.least is not None and self.most is not None:
            words = [f"{self.least} to {self.most}"]
        else:
            words = [
                f"{said} {getattr(self, name)}" for name, said in BOUNDS.items() if getattr(self, name) is not None
            ]
        words += list(dict.fromkeys(shown(value) for value in self.one_of))
        words += [self.allowed] * bool(self.allowed)
        if not words:
            return (
                "true, false"
                if self.type == "bool"
                else f"any {self.type.replace(' or null', ', or null')}".replace("any section", "a section")
            )
        each = "each " * (self.type.startswith("list") and not self.one_of and self.least is not None)
        return each + ", ".join(words) + ", or null" * self.type.endswith("null")

    def fits(self, value: Any) -> bool:
        """Whether a value is of the type, within the bounds, and one of the choices."""
        return any(_is_a(value, kind) for kind in self.type.split(" or ")) and all(map(self._within, _leaves(value)))

    def _within(self, value: Any) -> bool:
        if value is None:  # as the type says
            return True
        if self.one_of:
            return any(value == choice and type(value) is type(choice) for choice in self.one_of)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        return (
            (self.above is None or value > self.above) and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below) and (self.most is None or value <= self.most)
        )  # fmt: skip


def _is_a(value: Any, kind: str) -> bool:
    if kind == "null":
        return value is None
    if kind.startswith("list of "):
        return isinstance(value, list) and all(_is_a(item, kind.removeprefix("list of ")) for item in value)
    if kind not in PLAIN:  # an annotation that says more than we can check
        return True
    return isinstance(value, PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))


def _leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


@cache
def entries() -> dict[str, list[tuple[tuple[str, ...], Entry]]]:
    """All of keys.yaml: by key, the classes that an entry is of (none: of any) and the entry."""
    found: dict[str, list[tuple[tuple[str, ...], Entry]]] = {}
    content = yaml.load(
        (Path(__file__).parent / "keys.yaml").read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    for title, node in content.items():
        key, _, classes = title.partition(" @ ")
        choices = tuple(node.pop("one_of", ()))
        found.setdefault(key, []).append((tuple(classes.split()), Entry(**node, one_of=choices)))
    return found


def entry_of(key: str, classes: list[str]) -> Entry | None:
    """What is known of a key, within sections that build some classes; of a key in a mapping, what is known of the mapping.

    Args:
        key: dotted.
        classes: names of the classes, without their packages.
    """
    same = [known for known in entries() if fnmatchcase(key, known)] if key not in entries() else [key]
    variants = [variant for known in same for variant in entries()[known]]
    ours = [entry for of, entry in variants if set(of) & set(classes)] + [entry for of, entry in variants if not of]
    if ours:
        return ours[0]
    parent, dot, _ = key.rpartition(".")
    above = entry_of(parent, classes) if dot else None
    return above if above and above.type.startswith("mapping") else None


def entry_by_signature(cls: type, name: str) -> Entry:
    """What a class says of one of its arguments: annotation, default, and the line of its docstring."""
    for base in cls.__mro__:
        given = inspect.signature(vars(base)["__init__"]).parameters if "__init__" in vars(base) else {}
        if name in given:
            parameter = given[name]
            kind, default = parameter.annotation, parameter.default
            told = (
                kind
                if isinstance(kind, str)
                else getattr(kind, "__name__", "")
                if isinstance(kind, type)
                else str(kind)
            )
            line = (
                _argument_line(base, name)
                or f"an argument of {cls.__module__}.{cls.__qualname__}: see its documentation"
            )
            return Entry(
                type=_plainly(told) if kind is not inspect.Parameter.empty else "not declared", why=line,
                allowed=f"what {cls.__qualname__} takes", unset=... if default is inspect.Parameter.empty else default,
            )  # fmt: skip
    return Entry(type="not declared", why=f"{cls.__qualname__} takes any key", allowed=f"what {cls.__qualname__} takes")


def _plainly(annotation: str) -> str:
    """An annotation in the words of keys.yaml, as far as it has such."""
    text = re.sub(r"\b(typing|collections\.abc|torch)\.", "", annotation)
    text = re.sub(r"Union\[(.*), NoneType\]", r"\1 or null", text)
    text = re.sub(r"Union\[(.*)\]", r"\1", text)
    text = re.sub(r"Optional\[(\w+)\]", r"\1 or null", text)
    return text.replace(" | ", " or ").replace("None", "null").replace("str", "text").replace("'", "")


def _argument_line(cls: type, name: str) -> str:
    """The first sentence of a docstring on an argument, which stands there as `name: ...` or `one, name: ...`."""
    text = f"{inspect.getdoc(cls)}\n\n{inspect.getdoc(vars(cls)['__init__'])}"
    found = re.search(rf"^\s*(?:\w+, )*{name}(?:, \w+)*(?: \([^)]*\))?: (.+(?:\n\s{{8,}}.+)*)", text, re.MULTILINE)
    return " ".join(found[1].split()).partition(". ")[0].rstrip(".") if found else ""


def shown(value: Any) -> str:
    """A value as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {shown(item)}' for key, item in value.items())}}}"
    return str(value)
