"""Whether the test set is new to a network that has learned from the training set: what several splits share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from speechml.contracts import SPLITS

if TYPE_CHECKING:
    from speechml.data.base import BaseDataModule
    from speechml.data.provenance import Provenance

PASSES, FLAGGED, UNKNOWN = "passes", "flagged", "unknown"
WIDTH = 90  # characters of a line in the table
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
COMPARED_SPLITS = (("test", "train"), ("test", "val"), ("val", "train"))


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        state: PASSES, FLAGGED or UNKNOWN.
        found: a sentence, without its full stop.
        shared, of: of how many of the test items it is true; None where that was not counted.
    """

    check: str
    state: str
    found: str
    shared: int | None = None
    of: int | None = None


@dataclass(frozen=True)
class Audit:
    """What all checks found."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """The worst state of the findings."""
        return next((state for state in (FLAGGED, UNKNOWN) if self.checks(state)), PASSES)

    def checks(self, state: str) -> list[str]:
        """The names of the checks with this result."""
        return [finding.check for finding in self.findings if finding.state == state]

    def to_json(self) -> dict[str, object]:
        """What a card holds."""
        return {"verdict": self.verdict, "findings": [asdict(finding) for finding in self.findings]}

    @classmethod
    def from_json(cls, content: Mapping[str, object] | None) -> Audit | None:
        """The audit in a card; None of runs that are older than audits, or where it is damaged."""
        findings = (content or {}).get("findings")
        try:
            return cls(tuple(Finding(**finding) for finding in findings)) if isinstance(findings, list) else None
        except TypeError:  # other fields
            return None


class Items(NamedTuple):
    """The items of a data module: what they are called, in the plural, and their numbers by split."""

    name: str
    splits: Mapping[str, Sequence[int]]

    @property
    def test_count(self) -> int:
        """Number of test items."""
        return len(self.splits["test"])


def audit_data(data: BaseDataModule) -> Audit:
    """Audit the splits of a data module."""
    return audit_splits(Items(data.spec.item_name, data.splits), data.provenance())


def audit_splits(items: Items, provenance: Provenance) -> Audit:
    """Run each check that applies to items of such provenance."""
    return Audit(tuple(_findings(items, provenance)))


def audit_other_data(data: BaseDataModule, seen: int) -> Audit:
    """Audit a test on other data than a run's own, `seen` items of which the run was trained or validated on."""
    items = Items(data.spec.item_name, data.splits)
    text = f"{seen or 'none'} of the {items.test_count:,} {items.name} {'were' if seen else 'was'} used, at least in part, "
    text += "to train or validate the run"
    state = FLAGGED if seen else PASSES
    source = "song" if "song" in data.provenance().sources else "speaker"
    return Audit((
        Finding("identical audio", state, text, seen, items.test_count),
        Finding(f"{source}s", UNKNOWN, f"a run keeps no list of the {source}s that it was trained on"),
    ))  # fmt: skip


def audit_lines(audit: Audit | None) -> list[str]:
    """The audit as it is printed below the scores of a run; nothing where a run has none, being older."""
    if audit is None:
        return []
    if audit.verdict == FLAGGED:
        return [f"Audit: flagged, {f.check}: {f.found}." for f in audit.findings if f.state == FLAGGED]
    passed = f"({', '.join(audit.checks(PASSES))} checked)"
    if audit.verdict == UNKNOWN:
        return [f"Audit: nothing found, but {', '.join(audit.checks(UNKNOWN))} not known {passed}."]
    return [f"Audit: passes {passed}."]


def audit_report(data: BaseDataModule) -> tuple[str, bool]:
    """The audit of a data module as `speechml audit` prints it, and whether something was flagged."""
    from speechml.runs.tables import table

    card, audit = data.card(), audit_data(data)
    counts = ", ".join(f"{count:,} {SPLIT_NAMES[split]}" for split, count in card.recordings.items())
    rows = []
    for f in audit.findings:
        first, *rest = wrap(f.found, WIDTH)
        rows += [[f.check, f.state, first], *(["", "", more] for more in rest)]
    flagged = ", ".join(audit.checks(FLAGGED))
    return "\n".join([
        f"{card.data}, split protocol {card.protocol}: {counts} {card.called}", "",
        table(["check", "result", "found"], rows, left=(0, 1, 2)), "",
        f"Verdict: {audit.verdict}" + f" ({flagged})" * bool(flagged),
    ]), bool(flagged)  # fmt: skip


