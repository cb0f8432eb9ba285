"""Who speaks, as far as names tell, and splits in which nobody is heard in two parts."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from speechml.contracts import SPLITS
from speechml.data.base import random_split
from speechml.errors import UserError
from speechml.signal.random import key, permutation

LISTS = {"test": "testing_list.txt", "val": "validation_list.txt"}
# How published corpora write the speaker into their file names; anybody else's names are not interpreted.
NAMED_SPEAKERS = (
    re.compile(r"(p\d{3}|s5)_\d{3}(?!\d)"),  # VCTK and VoiceBank: p225_001
    re.compile(r"(\d{2,5})-\d{3,6}-\d{4}$"),  # LibriSpeech: 84-121123-0000
)


def speaker_in(name: str) -> str | None:
    """The speaker that a file name of a published corpus carries, or None: yes/0a7c2a8d_nohash_0.wav is by 0a7c2a8d."""
    file = name.rpartition("/")[2]
    mark, found, _ = file.partition("_nohash_")
    if found:
        return mark
    stem = file.rpartition(".")[0] or file
    return next((match[1] for layout in NAMED_SPEAKERS if (match := layout.match(stem))), None)


def speakers_of(paths: Sequence[Path]) -> list[str]:
    """The speaker folder of each relative path.

    LibriSpeech's layout is known by its names (reader/chapter/reader-chapter-number); elsewhere it is the first folder
    at which the tree branches. Files that lie in no such folder are one speaker.
    """
    if all(len(p.parts) >= 3 and p.stem.startswith(f"{p.parts[-3]}-{p.parts[-2]}-") for p in paths):
        return [p.parts[-3] for p in paths]
    depth = 0
    while all(len(p.parts) > depth + 1 for p in paths) and len({p.parts[depth] for p in paths}) == 1:
        depth += 1
    return [p.parts[depth] if len(p.parts) > depth + 1 else "" for p in paths]


def split_by_speaker(speakers: Sequence[str], split_seed: int) -> tuple[dict[str, list[int]], str]:
    """Recordings of each split such that test speakers are never heard in training, and the name of the protocol.

    Three speakers or more are divided about 60/20/20 by speaker. Two: one, by `split_seed`, trains and validates
    on different recordings, the other tests. One: divided by recording, protocol `random`.
    """
    names = sorted(set(speakers))
    files = {name: [i for i, s in enumerate(speakers) if s == name] for name in names}
    if len(names) == 1:
        return random_split(len(speakers), split_seed), "random"
    if len(names) == 2:
        unseen, seen = (names[i] for i in permutation(key("split", split_seed), 2))
        halves, own = random_split(len(files[seen]), split_seed, (0.2, 0.0)), files[seen]
        return {
            "train": [own[i] for i in sorted(halves["train"] + halves["test"])],
            "val": [own[i] for i in halves["val"]],
            "test": files[unseen],
        }, "speaker"
    groups = random_split(len(names), split_seed)
    return {split: sorted(i for n in groups[split] for i in files[names[n]]) for split in SPLITS}, "speaker"


def voice_speaker(voice: str) -> str:
    """Who speaks with a voice of espeak-ng: `en-us+f2` and `en+f2` are f2's, and so are `en+steph` and `en+Steph3` steph's.

    The variant sets the timbre (formants, pitch, breath); the accent only sets how words are pronounced. Variants whose
    names differ by a number are versions of one speaker, but f1 to f5 and m1 to m8 are that many people.
    """
    return re.sub(r"(?<=[a-z]{2})\d+$", "", voice.partition("+")[2].casefold())


def split_by_voice(voices: Sequence[str], shares: Mapping[str, float], seed: int = 0) -> dict[str, list[int]]:
    """Share clips out so that no speaker is heard in two splits: for each split the clip numbers, sorted.

    Speakers with the most clips are placed first, so they land in the largest split.

    Args:
        voices: espeak-ng's, one a clip.
        shares: of the clips, one a split; met as nearly as whole speakers allow.
        seed: of the order in which speakers are placed.

    Raises:
        ValueError: shares that are not positive or do not add up to 1, or too few speakers to fill every split.
    """
    if min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares are {dict(shares)}; they must be positive and add up to 1")
    clips: dict[str, list[int]] = {}
    for number, voice in enumerate(voices):
        clips.setdefault(voice_speaker(voice), []).append(number)
    names = sorted(clips)
    np.random.default_rng(seed).shuffle(names)
    splits: dict[str, list[int]] = {split: [] for split in shares}
    for name in sorted(names, key=lambda name: -len(clips[name])):  # stable: equals stay shuffled
        missing = {split: shares[split] * len(voices) - len(clips_of) for split, clips_of in splits.items()}
        splits[max(missing, key=missing.__getitem__)] += clips[name]
    if not all(splits.values()):
        raise ValueError(f"{len(names)} speakers are too few for {dict(shares)}: each split needs at least one")
    return {split: sorted(clips_of) for split, clips_of in splits.items()}


def word_of(name: str) -> str:
    """The word folder of a name."""
    return name.partition("/")[0]


def speaker_mark(name: str) -> str:
    """The speaker's mark in a file name of the data set; of other names, all but folder and extension."""
    file = name.rpartition("/")[2]
    return file.partition("_nohash_")[0] if "_nohash_" in file else file.rpartition(".")[0]


@cache
def split_of_speaker(mark: str) -> str:
    """The split that the data set's own rule gives a speaker: a hash of the mark, 10 % test, 10 % validation.

    The rule is `which_set` in the README of Speech Commands (Warden 2018): SHA-1 modulo 2^27 as a percentage.
    """
    largest = 2**27 - 1
    percentage = int(hashlib.sha1(os.fsencode(mark)).hexdigest(), 16) % (largest + 1) * (100.0 / largest)
    return "val" if percentage < 10 else "test" if percentage < 20 else "train"


def has_lists(root: Path) -> bool:
    """Whether lists say which clips are validation and test."""
    return all((root / name).is_file() for name in LISTS.values())


def official_splits(root: Path, names: list[str], words: set[str]) -> list[str]:
    """The split of each clip, by the list files where they are there, else by the speaker's hash.

    Raises:
        UserError: a list names clips of the given words that are not there, or clips of the other list, or is alone.
    """
    there_are = [(root / name).is_file() for name in LISTS.values()]
    if not any(there_are):
        return [split_of_speaker(speaker_mark(name)) for name in names]
    if not all(there_are):
        raise UserError(
            f"{root} holds one of {' and '.join(LISTS.values())}",
            fix="give both, or none (speakers are then divided by their hash)",
        )
    there, splits = set(names), dict[str, str]()
    for split, file in LISTS.items():
        clips = read_list(root / file)
        missing = [name for name in clips if name not in there and word_of(name) in words]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{root / file} names {missing[0]}{more}, which {'are' if more else 'is'} not there",
                fix="bring the clips back, correct the list, or remove both lists (speakers are then divided by their hash)",
            )
        if twice := [name for name in clips if name in splits]:
            raise UserError(
                f"{twice[0]} is in {LISTS['test']} and in {LISTS['val']} of {root}", fix="take it out of one"
            )
        splits |= dict.fromkeys(clips, split)
    return [splits.get(name, "train") for name in names]


def read_list(path: Path) -> list[str]:
    """The clips that a list names, a line each. Raises UserError where it cannot be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of clips", why=str(error)) from error
