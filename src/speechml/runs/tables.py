"""Rows as aligned text or CSV, and figures in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Iterable, Sequence

from speechml.errors import UserError, printable


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> str:
    """Aligned text: the columns of `left` to the left, the others to the right."""
    header, *rows = ([printable(cell) for cell in row] for row in (header, *rows))
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * w for w in widths], *rows]:
        cells = zip(row, widths, strict=True)
        lines.append("  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(cells)).rstrip())
    return "\n".join(lines)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, a line each, with blanks as names have them."""
    text = io.StringIO()
    for row in (header, *rows):
        cells = [printable(cell, exact=True) if isinstance(cell, str) else cell for cell in row]
        csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def check_choice(option: str, value: str, allowed: Sequence[str]) -> None:
    """Raises UserError where an option of a command has none of the values that it can have."""
    if value not in allowed:
        raise UserError(f"{option} is {value}; it can be {', '.join(allowed)}")


def format_score(value: float | None, is_db: bool) -> str:
    """A figure as a table shows it: two decimals in dB, four digits elsewhere."""
    if value is None:
        return "-"
    return f"{value:.2f}" if is_db else f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def format_size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