def _findings(items: Items, provenance: Provenance) -> Iterator[Finding]:
    for source, of_items in provenance.sources.items():
        if finding := check_sources(items, source, of_items, provenance.in_time):
            yield finding
    if provenance.moments is not None:
        yield check_moments(items, provenance.moments)
    if provenance.stretches is not None:
        yield check_stretches(provenance.stretches, provenance.rate)
    if provenance.noise is not None:
        yield check_noise(items, provenance)
    if provenance.content_keys:
        yield check_identical(items, provenance)
    yield check_statistics(items, provenance)


def check_sources(items: Items, source: str, of_items: Sequence[str | None], in_time: bool) -> Finding | None:
    """Check whether speakers, songs or recordings of the test set are in another split as well.

    Args:
        source: which of them.
        of_items: see `Provenance.sources`.
        in_time: whether the splits are other moments of them.

    Returns:
        None where the test items are pieces of none.
    """
    counts = {split: Counter(of_items[i] for i in items.splits[split] if of_items[i] != "") for split in SPLITS}
    not_known = sum(counts[split].pop(None, 0) for split in SPLITS)
    test = counts["test"]
    if not test and not not_known:
        return None
    for other in ("train", "val"):
        if both := test.keys() & counts[other].keys():
            shared, when = sum(test[one] for one in both), ", at other moments" * in_time
            are = "is" if len(test) == 1 else "are"
            text = f"{_share(len(both), len(test), source)} {are} in the {SPLIT_NAMES[other]} set as well"
            text += f" ({shared:,} of {items.test_count:,} test {items.name}{when})"
            return Finding(f"{source}s", FLAGGED, text, shared, items.test_count)
    if not_known:
        every = sum(len(items.splits[split]) for split in SPLITS)
        text = f"the {source} of {not_known:,} of the {every:,} {items.name} is not known: their names do not tell it"
        return Finding(f"{source}s", UNKNOWN, text)
    text = f"none of the {len(test):,} test {source}s is in another split"
    if len(test) == 1:
        text = f"the one test {source} is in no other split"
    if easier := counts["val"].keys() & counts["train"].keys():
        text += f"; validation shares {len(easier):,} of its {len(counts['val']):,} with training"
    return Finding(f"{source}s", PASSES, text, 0, items.test_count)


def _share(some: int, every: int, noun: str) -> str:
    """So many of the test's speakers, say, in words."""
    if every == 1:
        return f"the one test {noun}"
    return f"all {every:,} test {noun}s" if some == every else f"{some:,} of the {every:,} test {noun}s"


def check_moments(items: Items, places: np.ndarray) -> Finding:
    """Check whether the training set has the other channel of test rows, or the blocks around them.

    Where the splits are stretches in time, a block at a seam has one neighbour in training, which is no leak of its moment;
    between two training blocks there is little new.

    Args:
        places: see `Provenance.moments`.
    """
    song, _, block = places.T
    moment = song * (int(block.max(initial=0)) + 3) + block + 1  # room for a step before the first and after the last
    train, test = np.unique(moment[items.splits["train"]]), moment[items.splits["test"]]
    same, before, after = (np.isin(test + step, train) for step in (0, -1, 1))
    shared, total = int((same | before | after).sum()), len(test)
    if same.any() or (before & after).any():
        share = f"{_share(shared, total, items.name[:-1])} ({shared / total:.0%})"
        text = f"the training set has the other channel of the moment, or the block before or after it, of {share}"
        return Finding("moments", FLAGGED, text, shared, total)
    text = f"the training set has neither the other channel nor a neighbouring block of any of the {total:,} test {items.name}"
    if shared:
        text = (
            f"no other channel of a test moment is in the training set; {shared:,} of {total:,} test {items.name} lie "
        )
        text += "beside a training block, at a seam"
    return Finding("moments", PASSES, text, shared, total)


def check_stretches(stretches: Mapping[str, tuple[int, int]], rate: int) -> Finding:
    """Check whether the test stretch of a recording shares samples with the others, given in samples at `rate` Hz."""
    begin, end = stretches["test"]
    common = {
        split: max(0, min(end, stretches[split][1]) - max(begin, stretches[split][0])) / rate
        for split in ("train", "val")
    }
    total = (end - begin) / rate
    if most := max(common.values()):
        split = SPLIT_NAMES["train" if common["train"] else "val"]
        text = f"{most:.1f} of the {total:.1f} s that are scored are in the {split} set, so they are no test"
        return Finding("moments", FLAGGED, text, 1, 1)
    apart = all(one[1] <= other[0] for one, other in pairwise(sorted(stretches.values())))
    gap = max(begin - stretches["train"][1], stretches["train"][0] - end) / rate
    text = f"the {total:.1f} s of the test set begin {gap:.1f} s after the training set ends"
    text += "; no sample is in two splits" if apart else "; validation is trained on"
    return Finding("moments", PASSES, text, 0, 1)


