"""Whether splits that are cut in time share moments: of music, of which blocks are items, and of one long recording."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from speechml.report.audit import FLAGGED, PASSES, SPLIT_NAMES, Finding, Items

if TYPE_CHECKING:
    from speechml.data.provenance import Provenance


def check_time(items: Items, provenance: Provenance) -> Finding:
    """Check the moments or the stretches of such a provenance, whichever it knows."""
    if provenance.moments is not None:
        return check_moments(items, provenance.moments)
    return check_stretches(provenance.stretches or {}, provenance.rate)


def check_moments(items: Items, places: np.ndarray) -> Finding:
    """Check whether the training set has the other channel of test rows, or the blocks around them: `Provenance.moments`.

    Where the splits are stretches in time, a block at a seam has one neighbour in training, which is no leak of its moment;
    between two training blocks there is little new.
    """
    song, _, block = places.T
    moment = song * (int(block.max(initial=0)) + 3) + block + 1  # room for a step before the first and after the last
    train, test = np.unique(moment[items.splits["train"]]), moment[items.splits["test"]]
    same, before, after = (np.isin(test + step, train) for step in (0, -1, 1))
    shared, total = int((same | before | after).sum()), len(test)
    share = f"{shared:,} of {total:,} test {items.name}"
    if same.any() or (before & after).any():
        text = f"the training set has the other channel of the moment, or the block before or after it, of {share}"
        return Finding("moments", FLAGGED, f"{text} ({shared / total:.0%})", shared, total)
    text = f"no other channel of a test moment is in the training set; {share} lie beside a training block, at a seam"
    return Finding("moments", PASSES, text, shared, total)


def check_stretches(stretches: Mapping[str, tuple[int, int]], rate: int) -> Finding:
    """Check whether the test stretch of a recording shares samples with the others, given in samples at `rate` Hz."""
    begin, end = stretches["test"]
    total = (end - begin) / rate
    for split in ("train", "val"):
        first, last = stretches[split]
        if (common := min(end, last) - max(begin, first)) > 0:
            text = f"{common / rate:.1f} of the {total:.1f} s that are scored are in the {SPLIT_NAMES[split]} set"
            return Finding("moments", FLAGGED, f"{text}, so they are no test", 1, 1)
    apart = all(one[1] <= other[0] for one, other in pairwise(sorted(stretches.values())))
    gap = max(begin - stretches["train"][1], stretches["train"][0] - end) / rate
    text = f"the {total:.1f} s of the test set begin {gap:.1f} s after the training set ends"
    text += "; no sample is in two splits" if apart else "; validation is trained on"
    return Finding("moments", PASSES, text, 0, 1)
