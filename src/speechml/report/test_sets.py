"""What is said of the further test sets of a run: scores in tables, what they are of, and whether they are new to the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from speechml.contracts import SPLITS
from speechml.report.audit import Audit, Items, audit_lines, check_sources
from speechml.report.evaluation import audit_other_data
from speechml.report.summary import SPLITS as TITLES
from speechml.report.summary import ScoreTable, score_tables
from speechml.runs.card import RunCard
from speechml.runs.test_sets import SetCard, set_cards, set_file

if TYPE_CHECKING:
    from speechml.data.base import BaseDataModule


def audit_set(data: BaseDataModule, one: BaseDataModule, heard: list[str], is_known: bool) -> Audit:
    """Audit a test set against what a run was trained and validated on: equal recordings, and equal speakers.

    Args:
        data: of the run.
        one: the test set.
        heard: checksums of what the network has heard, the networks that it began with included.
        is_known: whether that is all.
    """
    audit = audit_other_data(one, one.count_seen(heard), is_known)
    known, own = data.provenance().sources, one.provenance().sources
    found = [finding for finding in audit.findings if finding.check == "identical audio"]
    for source in known.keys() & own.keys():
        first = len(known[source])
        splits = {split: data.splits[split] for split in SPLITS} | {"test": [first + i for i in one.splits["test"]]}
        items = Items(one.spec.item_name, splits)
        if finding := check_sources(items, source, [*known[source], *own[source]], in_time=False):
            found.append(finding)
    return Audit(tuple(found))


def set_tables(folder: Path, card: RunCard) -> list[ScoreTable]:
    """The scores of each further test set as `score_tables` has those of the run's own, and what they are of."""
    tables = []
    for name, one in set_cards(card).items():
        scores = {
            f"test/{score.partition('/')[2]}": value
            for score, value in card.scores.items()
            if score.startswith(f"{name}/")
        }
        warnings = one.warnings or []
        own = score_tables(scores, one.data, folder / set_file(name), warnings)
        for table in own:
            table.header[:] = [cell.replace(TITLES["test"], name) for cell in table.header]
        if own:
            own[-1].remarks.extend(describe_set(name, one))
        tables += own
    return tables


def describe_set(name: str, one: SetCard) -> list[str]:
    """Sentences on a test set: what it is, what is wrong with its scores, and its audit."""
    data, audit = one.data, Audit.from_json(one.audit)
    count = data.recordings["test"]
    lines = [f"Warning: {name}{text.removeprefix('test')}." for text in one.warnings or []]
    lines += [line.replace("Audit", f"Audit of {name}", 1) for line in audit_lines(audit)]
    lines.append(
        f"{name}: {data.data}, {count:,} {data.called}, split protocol {data.protocol}, test set {data.test_fingerprint}."
    )
    if one.scored is not None and one.scored < count:
        lines.append(f"Only {one.scored} of the {count} {data.called} were scored.")
    return [*lines, *(f"  note: {note}" for note in data.notes)]