def check_noise(items: Items, provenance: Provenance) -> Finding:
    """Check whether noise of the test set is in another split."""
    noise = provenance.noise
    assert noise is not None
    if noise.recordings is None:
        return Finding("noise", UNKNOWN, "which recordings of noise were mixed in is not known")
    if not noise.recordings:
        text = f"every one of the {items.name} has noise of its own"
        return Finding("noise", PASSES, text, 0, items.test_count)
    total, of = len(noise.stretches["test"]), noise.stretches
    hits = {pair: overlapping(of[pair[0]], of[pair[1]]) for pair in COMPARED_SPLITS}
    if shared := [f"{SPLIT_NAMES[one]} and {SPLIT_NAMES[two]}" for (one, two), hit in hits.items() if hit.any()]:
        text = f"the same stretches of noise are in {' and in '.join(shared)}"
        return Finding("noise", FLAGGED, text, int((hits["test", "train"] | hits["test", "val"]).sum()), total)
    one = "the recording of noise is" if noise.recordings == 1 else f"the {noise.recordings:,} recordings of noise are"
    return Finding("noise", PASSES, f"{one} in every split, cut in time: no stretch of noise is in two", 0, total)


def overlapping(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of some stretches share samples with any of the others.

    Shape: (stretches, 3): recording, first sample, first one after it -> (stretches,).
    """
    both = np.concatenate([some, others])
    far = both[:, 1:].max(initial=0) + 1
    begins, ends = (np.sort(others[:, 0] * far + others[:, i]) for i in (1, 2))
    begin, end = (some[:, 0] * far + some[:, i] for i in (1, 2))
    # Those that begin before its end, without those that end before it begins.
    return np.asarray(np.searchsorted(begins, end, "left") > np.searchsorted(ends, begin, "right"))


def check_identical(items: Items, provenance: Provenance) -> Finding:
    """Check whether equal items are in two splits, whatever their names and labels; silence is equal by its nature."""
    texts: list[str] = []
    shared: set[int] = set()
    silent = 0
    for of, keys in provenance.content_keys.items():
        sets = {split: {keys[i] for i in items.splits[split]} for split in SPLITS}
        both = {pair: sets[pair[0]] & sets[pair[1]] for pair in COMPARED_SPLITS}
        if not any(both.values()):
            continue
        first = {key: i for i, key in enumerate(keys)}
        quiet = {key for key in set().union(*both.values()) if provenance.silent(of, first[key])}
        silent += sum(keys[i] in quiet for split in SPLITS for i in items.splits[split])
        for (split, other), common in both.items():
            if again := [i for i in items.splits[split] if keys[i] in common and keys[i] not in quiet]:
                count = f"{len(again):,} of the {len(items.splits[split]):,} {SPLIT_NAMES[split]} {items.name}"
                shared.update(again if split == "test" else ())
                subject = f"the {of} of {count} {'is' if len(again) == 1 else 'are'}" if of else f"{count} are"
                texts.append(f"{subject} in the {SPLIT_NAMES[other]} set as well, value by value")
    alike = f" ({silent:,} silent ones, alike by nature, are not counted)" if silent else ""
    if texts:
        return Finding("identical audio", FLAGGED, "; ".join(texts) + alike, len(shared), items.test_count)
    what = "" if "" in provenance.content_keys else f" in their {' or '.join(provenance.content_keys)}"
    text = f"no two {items.name} of different splits are equal{what}{alike}"
    return Finding("identical audio", PASSES, text, 0, items.test_count)


def check_statistics(items: Items, provenance: Provenance) -> Finding:
    """Check whether what is computed of the items before the first step includes some of the test set."""
    total, statistics = items.test_count, provenance.statistics
    if not statistics:
        return Finding("statistics", PASSES, "nothing is fitted to the data before training", 0, total)
    if shared := len(set(provenance.fitted) & set(items.splits["test"])):
        text = f"{statistics} are fitted with {_share(shared, total, items.name[:-1])}"
        return Finding("statistics", FLAGGED, text, shared, total)
    return Finding("statistics", PASSES, f"{statistics} are fitted on the training set alone", 0, total)
