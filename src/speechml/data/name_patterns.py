"""Words and speakers of folders whose files are all named alike: 7_george_12.wav, george_0.wav.

Only where the whole folder fits one pattern, so that a name like `noise_1.wav` makes nobody a speaker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from speechml.data.name_rules import NONE
from speechml.data.provenance import speaker_in

WORD_SPEAKER_NUMBER = re.compile(r"([^\W_]+)_([^\W\d_][^\W_]*)_\d+")  # 7_george_12
NAME_NUMBER = re.compile(r"([^\W\d_][^\W_]*)_\d+")  # george_0
# What files are called that say nothing of who speaks, scenes of noise among them; lower case, in the singular.
NOBODY = frozenset((
    "audio", "background", "babble", "clean", "clip", "dev", "dirty", "enhanced", "eval", "example", "file", "item", "mix",
    "mixture", "music", "noise", "noisy", "output", "part", "rec", "record", "recording", "sample", "segment", "signal",
    "sound", "speech", "take", "test", "track", "train", "utt", "utterance", "val", "valid", "validation", "voice", "wav",
    "bus", "cafe", "cafeteria", "car", "chapter", "field", "gain", "home", "intro", "kitchen", "level", "living", "metro",
    "office", "park", "restaurant", "river", "room", "scene", "session", "snr", "square", "station", "street",
    "traffic", "washing",
))  # fmt: skip
READ = "names read as"
OTHERWISE = "to read them otherwise"
UNREAD = f"data.speaker={NONE} to read no speakers"
SHOWN = 5  # names, in a note


class NameParts(NamedTuple):
    """What names say, an entry a file, and a sentence on how they were read."""

    words: list[str]
    speakers: list[str]
    note: str


def read_words_and_speakers(names: Sequence[str]) -> NameParts | None:
    """Words and speakers of files in one folder, all called word_speaker_number; None where they are not, or may not be.

    Two words and two speakers at least, each speaker with several words: names in which a part never changes, or goes with
    the other, say nothing. Names of published corpora are read by `provenance.speaker_in`.
    """
    parts = _match_all(WORD_SPEAKER_NUMBER, names)
    if parts is None or len({PurePosixPath(name).parent for name in names}) > 1:
        return None
    words, speakers = [match[1] for match in parts], [match[2] for match in parts]
    if len(set(words)) < 2 or not _are_people(speakers) or not _says_several(speakers, words):
        return None
    count = f"{len(set(words))} words, {len(set(speakers))} speakers"
    note = f"{READ} word_speaker_number: {count}; set data.word / data.speaker {OTHERWISE}, {UNREAD}"
    return NameParts(words, speakers, note)


def read_speakers(names: Sequence[str], words: Sequence[str] = ()) -> NameParts | None:
    """Speakers of files that are all called name_number; None where they are not, or may not be.

    Args:
        names: of the files; folders before them do not matter.
        words: of the files, where they are clips of words: a name that goes with one word only may be the word's.

    Two names of two files each at least.
    """
    parts = _match_all(NAME_NUMBER, names)
    if parts is None:
        return None
    speakers = [match[1] for match in parts]
    several = sum(count > 1 for count in Counter(speakers).values())
    if several < 2 or not _are_people(speakers) or (words and not _says_several(speakers, words)):
        return None
    people = sorted(set(speakers))
    shown = ", ".join(people[:SHOWN]) + ", ..." * (len(people) > SHOWN)
    note = f"{READ} speaker_number: {len(people)} speakers ({shown}); set data.speaker {OTHERWISE}, {UNREAD}"
    return NameParts(list(words), speakers, note)


def _match_all(pattern: re.Pattern[str], names: Sequence[str]) -> list[re.Match[str]] | None:
    """The match of each file's name without folders and extension; None where some does not fit, or a corpus is known."""
    found = []
    for name in names:
        match = pattern.fullmatch(PurePosixPath(name).stem)
        if match is None or speaker_in(name):
            return None
        found.append(match)
    return found or None


def _are_people(speakers: Sequence[str]) -> bool:
    """Whether names may be of several people."""
    known = {name.casefold() for name in speakers}
    return len(known) > 1 and not (known | {name.removesuffix("s") for name in known}) & NOBODY


def _says_several(speakers: Sequence[str], words: Sequence[str]) -> bool:
    """Whether everybody says more than one word."""
    pairs = set(zip(speakers, words, strict=True))
    return min(Counter(speaker for speaker, _ in pairs).values()) > 1
