"""A comparison as a table, CSV, JSON or Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

from speechml.errors import UserError
from speechml.report.compare import Comparison, Line
from speechml.report.statistics import FEW_UNITS, Difference
from speechml.report.summary import TITLES
from speechml.runs.tables import format_score, printable, table

FORMATS = ("table", "markdown", "csv", "json")
TEXT_COLUMNS = ("score", "setting", "verdict")


def format_comparison(comparison: Comparison, form: str) -> str:
    """The comparison in one of FORMATS.

    Raises:
        UserError: another format.
    """
    if form not in FORMATS:
        raise UserError(f"--format is {form}; it can be {', '.join(FORMATS)}")
    if form == "json":
        return json.dumps(_as_json(comparison), indent=1) + "\n"
    if form == "csv":
        records = [_record(line, comparison) for line in comparison.lines]
        text = io.StringIO()
        writer = csv.DictWriter(text, records[0], lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in record.items()})
        return text.getvalue()
    header, rows = comparison_rows(comparison)
    if form == "markdown":
        return "\n".join([markdown_table(header, rows), "", *comparison_sentences(comparison)]) + "\n"
    left = [i for i, name in enumerate(header) if name in TEXT_COLUMNS]
    parts = [_legend(comparison), "", table(header, rows, left), "", *comparison_sentences(comparison)]
    return "\n".join(parts) + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells cannot be ended by their text."""
    cells = [[c.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for c in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *cells))


def comparison_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows; columns that would be empty in all rows are left out."""
    columns = [
        "score", "setting", "mean", "95 % of the mean (seeds)", "difference", "verdict", f"95 % ({comparison.first.unit})", "p",
        "95 % (seeds)", "p (seeds)",
    ]  # fmt: skip
    rows = []
    previous = ""
    for line in comparison.lines:
        db = line.score.endswith("_db")
        rows.append([
            TITLES[line.score] if line.score != previous else "", printable(line.setting.label),
            format_score(line.mean.mean, db), _interval(line.mean, db),
            "" if line.setting is comparison.settings[0] else _difference(line, db), line.verdict,
            _interval(line.over_items, db), _p(line.over_items), _interval(line.over_seeds, db), _p(line.over_seeds),
        ])  # fmt: skip
        previous = line.score
    kept = [number for number in range(len(columns)) if any(row[number] for row in rows)]
    return [columns[number] for number in kept], [[row[number] for number in kept] for row in rows]


def _difference(line: Line, db: bool) -> str:
    difference = line.over_items or line.over_seeds
    if difference is None or math.isnan(difference.mean):
        return "-"
    return ("+" if difference.mean > 0 else "") + format_score(difference.mean, db)


def _interval(difference: Difference | None, db: bool) -> str:
    if difference is None or math.isnan(difference.low):
        return ""
    return f"{format_score(difference.low, db)} to {format_score(difference.high, db)}"


def _p(difference: Difference | None) -> str:
    if difference is None or math.isnan(difference.p):
        return ""
    return "<0.001" if difference.p < 0.001 else f"{difference.p:.3f}"


def _legend(comparison: Comparison) -> str:
    """The runs of each setting."""
    rows = []
    for setting in comparison.settings:
        folders = [str(run.folder) for run in setting.runs]
        runs = ", ".join(folders[:3]) + (f" and {len(folders) - 3} more" if len(folders) > 3 else "")
        rows.append([printable(setting.label), ", ".join(map(str, setting.seeds)), printable(runs)])
    return table(["setting", "seeds", "runs"], rows, left=(0, 1, 2))


def comparison_sentences(comparison: Comparison) -> list[str]:
    """What was compared, and what a reader should know."""
    run, data = comparison.first, comparison.first.data
    if comparison.forced:
        lines = [f"FORCED: {comparison.forced}; the items are treated as unpaired."]
    else:
        what = f"{comparison.items} {data.called} of {data.data}, {run.split} set"
        lines = [f"On the same {what}, split protocol {data.protocol}, test set {data.test_fingerprint}."]
    if len(comparison.settings) > 1:
        lines.append(f"Differences are to {comparison.settings[0].label}.")
    lines.append(f"Intervals over {run.unit}: {_methods(comparison)}.")
    return [printable(line) for line in [*lines, *(f"note: {note}" for note in comparison.notes)]]


def _methods(comparison: Comparison) -> str:
    """How the intervals and p-values were computed."""
    if comparison.forced:
        return "Welch's t"
    seeds = "; over seeds: Student's t"
    units = max([line.over_items.units for line in comparison.lines if line.over_items], default=0)
    if comparison.first.classes is None:
        return (
            f"Student's t, as they are {units} only" if units < FEW_UNITS else "paired bootstrap, studentised"
        ) + seeds
    single = all(len(setting.runs) == 1 for setting in comparison.settings)
    p = "p of accuracy: McNemar's exact test" if single else "p of accuracy: of the same resamples"
    return f"paired bootstrap (of macro F1 somewhat narrow); {p}{seeds}"


def _record(line: Line, comparison: Comparison) -> dict[str, object]:
    """A line as plain values; what is not known is None."""
    record: dict[str, object] = {
        "score": f"{comparison.first.split}/{line.score}", "setting": line.setting.label, "seeds": line.setting.seeds,
        "runs": [str(run.folder) for run in line.setting.runs], "mean": line.mean.mean, "mean_low": line.mean.low,
        "mean_high": line.mean.high,
    }  # fmt: skip
    for over, difference in (("items", line.over_items), ("seeds", line.over_seeds)):
        values = difference or Difference(math.nan, math.nan, math.nan, math.nan, 0)
        keys = ("difference", "low", "high", "p", "units")
        record |= {f"{key}_over_{over}": value for key, value in zip(keys, values, strict=True)}
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return finite | {"verdict": line.verdict}


def _as_json(comparison: Comparison) -> dict[str, object]:
    data = comparison.first.data
    return {
        "reference": comparison.settings[0].label, "data": data.data, "protocol": data.protocol,
        "test_set": data.test_fingerprint, "items": comparison.items, "forced": comparison.forced,
        "notes": comparison.notes, "rows": [_record(line, comparison) for line in comparison.lines],
    }  # fmt: skip
