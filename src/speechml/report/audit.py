"""Whether the test part is new to a network that has learned from the training part: what several parts share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np

from speechml.data.provenance import Provenance

PASSES, FLAGGED, UNKNOWN = "passes", "flagged", "unknown"
WIDTH = 90  # letters of a line in the table
PARTS = {"train": "training", "val": "validation", "test": "test"}
PAIRS = (("test", "train"), ("test", "val"), ("val", "train"))


class Finding(NamedTuple):
    """What one check found, in a sentence, and of how many of the test items it is true."""

    check: str
    state: str  # PASSES, FLAGGED or UNKNOWN
    found: str
    shared: int | None = None
    of: int | None = None


def audit_data(data: Any) -> dict[str, Any]:
    """The audit of a data module, as a card holds it: a verdict on the whole, and what each check found."""
    return concluded(list(_findings(data, data.provenance())))


def concluded(findings: list[Finding]) -> dict[str, Any]:
    """Findings with the verdict that follows from them: the worst of their states."""
    states = {finding.state for finding in findings}
    verdict = next((state for state in (FLAGGED, UNKNOWN) if state in states), PASSES)
    return {"verdict": verdict, "findings": [finding._asdict() for finding in findings]}


def audit_other_data(data: Any, known: int) -> dict[str, Any]:
    """The audit of a test on other data than a run's own: whether the run has `known` some of it."""
    count = len(data.splits["test"])
    told = f"{known or 'none'} of the {count:,} {data.spec.item_name} {'were' if known else 'was'} used, at least in part, to "
    findings = [
        Finding("identical audio", FLAGGED if known else PASSES, f"{told}train or validate the run", known, count)
    ]
    what = "song" if "song" in data.provenance().sources else "speaker"
    findings.append(Finding(f"{what}s", UNKNOWN, f"a run keeps no list of the {what}s that it has heard"))
    return concluded(findings)


def audit_lines(audit: dict[str, Any] | None) -> list[str]:
    """What stands under the scores of a run; nothing where a run has no audit, being older."""
    if audit is None:
        return []
    names = {state: [f["check"] for f in audit["findings"] if f["state"] == state] for state in (PASSES, UNKNOWN)}
    if audit["verdict"] == FLAGGED:
        return [f"Audit: flagged, {f['check']}: {f['found']}." for f in audit["findings"] if f["state"] == FLAGGED]
    if audit["verdict"] == UNKNOWN:
        return [
            f"Audit: nothing found, but {', '.join(names[UNKNOWN])} not known ({', '.join(names[PASSES])} checked)."
        ]
    return [f"Audit: passes ({', '.join(names[PASSES])} checked)."]


def audit_report(data: Any) -> tuple[str, bool]:
    """The audit of a data module as a person reads it, and whether something was flagged."""
    from speechml.runs.tables import table

    card, audit = data.card(), audit_data(data)
    counts = ", ".join(f"{count:,} {PARTS[part]}" for part, count in card.recordings.items())
    rows = []
    for f in audit["findings"]:
        first, *rest = wrap(f["found"], WIDTH)
        rows += [[f["check"], f["state"], first], *(["", "", more] for more in rest)]
    flagged = ", ".join(f["check"] for f in audit["findings"] if f["state"] == FLAGGED)
    return "\n".join([
        f"{card.data}, split protocol {card.protocol}: {counts} {card.called}", "",
        table(["check", "result", "what was found"], rows, left=(0, 1, 2)), "",
        f"Verdict: {audit['verdict']}" + f" ({flagged})" * bool(flagged),
    ]), bool(flagged)  # fmt: skip


def _findings(data: Any, provenance: Provenance) -> Iterator[Finding]:
    """What each check finds that applies to such data."""
    for what, of_items in provenance.sources.items():
        yield from sources(data, what, of_items, provenance.in_time)
    if provenance.moments is not None:
        yield moments(data, provenance.moments)
    if provenance.stretches is not None:
        yield stretches(provenance.stretches, provenance.rate)
    if provenance.noise is not None:
        yield noise(data, provenance)
    if provenance.content_keys:
        yield identical(data, provenance)
    yield statistics(data, provenance)


