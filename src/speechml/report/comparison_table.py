"""A comparison as a table, CSV, JSON or Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from speechml.errors import printable
from speechml.report.compare import Comparison, Line
from speechml.report.statistics import FEW_UNITS, MANY_UNITS, Difference, effective_units
from speechml.report.summary import TITLES
from speechml.runs.tables import check_choice, csv_text, format_score, table

FORMATS = ("table", "markdown", "csv", "json")
TEXT_COLUMNS = ("score", "setting", "verdict")


def format_comparison(comparison: Comparison, form: str) -> str:
    """The comparison in one of FORMATS.

    Raises:
        UserError: another format.
    """
    check_choice("--format", form, FORMATS)
    if form == "json":
        return json.dumps(describe_comparison(comparison), indent=1) + "\n"
    if form == "csv":
        return comparisons_csv([comparison])
    header, rows = comparison_rows(comparison)
    if form == "markdown":
        return "\n".join([markdown_table(header, rows), "", *comparison_sentences(comparison)]) + "\n"
    left = [i for i, name in enumerate(header) if name in TEXT_COLUMNS]
    parts = [_legend(comparison), "", table(header, rows, left), "", *comparison_sentences(comparison)]
    return "\n".join(parts) + "\n"


def describe_comparison(comparison: Comparison) -> dict[str, object]:
    """All of a comparison as plain values."""
    data = comparison.first.data
    kinds = (comparison.lines, comparison.choices, comparison.limits)
    rows, choices, limits = ([_record(line, comparison) for line in lines] for lines in kinds)
    return {
        "reference": comparison.settings[0].label, "reason": comparison.reason, "data": data.data, "protocol": data.protocol,
        "test_set": data.test_fingerprint, "items": len(comparison.first.names),
        "units": len(comparison.first.clusters.names), "unit": comparison.first.unit, "forced": comparison.forced,
        "notes": comparison.notes, "validation": choices, "rows": rows, "limits": limits,
    }  # fmt: skip


def comparisons_csv(comparisons: Sequence[Comparison]) -> str:
    """The rows of comparisons, of which the validation scores come first and the noisy input and limits last."""
    records = [
        _record(line, one) | {"kind": line.kind, "test_set": one.first.data.test_fingerprint}
        for one in comparisons for line in (*one.choices, *one.lines, *one.limits)
    ]  # fmt: skip
    cells = ((" ".join(map(str, v)) if isinstance(v, list) else v for v in record.values()) for record in records)
    return csv_text(list(records[0]), map(list, cells))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells cannot be ended by their text."""
    cells = [[c.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for c in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *cells))


