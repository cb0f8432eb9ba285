"""Values on a command line that Hydra reads as something else, or not at all, quoted so that they mean what was typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from speechml.config.compose import PATHS, PATTERNS
from speechml.config.schema import data_keys

UNREADABLE, SWEEP = object(), object()


def quote(text: str) -> str:
    """A text as Hydra takes it, whatever characters it has."""
    return str(QuotedString(text, Quote.single).with_quotes())


def quote_for_shell(key: str, value: str) -> str:
    """An override as it is typed in a shell, its value taken as it is."""
    word = f"{key}={quote(value)}"
    return shlex.quote(word) if set(word) & set('"$`\\!') else f'"{word}"'  # the second reads better


def read_literally(word: str, is_sweep: bool) -> str:
    """An override with its value quoted where it is a path, a pattern, or beyond ASCII, which Hydra reads otherwise.

    Args:
        word: as it was typed.
        is_sweep: whether commas part values.
    """
    key, _, value = word.partition("=")
    read, is_path = _read(word), _is_path(key.lstrip("+"))
    if key.startswith(("data.", "test_sets.")) and key.endswith(PATTERNS):
        is_read = isinstance(read, (str, int)) or read is None or (read is SWEEP and is_sweep)
        return word if is_read else f"{key}={quote(value)}"
    if is_path and is_sweep and "," in value:
        parts = [_quote_path(key, part) for part in value.split(",")] if read is UNREADABLE else [value]
        return f"{key}={','.join(parts)}"
    if is_path:
        return f"{key}={value if read is SWEEP and not Path(value).exists() else _quote_path(key, value)}"
    if read is UNREADABLE and not value.isascii():
        letters = r"[^\[\]{},:'\"]*[^\x00-\x7f\[\]{},:'\"][^\[\]{},:'\"]*"
        quoted = f"{key}={re.sub(letters, lambda found: quote(found.group().strip()), value)}"
        return word if _read(quoted) is UNREADABLE else quoted
    return word


def _quote_path(key: str, value: str) -> str:
    read = _read(f"{key}={value}")
    return value if read is None or (isinstance(read, str) and value == value.strip()) else quote(value)


def _read(word: str) -> object:
    """What Hydra makes of the value of an override."""
    try:
        override = OverridesParser.create().parse_override(word)
        return SWEEP if override.is_sweep_override() else override.value()
    except HydraException:
        return UNREADABLE


def _is_path(key: str) -> bool:
    section, _, name = key.partition(".")
    if section == "test_sets":
        section, name = "data", key.rpartition(".")[2]
    known = data_keys(None).get(name) if section == "data" else None
    return key in PATHS or (section == "data" and (known is None or known.is_path))  # None: of the user's own
