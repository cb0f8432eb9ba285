"""What keys and their values are, in the words of messages."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

from speechml.config.schema import Key, arms, section_of

NAMES = {  # of a type: by itself, in a sentence, and of several
    int: ("int", "a whole number", "whole numbers"), float: ("float", "a number", "numbers"), str: ("text", "text", "words"),
    bool: ("bool", "true or false", ""), Path: ("path", "a path", ""), dict: ("mapping", "a mapping", ""),
    NoneType: ("null", "null", ""),
}  # fmt: skip


def type_text(kind: object) -> str:
    """A type, as `int or null`."""
    return " or ".join(dict.fromkeys(name for arm in arms(kind) for name in _type_names(arm)))


def _type_names(kind: object) -> list[str]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return [NAMES[type(choice)][0] for choice in inner]
    if origin is list:
        return [f"list of {type_text(inner[0])}"]
    return ["section" if section_of(kind) else NAMES[origin or kind][0]]  # type: ignore[index] # a type that keys have


def allowed_text(known: Key) -> str:
    """The values that a key can have, as `a whole number of at least 1, or null`."""
    kinds = arms(known.kind)
    if known.choices:
        words = [*dict.fromkeys(map(format_value, known.choices)), *(["null"] if NoneType in kinds else [])]
        words += ["a section that names a class"] * any(get_origin(kind) is dict for kind in kinds)
        return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    phrases = [_phrase(kind) for kind in kinds if kind is not NoneType and not (kind is int and float in kinds)]
    text = " or ".join(phrases) + _bounds(known)
    return text + ", or null" * (NoneType in kinds) + f" ({known.allowed})" * bool(known.allowed)


def _phrase(kind: object) -> str:
    if section_of(kind):
        return "a section"
    lists = 0
    while get_origin(kind) is list:
        kind, lists = get_args(kind)[0], lists + 1
    kind = arms(kind)[0]
    names = NAMES[get_origin(kind) or kind]  # type: ignore[index] # a type that keys have
    return f"a list of {'lists of ' * (lists - 1)}{names[2]}" if lists else names[1]


def _bounds(known: Key) -> str:
    if known.least is not None and known.most is not None:
        return f" from {known.least} to {known.most}"
    bounds = {" of at least ": known.least, " above ": known.above, " below ": known.below, " of at most ": known.most}
    return " and".join(f"{word}{bound}" for word, bound in bounds.items() if bound is not None)


def format_value(value: object) -> str:
    """A value as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {format_value(item)}' for name, item in value.items())}}}"
    return str(value)


def explain_source(place: str, name: str, remedy: str) -> str:
    """The remedy for a key of `place` that nothing reads, with how it is left out where a file or merged mapping has it."""
    hydra = sys.modules.get(
        "hydra.core.hydra_config"
    )  # not imported for a checkpoint, whose config it has not composed
    composed = hydra.HydraConfig.get() if hydra and hydra.HydraConfig.initialized() else None
    words = [word.lstrip("+") for word in composed.overrides.task] if composed else []
    given = _given_class(place, words)
    if given and name not in given:
        return explain_merge(place, words)
    keys = [word.partition("=")[0] for word in words]
    is_of_file = place in keys and f"{place}.{name}" not in keys and not any(w.startswith(f"{place}={{") for w in words)
    also = f"{'' if remedy.endswith('?') else ';'} '~{place}.{name}' leaves out what a file sets"
    return remedy + also * is_of_file


def explain_merge(place: str, words: Iterable[str]) -> str:
    """How these overrides put a class in place of another; nothing where they give no class for `place`."""
    given = _given_class(place, words)
    if not given:
        return ""
    instead = shlex.join([f"~{place}", f"+{place}={given}"])
    return f"{place} of the command line is merged into that of the config; {instead} puts it in its place"


def _given_class(place: str, words: Iterable[str]) -> str:
    """The mapping with a `_target_` that an override gives for a key; nothing where none does."""
    given = next((word.removeprefix(f"{place}=") for word in words if word.startswith(f"{place}={{")), "")
    return given if "_target_" in given else ""
