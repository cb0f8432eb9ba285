"""Whether the test set is new to a network that has learned from the training set: what several splits share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from speechml.contracts import SPLITS, ItemKind

if TYPE_CHECKING:
    from speechml.contracts import DataSpec
    from speechml.data.provenance import Noise, Provenance
    from speechml.runs.card import DataCard

PASSES, FLAGGED, UNKNOWN = "passes", "flagged", "unknown"
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
COMPARED_SPLITS = (("test", "train"), ("test", "val"), ("val", "train"))


@dataclass(frozen=True)
class Finding:
    """The result of one check: a state, a sentence (`found`), and of how many of the test items it is true, if counted."""

    check: str
    state: str
    found: str
    shared: int | None = None
    of: int | None = None


@dataclass(frozen=True)
class Audit:
    """The results of all checks."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """The worst state of the findings; a dash where there are none, of runs that are older than audits."""
        return next((state for state in (FLAGGED, UNKNOWN, PASSES) if self.checks(state)), "-")

    def checks(self, state: str) -> list[str]:
        """The names of the checks with this result."""
        return [finding.check for finding in self.findings if finding.state == state]

    def to_json(self) -> dict[str, object]:
        """What a card holds."""
        return {"verdict": self.verdict, "findings": [asdict(finding) for finding in self.findings]}

    @classmethod
    def from_json(cls, content: Mapping[str, object] | None) -> Audit:
        """The audit in a card, without findings where there is none or it is damaged."""
        findings = (content or {}).get("findings")
        try:
            return cls(tuple(Finding(**finding) for finding in findings) if isinstance(findings, list) else ())
        except TypeError:  # other fields
            return cls(())


class AuditedData(Protocol):
    """What an audit asks of a data module."""

    @property
    def spec(self) -> DataSpec:
        """What is known of the data."""

    @property
    def splits(self) -> dict[str, list[int]]:
        """Numbers of the items of train, val and test."""

    def provenance(self) -> Provenance:
        """Where the items come from."""

    @property
    def item_names(self) -> list[str]:
        """The name of each item."""

    def card(self) -> DataCard:
        """What a card says of them."""


class Items(NamedTuple):
    """The items of a data module: what they are called, in the plural, and their numbers by split."""

    name: str
    splits: Mapping[str, Sequence[int]]

    @property
    def test_count(self) -> int:
        return len(self.splits["test"])


def audit_lines(audit: Audit) -> list[str]:
    """The audit as it is printed below the scores of a run."""
    if audit.verdict == FLAGGED:
        return [f"Audit: flagged, {f.check}: {f.found}." for f in audit.findings if f.state == FLAGGED]
    if audit.findings and not audit.checks(PASSES):
        return [f"Audit: none, {f.found}." for f in audit.findings]
    unknown = ", ".join(audit.checks(UNKNOWN))
    said = f"nothing found, but {unknown} not known" if unknown else "passes"
    return [f"Audit: {said} ({', '.join(audit.checks(PASSES))} checked)."] if audit.findings else []


def audit_data(data: AuditedData) -> Audit:
    """Audit the splits of a data module, as far as it says what its items are."""
    if data.spec.kind is ItemKind.UNKNOWN:
        text = "the data module does not say what its items are and where they come from (provenance() would)"
        return Audit((Finding("items", UNKNOWN, text),))
    return audit_splits(Items(data.spec.item_name, data.splits), data.provenance())


def audit_splits(items: Items, provenance: Provenance) -> Audit:
    """Run each check that applies to items of such provenance."""
    findings = [
        check_sources(items, source, of_items, provenance.in_time)
        if source != provenance.classes_are
        else Finding(f"{source}s", PASSES, f"the {source}s are the classes, and have to be in every split")
        for source, of_items in provenance.sources.items()
    ]
    if provenance.moments is not None or provenance.stretches is not None:
        from speechml.report.time_audit import check_time

        findings.append(check_time(items, provenance))
    if provenance.noise is not None:
        findings.append(check_noise(items, provenance.noise))
    if provenance.content_keys:
        findings.append(check_identical(items, provenance))
    findings.append(check_statistics(items, provenance))
    return Audit(tuple(finding for finding in findings if finding))


def check_sources(items: Items, source: str, of_items: Sequence[str | None], in_time: bool) -> Finding | None:
    """Check whether speakers, songs or recordings of the test set are in another split as well; None where it has none.

    Args:
        source: which of them.
        of_items, in_time: see `Provenance`.
    """
    counts = {split: Counter(of_items[i] for i in items.splits[split] if of_items[i] != "") for split in SPLITS}
    not_known = sum(counts[split].pop(None, 0) for split in SPLITS)
    check, test = f"{source}s", counts["test"]
    if not test and not not_known:
        return None
    for other in ("train", "val"):
        if both := test.keys() & counts[other].keys():
            shared, when = sum(test[one] for one in both), ", at other moments" * in_time
            text = f"{len(both):,} of {len(test):,} test {check} are in the {SPLIT_NAMES[other]} set as well"
            text += f" ({shared:,} of {items.test_count:,} test {items.name}{when})"
            return Finding(check, FLAGGED, text, shared, items.test_count)
    if not_known:
        every = sum(map(len, items.splits.values()))
        text = f"the {source} of {not_known:,} of the {every:,} {items.name} is not known: their names do not tell it"
        return Finding(check, UNKNOWN, text)
    text = f"none of {len(test):,} test {check} is in another split"
    if easier := counts["val"].keys() & counts["train"].keys():
        text += f"; validation shares {len(easier):,} of its {len(counts['val']):,} with training"
    return Finding(check, PASSES, text, 0, items.test_count)


def check_noise(items: Items, noise: Noise) -> Finding:
    """Check whether noise of the test set is in another split."""
    if noise.recordings is None:
        return Finding("noise", UNKNOWN, "which recordings of noise were mixed in is not known")
    if not noise.recordings:
        text = f"every one of the {items.name} has noise of its own"
        return Finding("noise", PASSES, text, 0, items.test_count)
    of, total = noise.stretches, len(noise.stretches["test"])
    hits = {pair: find_overlaps(of[pair[0]], of[pair[1]]) for pair in COMPARED_SPLITS}
    if shared := [f"{SPLIT_NAMES[one]} and {SPLIT_NAMES[two]}" for (one, two), hit in hits.items() if hit.any()]:
        text = f"the same stretches of noise are in {' and in '.join(shared)}"
        return Finding("noise", FLAGGED, text, int((hits["test", "train"] | hits["test", "val"]).sum()), total)
    text = f"recordings of noise ({noise.recordings:,}) are in every split, cut in time: no stretch of noise is in two"
    return Finding("noise", PASSES, text, 0, total)


def find_overlaps(some: np.ndarray, others: np.ndarray) -> np.ndarray:
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
            common -= quiet
            if again := [i for i in items.splits[split] if keys[i] in common]:
                shared.update(again if split == "test" else ())
                count = f"{len(again):,} of the {len(items.splits[split]):,} {SPLIT_NAMES[split]} {items.name}"
                subject = f"the {of} of {count}" if of else count
                texts.append(f"{subject} are in the {SPLIT_NAMES[other]} set as well, value by value")
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
        text = f"{statistics} are fitted with {shared:,} of {total:,} test {items.name}"
        return Finding("statistics", FLAGGED, text, shared, total)
    return Finding("statistics", PASSES, f"{statistics} are fitted on the training set alone", 0, total)
