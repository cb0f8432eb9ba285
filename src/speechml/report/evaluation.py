"""What is said of data apart from a training: by `speechml audit`, and where a run is scored again (`speechml-evaluate`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speechml.config.schema import keys_of, schema_of
from speechml.contracts import SPLITS
from speechml.data.provenance import sources_of
from speechml.errors import UserError
from speechml.report.audit import FLAGGED, PASSES, SPLIT_NAMES, UNKNOWN, Audit, Finding, audit_data, audit_lines
from speechml.report.summary import Scores, score_name, score_tables
from speechml.runs.card import DataCard, RunCard
from speechml.runs.tables import table

if TYPE_CHECKING:
    from speechml.report.audit import AuditedData


def audit_report(data: AuditedData) -> tuple[str, bool]:
    """The audit of a data module as `speechml audit` prints it, and whether something was flagged."""
    card, audit = data.card(), audit_data(data)
    counts = ", ".join(f"{count:,} {SPLIT_NAMES[split]}" for split, count in card.recordings.items())
    rows = [[finding.check, finding.state, finding.found] for finding in audit.findings]
    flagged = ", ".join(audit.checks(FLAGGED))
    return "\n".join([
        f"{card.data}, split protocol {card.protocol}: {counts} {card.called}", "",
        table(["check", "result", "found"], rows, left=(0, 1, 2)), "",
        *(f"note: {note}" for note in card.notes), *[""] * bool(card.notes),
        f"Verdict: {audit.verdict}" + f" ({flagged})" * bool(flagged),
    ]), bool(flagged)  # fmt: skip


def list_items(data: AuditedData) -> str:
    """A table of the items of each split: the split, who speaks or what it is a piece of, and its name."""
    names = data.item_names
    if not names:
        raise UserError("what the items are is not known: the data module does not say it (provenance() would)")
    kind, of_items = sources_of(data.provenance(), names)
    rows = [[split, of_items[i] or "-", names[i]] for split in SPLITS for i in data.splits[split]]
    return table(["split", kind or "source", "name"], rows, left=(0, 1, 2))


def audit_other_data(data: AuditedData, seen: int, is_known: bool = True) -> Audit:
    """Audit a test on other data than a run's own, `seen` items of which the run was trained or validated on.

    Args:
        data: that the run is scored on.
        seen: number of test items that are known to have been heard.
        is_known: whether that is all; a network that the run began with may not say what it was trained on.
    """
    count = len(data.splits["test"])
    text = (
        f"{seen or 'none'} of the {count:,} {data.spec.item_name} {'were' if seen else 'was'} used, at least in part, "
    )
    text += "to train or validate the run"
    state = FLAGGED if seen else PASSES
    if not is_known:
        text += "; what the network that it began with was trained on is not known"
        state = state if seen else UNKNOWN
    source = "song" if "song" in data.provenance().sources else "speaker"
    return Audit((
        Finding("identical audio", state, text, seen, count),
        Finding(f"{source}s", UNKNOWN, f"a run keeps no list of the {source}s that it was trained on"),
    ))  # fmt: skip


def evaluation_text(
    card: RunCard, data: DataCard, scores: Scores, audit: Audit, seen: int, output: Path, warnings: Sequence[str] = ()
) -> str:
    """What `speechml-evaluate` prints: the scores, and how they relate to the run's own.

    Args:
        data, audit: that the run was scored on.
        seen: number of their test items that the run was trained or validated on.
        output: the files that were written, without their suffix.
        warnings: of the scores.
    """
    test_count, total = data.recordings["test"], sum(data.recordings.values())
    tables = score_tables(scores, data, output.with_name(f"{output.name}.npz"), warnings)
    lines = [*(f"Warning: {text}." for text in warnings), "", *map(str, tables)]
    own_data = card.data.fingerprint == data.fingerprint
    lines += audit_lines(audit) if own_data or not seen else []  # what is known of other data is said below
    protocol = f"split protocol {data.protocol}, test set {data.test_fingerprint}"
    lines.append(f"Data: {data.data}, {test_count} test {data.called} of {total}, {protocol}.")
    lines += [f"  note: {note}" for note in data.notes]
    if seen:
        used = f"{seen} of the {test_count} {data.called} were used, at least in part, to train or validate the run"
        lines.append(f"Not a test: {used}.")
    if not own_data and data.protocol not in ("official", "all") and test_count < total and _can_be_whole(data):
        lines.append(
            f"The other {total - test_count} are what a training would have: data.split=all scores all of them."
        )
    if f"test/{score_name('snr_db', '_wiener')}" in scores and not own_data:
        lines.append("The Wiener filter is the run's own, fitted to what the run was trained on.")
    if card.state != "done":
        lines.append(f"The run is not finished (its state is {card.state}).")
    if card.data.test_fingerprint == data.test_fingerprint:
        lines.append("This is the test set of the run itself.")
    else:
        lines.append("This is not the test set of the run: its own scores are not comparable with these.")
    lines.append(f"Written: {output}.json and .npz, {time.strftime('%Y-%m-%d %H:%M')}")
    return "\n".join(lines)


def _can_be_whole(data: DataCard) -> bool:
    """Whether a data module of ours can make one test of all its items."""
    schema = schema_of(f"speechml.data.{data.data}")
    split = keys_of(schema).get("split") if schema else None
    return split is not None and "all" in split.choices
