"""Splits by speaker that are as even as whole speakers allow, and what is said of those of few speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from speechml.signal.random import key


def split_evenly(speakers: Sequence[str], labels: Sequence[str], split_seed: int) -> list[str]:
    """The split of each clip, about 60/20/20 of those of every label, such that nobody is heard in two.

    Speakers with the most clips are placed first, each where most clips of what they say are missing. Of fewer than three
    speakers some split stays empty.
    """
    said: dict[str, Counter[str]] = {}
    for speaker, label in zip(speakers, labels, strict=True):
        said.setdefault(speaker, Counter())[label] += 1
    total = Counter(labels)
    missing = {split: {label: share * count for label, count in total.items()}
               for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2))}  # fmt: skip
    place: dict[str, str] = {}
    empty = list(missing)
    order = sorted(said, key=lambda name: (-said[name].total(), key("speaker", split_seed, name)))
    for left, name in zip(range(len(order), 0, -1), order, strict=True):
        wants = {split: sum(count * missing[split][label] / total[label] for label, count in said[name].items())
                 for split in (empty if left <= len(empty) else missing)}  # fmt: skip
        place[name] = max(wants, key=wants.__getitem__)
        empty = [split for split in empty if split != place[name]]
        for label, count in said[name].items():
            missing[place[name]][label] -= count
    return [place[name] for name in speakers]


def speaker_notes(speakers: Sequence[str]) -> list[str]:
    """A sentence on splits of `split_by_speaker`, where there are one or two speakers."""
    if (count := len(set(speakers))) > 2:
        return []
    return [
        "two speakers: one trains and validates on different recordings, the other tests" if count == 2
        else "one speaker only, as far as folders and names tell: the same voice is in all splits"
    ]  # fmt: skip
