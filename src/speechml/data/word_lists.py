"""The lists of Speech Commands, testing_list.txt and validation_list.txt: which split each clip belongs to."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from speechml.data.word_folders import split_by_hash, word_of
from speechml.errors import UserError
from speechml.storage.audio import EXTENSIONS

LISTS = {"test": "testing_list.txt", "val": "validation_list.txt"}
# A word that is not there and a file of it: lists of the whole data set serve a part of it.
OTHER_CLIP = re.compile(rf"\w[\w' -]*/\w[^/]*({'|'.join(map(re.escape, EXTENSIONS))})", re.IGNORECASE)


def find_lists(root: Path) -> dict[str, Path]:
    """The list of each split, in whatever letter case its name is written. Raises UserError where one is alone, or double."""
    there: dict[str, list[Path]] = defaultdict(list)
    for path in root.iterdir():
        there[spelling(path.name)].append(path)
    lists = {split: there[name] for split, name in LISTS.items() if there[name]}
    if len(lists) == 1:
        fix = "give both, or none (speakers are then divided by their hash)"
        raise UserError(f"{root} holds one of {' and '.join(LISTS.values())}", fix=fix)
    if double := [paths for paths in lists.values() if len(paths) > 1]:
        raise UserError(f"{double[0][0]} and {double[0][1].name} are one list twice", fix="remove one of them")
    return {split: paths[0] for split, paths in lists.items()}


def official_splits(root: Path, names: list[str], words: set[str]) -> tuple[list[str], list[str]]:
    """The split of each clip, by the list files where they are there, else by the speaker's hash; and notes on the lists.

    A line means the clip of its name; `./` and folders before it, backslashes, letter case and blanks around do not matter.

    Raises:
        UserError: a list names clips of the given words that are not there, or of the other list, or no clip, or is alone.
    """
    lists = find_lists(root)
    if not lists:
        return [split_by_hash(name) for name in names], []
    clips, splits, notes = Names(names), dict[str, str](), []
    for split, path in lists.items():
        listed, absent = read_list(path, clips, words)
        if twice := [name for name in listed if name in splits]:
            what = f"{twice[0]} is in {LISTS['test']} and in {LISTS['val']} of {root}"
            raise UserError(what, fix="take it out of one")
        splits |= dict.fromkeys(listed, split)
        if absent:
            notes.append(f"{path.name} names {len(absent)} clips of words that are not there, as {absent[0]}")
    return [splits.get(name, "train") for name in names], notes


class Names:
    """Names of clips, found again in other spellings."""

    def __init__(self, names: Iterable[str]) -> None:
        self.exact = set(names)
        self.words = {spelling(word_of(name)) for name in self.exact}
        self.alike: dict[str, list[str]] = defaultdict(list)
        for name in self.exact:
            self.alike[spelling(name)].append(name)

    def find(self, line: str) -> tuple[list[str], str]:
        """The clips that a line of a list may mean, and the line as word/file."""
        parts = [part.strip() for part in line.replace("\\", "/").split("/")]
        parts = [part for part in parts if part not in ("", ".")]
        for name in ("/".join(parts), "/".join(parts[-2:])):
            if name in self.exact:
                return [name], name
            if alike := self.alike.get(spelling(name)):
                return alike, name
        return [], "/".join(parts[-2:])


def read_list(path: Path, clips: Names, words: set[str]) -> tuple[list[str], list[str]]:
    """The clips that a list names, and those of words that are not there.

    Raises:
        UserError: it cannot be read, or a line names no clip.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of clips", why=str(error)) from error
    used = {spelling(word) for word in words}
    listed, absent, missing = list[str](), list[str](), list[tuple[int, str]]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found, name = clips.find(line)
        if len(found) == 1:
            listed.append(found[0])
            continue
        word = spelling(word_of(name))
        if not found and OTHER_CLIP.fullmatch(name) and word not in clips.words:
            absent.append(name)
        elif found or word in used or word not in clips.words:
            missing.append((number, line.strip()))
    if missing:
        number, line = missing[0]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        fix = "bring the clips back, correct the list, or remove both lists (speakers are then divided by their hash)"
        what = f"{path} names {line}{more}, which {'are' if more else 'is'} not there"
        raise UserError(what, f"line {number}", fix)
    return listed, absent


def spelling(name: str) -> str:
    """A name as it is compared: letter case and the form of its accents do not matter."""
    return unicodedata.normalize("NFC", name).casefold()