def sources(data: Any, what: str, of_items: Any, in_time: bool) -> Iterator[Finding]:
    """Whether speakers, songs or recordings of the test are in another part as well.

    Args:
        what: which of them.
        of_items: see `Provenance.sources`.
        in_time: whether the parts are other moments of them.
    """
    items = data.splits
    counts = {part: Counter(of_items[i] for i in items[part] if of_items[i] != "") for part in PARTS}
    strange = sum(counts[part].pop(None, 0) for part in PARTS)
    test, total = counts["test"], len(items["test"])
    if not test and not strange:
        return
    for other in ("train", "val"):
        if both := test.keys() & counts[other].keys():
            shared = sum(test[one] for one in both)
            when = ", at other moments" * in_time
            told = f"{_some(len(both), len(test), what)} {_are(len(test))} in the {PARTS[other]} part as well"
            told += f" ({shared:,} of {total:,} test {data.spec.item_name}{when})"
            yield Finding(f"{what}s", FLAGGED, told, shared, total)
            return
    if strange:
        every = sum(len(items[part]) for part in PARTS)
        told = f"the {what} is not known of {strange:,} of the {every:,} {data.spec.item_name}: their names do not say"
        yield Finding(f"{what}s", UNKNOWN, told)
        return
    told = f"none of the {len(test):,} test {what}s is in another part"
    if len(test) == 1:
        told = f"the one test {what} is in no other part"
    if easier := counts["val"].keys() & counts["train"].keys():
        told += f"; validation shares {len(easier):,} of its {len(counts['val']):,} with training"
    yield Finding(f"{what}s", PASSES, told, 0, total)


def _some(some: int, every: int, what: str) -> str:
    """So many of the test's speakers, say, in words."""
    if every == 1:
        return f"the one test {what}"
    return f"all {every:,} test {what}s" if some == every else f"{some:,} of the {every:,} test {what}s"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def moments(data: Any, places: np.ndarray) -> Finding:
    """Whether training has the other channel of test rows, or the blocks around them.

    Where the parts are stretches in time, a block at a seam has one neighbour in training, which is no leak of its moment;
    between two training blocks there is little new.

    Args:
        places: see `Provenance.moments`.
    """
    song, _, block = places.T
    moment = song * (int(block.max(initial=0)) + 3) + block + 1  # room for a step before the first and after the last
    train = np.unique(moment[data.splits["train"]])
    test = moment[data.splits["test"]]
    same, before, after = (np.isin(test + step, train) for step in (0, -1, 1))
    shared, total = int((same | before | after).sum()), len(test)
    told = (
        f"{_some(shared, total, data.spec.item_name[:-1])} ({shared / total:.0%}) have the other channel of their moment, or the "
        "block before or after it, in the training part"
    )
    if same.any() or (before & after).any():
        return Finding("moments", FLAGGED, told, shared, total)
    if shared:
        told = (
            f"no other channel of a test moment is trained on; {shared:,} of {total:,} test {data.spec.item_name} lie beside a "
            "training block, at a seam"
        )
    else:
        items = data.spec.item_name
        told = f"of none of the {total:,} test {items} the training part has the other channel, or a block beside it"
    return Finding("moments", PASSES, told, shared, total)


def stretches(of_parts: dict[str, tuple[int, int]], rate: int) -> Finding:
    """Whether the test stretch of a recording shares samples with the others."""
    begin, end = of_parts["test"]
    common = {
        part: max(0, min(end, of_parts[part][1]) - max(begin, of_parts[part][0])) / rate for part in ("train", "val")
    }
    total = (end - begin) / rate
    if most := max(common.values()):
        part = "train" if common["train"] else "val"
        told = f"{most:.1f} of the {total:.1f} s that are scored are in the {PARTS[part]} part, so they are no test"
        return Finding("moments", FLAGGED, told, 1, 1)
    ordered = sorted(of_parts.values())
    apart = all(one[1] <= other[0] for one, other in pairwise(ordered))
    gap = max(begin - of_parts["train"][1], of_parts["train"][0] - end) / rate
    told = f"the {total:.1f} s of the test begin {gap:.1f} s after the training part ends"
    told += "; no sample is in two parts" if apart else "; validation is trained on"
    return Finding("moments", PASSES, told, 0, 1)