def comparison_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows: validation first, then each test score with those of the noisy input and of limits below it.

    Columns that would be empty in all rows are left out.
    """
    columns = [
        "score", "setting", "mean", "95 % of the mean (seeds)", "difference", "verdict", f"95 % ({comparison.first.unit})", "p",
        "95 % (seeds)", "p (seeds)",
    ]  # fmt: skip
    rows = []
    previous = ""
    scores = dict.fromkeys(line.score for line in comparison.lines)
    test = [line for score in scores for line in (*comparison.lines, *comparison.limits) if line.score == score]
    for line in (*comparison.choices, *test):
        db = line.score.endswith("_db")
        items, seeds = line.over_items, line.over_seeds
        means = [d.mean for d in (items, seeds) if not math.isnan(d.mean)]
        difference = "+" * (means[0] > 0) + format_score(means[0], db) if means else "-"
        if line.is_reference:
            difference = ""
        rows.append([
            _title(line, comparison) if line.score != previous else "", line.setting.label,
            format_score(line.mean.mean, db), _interval(line.mean, db),
            difference, line.verdict if line.kind == "setting" else "",
            _interval(items, db), _p(items), _interval(seeds, db), _p(seeds),
        ])  # fmt: skip
        previous = line.score
    kept = [number for number in range(len(columns)) if any(row[number] for row in rows)]
    return [columns[number] for number in kept], [[row[number] for number in kept] for row in rows]


def _title(line: Line, comparison: Comparison) -> str:
    """The score of a line, and of which split it is."""
    return line.score if line.kind == "validation" else f"{comparison.first.split} {TITLES.get(line.score, line.score)}"


def _interval(difference: Difference, db: bool) -> str:
    if math.isnan(difference.low):
        return ""
    return f"{format_score(difference.low, db)} to {format_score(difference.high, db)}"


def _p(difference: Difference) -> str:
    if math.isnan(difference.p):
        return ""
    return "<0.001" if difference.p < 0.001 else f"{difference.p:.3f}"


def _legend(comparison: Comparison) -> str:
    """The runs of each setting."""
    rows = []
    for setting in comparison.settings:
        folders = [str(run.folder) for run in setting.runs]
        runs = ", ".join(folders[:3]) + (f" and {len(folders) - 3} more" if len(folders) > 3 else "")
        rows.append([setting.label, ", ".join(map(str, setting.seeds)), runs])
    return table(["setting", "seeds", "runs"], rows, left=(0, 1, 2))


def comparison_sentences(comparison: Comparison) -> list[str]:
    """What was compared, and what a reader should know."""
    run, data = comparison.first, comparison.first.data
    if comparison.forced:
        lines = [f"FORCED: {comparison.forced}; the items are treated as unpaired."]
    elif not run.card.scored:
        lines = [f"Test set {data.test_fingerprint} of {data.data}."]
    else:
        what = f"{run.clusters.describe(data.called)}, of {data.data}, {run.split} set"
        lines = [f"On the same {what}, split protocol {data.protocol}, test set {data.test_fingerprint}."]
    if len(comparison.settings) > 1:
        lines += [f"Choose by {one.score}, the best first; scores of the {run.split} set are for the end."
                  for one in comparison.choices[:1]]  # fmt: skip
        why = f", {comparison.reason}" * bool(comparison.reason)
        lines.append(f"Differences are to {comparison.settings[0].label}{why}.")
        lines.append("A difference is called better or worse only where each of its intervals leaves out 0.")
        lines += [f"Intervals over {run.unit}: {_methods(comparison)}."] * bool(run.card.scored)
    if any(line.over_seeds.units for line in comparison.lines):
        paired = "; differences are paired by seed" * (len({tuple(one.seeds) for one in comparison.settings}) == 1)
        lines.append(
            f"Intervals over seeds (Student's t{paired}) say what further seeds would give on these same test items."
        )
    return [printable(line) for line in [*lines, *(f"note: {note}" for note in comparison.notes)]]


def _methods(comparison: Comparison) -> str:
    """How the intervals and p-values were computed."""
    if comparison.forced:
        return "Welch's t"
    effective = effective_units(np.bincount(comparison.first.clusters.numbers))
    means = "paired bootstrap, studentised" if FEW_UNITS <= effective <= MANY_UNITS else "Student's t"
    if effective < FEW_UNITS:
        means += f" (they count as {effective:.0f} of equal size)"
    if comparison.first.classes is None:
        return means
    groups = len(comparison.first.clusters.names)
    flips = "signs flipped at random, ties by half"
    if groups < 5:
        flips += ", which of fewer than 5 groups shows no difference"
    p = flips if groups < len(comparison.first.names) else f"McNemar's exact test, of several seeds {flips}"
    return f"of accuracy Student's t, p: {p}; of macro F1 paired bootstrap (somewhat narrow); of loss {means}"


def _record(line: Line, comparison: Comparison) -> dict[str, object]:
    """A line as plain values; what is not known is None."""
    score = line.score if line.kind == "validation" else f"{comparison.first.split}/{line.score}"
    record: dict[str, object] = {
        "score": score, "setting": line.setting.label, "seeds": line.setting.seeds,
        "runs": [str(run.folder) for run in line.setting.runs], "mean": line.mean.mean, "mean_low": line.mean.low,
        "mean_high": line.mean.high,
    }  # fmt: skip
    for over, difference in (("items", line.over_items), ("seeds", line.over_seeds)):
        keys = ("difference", "low", "high", "p", "units")
        record |= {f"{key}_over_{over}": value for key, value in zip(keys, difference, strict=True)}
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return finite | {"verdict": line.verdict}
