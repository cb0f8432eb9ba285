"""Where the items of a data set come from, as far as it is known: what audits of the splits and intervals of scores go by."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from speechml.storage.audio import Samples
    from speechml.storage.pack import Pack

# How published corpora write the speaker into their file names; anybody else's names are not interpreted.
NAMED_SPEAKERS = (
    re.compile(r"(.*?)_nohash_"),  # Speech Commands: yes/0a7c2a8d_nohash_0.wav
    re.compile(r"(p\d{3}|s5)_\d{3}(?!\d)"),  # VCTK and VoiceBank: p225_001
    re.compile(r"(\d{2,5})-\d{3,6}-\d{4}(?:\.[^.]*)?$"),  # LibriSpeech: 84-121123-0000
)
MOMENT = re.compile(r"(.*)/\d+/\d+", re.DOTALL)  # a row of music: song, channel, block
KINDS = ("speaker", "song", "recording")  # columns of predictions.npz that say what an item is a piece of
NOBODY = "nobody speaks: "  # before the file that a clip without a speaker is cut from
COMPARED = 64  # samples in the middle of a recording, by which those are found that may be equal


class Noise(NamedTuple):
    """Recordings of noise that are mixed in.

    recordings: how many; 0 where every item's noise is drawn anew; None where it is not known which they are.
    stretches: what each split hears of them, (stretches, 3): recording, first sample, first one after it.
    """

    recordings: int | None
    stretches: dict[str, NDArray[np.int64]]


class Provenance(NamedTuple):
    """What a data module knows of its items. Sequences have one entry an item; what does not apply is None.

    content_keys: equal for items that are equal, and for no others, each by what of the item it is of (`` where that is all).
    silent: whether that of an item is of one value throughout, so that it is equal to others by its nature.
    sources: what an item is a piece of, by its kind (speaker, song, recording); empty where there is none, None where it is
        not known. in_time: whether the splits are other moments of the same sources.
    moments: (items, 3): song, channel, block in time.
    stretches: of each split within one recording: first sample, first one after it; `rate` of them are a second.
    noise: what is mixed in.
    classes_are: the kind of source that is told apart, so that each is in every split; empty where it is none of them.
    statistics: what is computed of the items before the first step; empty where nothing is. `fitted`: of which items.
    """

    content_keys: dict[str, Sequence[Hashable]]
    silent: Callable[[str, int], bool]
    fitted: Sequence[int]
    sources: dict[str, Sequence[str | None]]
    statistics: str = ""
    in_time: bool = False
    moments: NDArray[np.int64] | None = None
    stretches: dict[str, tuple[int, int]] | None = None
    rate: int = 1
    noise: Noise | None = None
    classes_are: str = ""


class Clusters(NamedTuple):
    """Which items belong together, so that they are not independent of one another.

    kind: what they are pieces of: speaker, song, recording; empty where that is not known of any.
    numbers: (items,) the cluster of each, from 0. An item of which it is not known is one by itself.
    names: of the clusters, empty of those that are not known.
    """

    kind: str
    numbers: NDArray[np.int64]
    names: list[str]

    @property
    def unknown(self) -> int:
        """Items of which it is not known what they are pieces of."""
        return sum(not name for name in self.names)

    def describe(self, items: str) -> str:
        """How many items of how many clusters, in words; `items` are their name in the plural."""
        total, known = f"{len(self.numbers):,} {items}", [name for name in self.names if name]
        if not known:
            return f"{total}, speakers unknown: taken as independent"
        silent = sum(name.startswith(NOBODY) for name in known)
        count = len(known) - silent
        parts = (
            [f"{'by' if self.kind == 'speaker' else 'of'} {count:,} {self.kind}{'s' * (count != 1)}"] if count else []
        )
        parts += [f"of {silent} recording{'s' * (silent != 1)} in which nobody speaks"] if silent else []
        parts += [f"{self.unknown:,} of which the {self.kind} is unknown"] if self.unknown else []
        return f"{total} {' and '.join(parts)}"


def cluster(kind: str, sources: Sequence[str]) -> Clusters:
    """Items by what they are pieces of; empty text where that is not known."""
    known = {name: number for number, name in enumerate(sorted({name for name in sources if name}))}
    numbers = np.array([known.get(name, -1) for name in sources], np.int64)
    alone = numbers < 0
    numbers[alone] = len(known) + np.arange(alone.sum())
    return Clusters(kind if known else "", numbers, [*known, *[""] * int(alone.sum())])


def cluster_rows(columns: Mapping[str, np.ndarray]) -> Clusters:
    """The clusters of the rows of predictions.npz; where older ones do not say them, those that names of corpora carry."""
    names = columns["name"].tolist()
    for kind in KINDS:
        if kind in columns:
            return cluster(kind, columns[kind].tolist())
    moments = [MOMENT.fullmatch(name) for name in names] if "logits" in columns else []
    if moments and all(moments):
        return cluster("song", [match[1] for match in moments if match])
    return cluster("speaker", [speaker_in(name) or "" for name in names])


def sources_of(known: Provenance, names: Sequence[str]) -> tuple[str, list[str]]:
    """What items are pieces of, and of which; empty text where it is not known. Shape: names (items,) -> (items,).

    Items whose speaker is not known but whose clean waveforms are equal are pieces of one recording.
    """
    kind, of_items = next(((kind, of) for kind, of in known.sources.items() if len(of) == len(names)), ("", ()))
    if any(of_items):
        nobody = (NOBODY + name.partition("#")[0] for name in names)
        found = zip(of_items, nobody, strict=True)
        return kind, [where if one == "" else one or "" for one, where in found]
    keys = known.content_keys.get("clean waveform") or known.content_keys.get("") or ()
    first: dict[Hashable, str] = {}
    same = [first.setdefault(key, name) for key, name in zip(keys, names, strict=False)]
    return ("recording", same) if len(same) == len(names) > len(first) else ("", [""] * len(names))


def speaker_in(name: str) -> str | None:
    """The speaker that a file name of a published corpus carries, or None: yes/0a7c2a8d_nohash_0.wav is by 0a7c2a8d."""
    file = name.rpartition("/")[2]
    return next((match[1] for layout in NAMED_SPEAKERS if (match := layout.match(file))), None)


def content_keys(pack: Pack) -> list[Hashable]:
    """A key for each recording of a pack: equal where all their samples are, whatever factor brings them back.

    A few samples are compared first, so that only recordings which may be equal are read whole.
    """
    lengths = pack.lengths.numpy()
    first = pack.starts.numpy() + np.maximum(lengths - COMPARED, 0) // 2
    inside = np.arange(COMPARED) < lengths[:, None]
    middles = pack.samples.numpy()[np.where(inside, first[:, None] + np.arange(COMPARED), 0)] * inside
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for i, middle in enumerate(middles):
        alike[int(lengths[i]), middle.tobytes()].append(i)
    keys: list[Hashable] = list(range(len(lengths)))
    for several in alike.values():
        if len(several) > 1:
            for i in several:
                keys[i] = hashlib.sha256(pack.recording(i).tobytes()).digest()
    return keys


def is_constant(samples: Samples) -> bool:
    """Whether samples (time,) are all the same, as in silence."""
    return bool((samples == samples[0]).all())


def shorten(checksum: str) -> str:
    """The first letters of a checksum, and behind a colon the samples that it stands for, where it is of a stretch."""
    whole, colon, span = checksum.partition(":")
    return whole[:12] + colon + span
