"""A comparison as a table, CSV, JSON or Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from speechml.errors import UserError
from speechml.report.compare import Comparison, Line
from speechml.report.results import TITLES
from speechml.report.statistics import FEW, Difference
from speechml.runs.catalogue import printable
from speechml.runs.tables import format_score, table

FORMATS = ("table", "markdown", "csv", "json")


def format_comparison(comparison: Comparison, form: str) -> str:
    """The comparison in one of FORMATS.

    Raises:
        UserError: another format.
    """
    if form not in FORMATS:
        raise UserError(f"--format is {form}; it can be {', '.join(FORMATS)}")
    if form == "json":
        return json.dumps(as_json(comparison), indent=1) + "\n"
    if form == "csv":
        rows = as_json(comparison)["rows"]
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {**row, "runs": " ".join(row["runs"]), "seeds": " ".join(map(str, row["seeds"]))} for row in rows
        )
        return text.getvalue()
    header, rows = cells(comparison)
    notes = sentences(comparison)
    if form == "markdown":
        lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *escaped(rows))]
        return "\n".join([*lines, "", *notes]) + "\n"
    return (
        "\n".join(
            [
                *_legend(comparison),
                "",
                table(
                    header, rows, left=[i for i, name in enumerate(header) if name in ("score", "setting", "verdict")]
                ),
                "",
                *notes,
            ]
        )
        + "\n"
    )


def escaped(rows: list[list[str]]) -> list[list[str]]:
    """Cells whose text cannot end a cell of Markdown."""
    return [[cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]


def cells(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows; columns that would be empty in all rows are left out."""
    first = comparison.settings[0]
    unit = _unit(comparison)
    columns: dict[str, list[str]] = {
        "score": [], "setting": [], "mean": [], "its 95 % (seeds)": [], "difference": [], "verdict": [],
        f"95 % ({unit})": [], "p": [], "95 % (seeds)": [], "p (seeds)": [],
    }  # fmt: skip
    previous = ""
    for line in comparison.lines:
        db = line.score.endswith("_db")
        title = TITLES[line.score] if line.score != previous else ""
        previous = line.score
        said = [
            title, printable(line.setting.label), format_score(line.seeds.mean, db), _interval(line.seeds, db),
            "" if line.setting is first else _signed(_difference(line), db), line.verdict, _interval(line.items, db),
            _p(line.items), _interval(line.across, db), _p(line.across),
        ]  # fmt: skip
        for column, cell in zip(columns.values(), said, strict=True):
            column.append(cell)
    kept = {name: column for name, column in columns.items() if any(column)}
    return list(kept), [list(row) for row in zip(*kept.values(), strict=True)]


def _difference(line: Line) -> float | None:
    found = line.items or line.across
    return None if found is None or math.isnan(found.mean) else found.mean


def _signed(value: float | None, db: bool) -> str:
    return "-" if value is None else ("+" if value > 0 else "") + format_score(value, db)


def _interval(difference: Difference | None, db: bool) -> str:
    if difference is None or math.isnan(difference.low):
        return ""
    return f"{format_score(difference.low, db)} to {format_score(difference.high, db)}"


def _p(difference: Difference | None) -> str:
    if difference is None or math.isnan(difference.p):
        return ""
    return "<0.001" if difference.p < 0.001 else f"{difference.p:.3f}"


def _unit(comparison: Comparison) -> str:
    run = comparison.settings[0].runs[0]
    return "moments" if run.groups is not None else run.called


def _legend(comparison: Comparison) -> list[str]:
    """The runs of each setting."""
    rows = []
    for setting in comparison.settings:
        seeds = ", ".join(map(str, setting.seeds))
        folders = [str(run.folder) for run in setting.runs]
        shown_folders = ", ".join(folders[:3]) + (f" and {len(folders) - 3} more" if len(folders) > 3 else "")
        rows.append([printable(setting.label), seeds, printable(shown_folders)])
    return [table(["setting", "seeds", "runs"], rows, left=(0, 1, 2))]


def sentences(comparison: Comparison) -> list[str]:
    """What was compared, and what a reader should know."""
    run = comparison.settings[0].runs[0]
    what = f"{comparison.items} {run.called} of {run.data.data}, {run.part} part"
    if comparison.forced:
        lines = [f"FORCED: {comparison.forced}; the items are taken as unpaired."]
    else:
        lines = [f"On the same {what}, split protocol {run.data.protocol}, test set {run.data.test_fingerprint}."]
    if len(comparison.settings) > 1:
        lines.append(f"Differences are to {comparison.settings[0].label}.")
    lines.append(f"Intervals over {_unit(comparison)}: {_methods(comparison)}.")
    return [printable(line) for line in [*lines, *(f"note: {note}" for note in comparison.notes)]]


def _methods(comparison: Comparison) -> str:
    """How the intervals and p-values were computed."""
    if comparison.forced:
        return "Welch's t"
    across = "; over seeds: Student's t"
    units = max([line.items.units for line in comparison.lines if line.items], default=0)
    if comparison.settings[0].runs[0].classes is None:
        return (f"Student's t, as they are {units} only" if units < FEW else "paired bootstrap, studentised") + across
    alone = all(len(setting.runs) == 1 for setting in comparison.settings)
    p = "p of accuracy: McNemar's exact test" if alone else "p of accuracy: of the same resamples"
    return f"paired bootstrap (of macro F1 somewhat narrow); {p}{across}"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything, as plain values; what is not known is null."""
    run = comparison.settings[0].runs[0]
    rows = []
    for line in comparison.lines:
        row: dict[str, Any] = {
            "score": f"{run.part}/{line.score}", "setting": line.setting.label, "seeds": line.setting.seeds,
            "runs": [str(r.folder) for r in line.setting.runs], "mean": line.seeds.mean, "mean_low": line.seeds.low,
            "mean_high": line.seeds.high,
        }  # fmt: skip
        for name, found in (("items", line.items), ("seeds", line.across)):
            values = found or Difference(math.nan, math.nan, math.nan, math.nan, 0)
            keys = ("difference", "low", "high", "p", "units")
            row |= {f"{key}_over_{name}": value for key, value in zip(keys, values, strict=True)}
        rows.append({key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()} | {
            "verdict": line.verdict
        })  # fmt: skip
    return {
        "reference": comparison.settings[0].label, "data": run.data.data, "protocol": run.data.protocol,
        "test_set": run.data.test_fingerprint, "items": comparison.items, "forced": comparison.forced,
        "notes": comparison.notes, "rows": rows,
    }  # fmt: skip
