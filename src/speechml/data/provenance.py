"""Where the items of a data set come from, as far as their data module knows: what an audit of the splits goes by."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from speechml.storage.audio import Samples
    from speechml.storage.pack import Pack

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
