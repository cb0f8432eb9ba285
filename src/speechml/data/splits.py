"""Who speaks, as far as names tell, and splits in which nobody is heard twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechml.contracts import SPLITS
from speechml.signal.random import key, permutation


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


def random_split(count: int, split_seed: int, shares: tuple[float, float] = (0.2, 0.2)) -> dict[str, list[int]]:
    """Numbers 0 ... count - 1 divided at random into train, val and test.

    Args:
        count: how many; from 3 on, val and test get at least one each.
        split_seed: decides which.
        shares: of val and test.
    """
    order = permutation(key("split", split_seed), count).tolist()
    val, test = (max(1, round(count * share)) if count >= 3 else 0 for share in shares)
    return {
        "test": sorted(order[:test]), "val": sorted(order[test : test + val]), "train": sorted(order[test + val :])
    }  # fmt: skip


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
        shares: of the clips, one a split, 1 together; met as nearly as whole speakers allow.
        seed: of the order in which speakers are placed; splits stay empty where these are too few.
    """
    clips: dict[str, list[int]] = {}
    for number, voice in enumerate(voices):
        clips.setdefault(voice_speaker(voice), []).append(number)
    names = sorted(clips, key=lambda name: key("voice", seed, name))  # at random, and alike with every library
    splits: dict[str, list[int]] = {split: [] for split in shares}
    for name in sorted(names, key=lambda name: -len(clips[name])):  # stable: equals stay shuffled
        missing = {split: shares[split] * len(voices) - len(clips_of) for split, clips_of in splits.items()}
        splits[max(missing, key=missing.__getitem__)] += clips[name]
    return {split: sorted(clips_of) for split, clips_of in splits.items()}
