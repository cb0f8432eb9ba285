"""Figures as aligned text."""

from __future__ import annotations

from collections.abc import Container


def table(header: list[str], rows: list[list[str]], left: Container[int] = (0,)) -> str:
    """Aligned text: the columns of `left` to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * w for w in widths], *rows]:
        lines.append(
            "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        )
    return "\n".join(line.rstrip() for line in lines)


def format_score(value: float | None, unit_db: bool) -> str:
    """A figure as a table shows it: two decimals in dB, four digits elsewhere."""
    if value is None:
        return "-"
    return f"{value:.2f}" if unit_db else f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
