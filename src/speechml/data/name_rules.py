"""What stands in the names of recordings (who speaks, which word), found by a rule of the user's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from speechml.errors import UserError

Rule = str | int
NONE = "none"  # of data.speaker: names that are all alike say nothing of who speaks; those of published corpora do


def speaker_rule(speaker: Rule | None) -> Rule | None:
    """The rule in a value of data.speaker, of which `null` and `none` are none."""
    return None if speaker == NONE else speaker


def compile_rule(pattern: str, where: str) -> re.Pattern[str]:
    """The regular expression of a rule.

    Raises:
        UserError: it is none, might take for ever, or does not say which of its groups is meant.
    """
    example = f"{where}='([^/_]+)_[^/]*' takes what stands before the first _ of a file's name"
    if may_run_away(pattern):
        what = (
            f"{where}={pattern} repeats a group in which something repeats or has alternatives, which may take for ever"
        )
        raise UserError(what, fix=example)
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{where}={pattern} is no regular expression", str(error), example) from error
    if compiled.groups != 1 and (name := where.rpartition(".")[2]) not in compiled.groupindex:
        what = f"{where}={pattern} has {compiled.groups or 'no'} groups in parentheses"
        raise UserError(what, fix=f"put one around the {name}, or call the one that is it (?P<{name}>...)")
    return compiled


def may_run_away(pattern: str) -> bool:
    """Whether a group that is repeated holds repetitions or alternatives: names are short, so that all else is fast."""
    text = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "x", pattern)
    while group := re.search(r"\(([^()]*)\)([*+{]?)", text):
        varies = re.search(r"[*+{|]", group[1])
        if varies and group[2]:
            return True
        text = text[: group.start()] + ("x+" if varies else "x") + text[group.end(1) + 1 :]
    return False


def find_in_names(rule: Rule, names: Sequence[str], where: str = "data.speaker") -> list[str]:
    """What a rule finds in each name.

    Args:
        rule: a regular expression with one group, or with one called as the key, that is searched for; or the level of a
            folder, 0 of the first and -1 of the one that holds the file.
        names: of files relative to the folder of the data, with `/` between folders.
        where: key of the rule, for messages.

    Raises:
        UserError: it finds nothing in a name, or it is no rule.
    """
    if isinstance(rule, int):
        found = [_folder(name, rule) for name in names]
    else:
        compiled = compile_rule(rule, where)
        group = where.rpartition(".")[2] if compiled.groups > 1 else 1
        matches = (compiled.search(name) for name in names)
        found = [match[group] if match else None for match in matches]
    lost = [name for name, one in zip(names, found, strict=True) if not one]
    if lost:
        count = f"{len(lost):,} of {len(names):,} names" if len(lost) < len(names) else f"all {len(names):,} names"
        hits = (f", but {one} in {name}" for name, one in zip(names, found, strict=True) if one)
        fix = f"give a {'level that every file has' if isinstance(rule, int) else 'pattern that fits every name'}"
        raise UserError(f"{where}={rule} finds nothing in {count}, as {lost[0]}{next(hits, '')}", fix=fix)
    return [one or "" for one in found]


def _folder(name: str, level: int) -> str | None:
    folders = PurePosixPath(name).parts[:-1]
    return folders[level] if -len(folders) <= level < len(folders) else None