def noise(data: Any, provenance: Provenance) -> Finding:
    """Whether the test hears noise of the training part."""
    found = provenance.noise
    assert found is not None
    if found.recordings is None:
        return Finding("noise", UNKNOWN, "which recordings of noise were mixed in is not known")
    total = len(data.splits["test"])
    if not found.recordings:
        return Finding(
            "noise", PASSES, f"every one of the {data.spec.item_name} has noise of its own, drawn anew", 0, total
        )
    hit = {(part, other): overlapping(found.stretches[part], found.stretches[other]) for part, other in PAIRS}
    if shared := [f"{PARTS[part]} and {PARTS[other]}" for (part, other), there in hit.items() if there.any()]:
        told = f"the same stretches of noise are heard in {' and in '.join(shared)}"
        count = int((hit["test", "train"] | hit["test", "val"]).sum())
        return Finding("noise", FLAGGED, told, count, len(found.stretches["test"]))
    one = "the recording of noise is" if found.recordings == 1 else f"the {found.recordings:,} recordings of noise are"
    told = f"{one} in every part, cut in time: no stretch of noise is in two parts"
    return Finding("noise", PASSES, told, 0, len(found.stretches["test"]))


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


def identical(data: Any, provenance: Provenance) -> Finding:
    """Whether equal items are in two parts, whatever their names and labels; silence is equal by its nature."""
    items, told = data.splits, []
    known: set[int] = set()
    silent = 0
    for of, marks in provenance.content_keys.items():
        sets = {part: {marks[i] for i in items[part]} for part in PARTS}
        both = {pair: sets[pair[0]] & sets[pair[1]] for pair in PAIRS}
        if not any(both.values()):
            continue
        first = {mark: i for i, mark in enumerate(marks)}
        quiet = {mark for mark in set().union(*both.values()) if provenance.silent(of, first[mark])}
        silent += sum(marks[i] in quiet for part in PARTS for i in items[part])
        for (part, other), common in both.items():
            if again := [i for i in items[part] if marks[i] in common and marks[i] not in quiet]:
                count = f"{len(again):,} of the {len(items[part]):,} {PARTS[part]} {data.spec.item_name}"
                known.update(again if part == "test" else ())
                subject = f"the {of} of {count} {'is' if len(again) == 1 else 'are'}" if of else f"{count} are"
                told.append(f"{subject} in the {PARTS[other]} part as well, value by value")
    alike = f" ({silent:,} silent ones, alike by nature, are not counted)" if silent else ""
    total = len(items["test"])
    if told:
        return Finding("identical audio", FLAGGED, "; ".join(told) + alike, len(known), total)
    compared = "" if "" in provenance.content_keys else f" in their {' or '.join(provenance.content_keys)}"
    told = [f"no two {data.spec.item_name} of different parts are equal{compared}{alike}"]
    return Finding("identical audio", PASSES, told[0], 0, total)


def statistics(data: Any, provenance: Provenance) -> Finding:
    """Whether what is computed of the items before the first step takes some of the test."""
    total = len(data.splits["test"])
    if not provenance.statistics:
        return Finding("statistics", PASSES, "nothing is fitted to the data before training", 0, total)
    if shared := len(set(provenance.fitted) & set(data.splits["test"])):
        told = f"{provenance.statistics} are fitted with {_some(shared, total, data.spec.item_name[:-1])}"
        return Finding("statistics", FLAGGED, told, shared, total)
    return Finding("statistics", PASSES, f"{provenance.statistics} are fitted on the training part alone", 0, total)
