"""A run or a comparison as a notebook shows it below a cell: whatever runs say is escaped."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from speechml.report.comparison_groups import Comparisons, format_groups, group_title
from speechml.report.comparison_table import comparison_rows, comparison_sentences
from speechml.report.summary import run_facts, score_tables
from speechml.runs.card import RunCard, explain_damage
from speechml.runs.folder import PAGE
from speechml.storage.plain_files import read_plain

LARGEST = 4 << 20  # bytes of a page that is shown within the notebook, which keeps it


def run_html(folder: Path, card: RunCard, state: str) -> str:
    """What a run was and scored, and its page: within the cell where that is not too large, and by a link.

    The page is kept apart from the notebook (`sandbox`): it may be in a folder that somebody else has made.
    """
    parts = [Markup("<b>{}</b> {} {} {}").format(card.experiment, card.id, state, " ".join(card.overrides))]
    with explain_damage(folder):
        for table in score_tables(card.scores, card.data, folder / "predictions.npz", card.warnings or ()):
            parts += [_table(table.header, table.rows), *map(_line, table.remarks)]
        parts += map(_line, run_facts(card) if card.scores else ())
    page = folder / PAGE
    if page.is_file():
        parts.append(Markup('<a href="{}" target="_blank">{}</a>').format(quote(os.path.relpath(page)), page))
        if page.stat().st_size <= LARGEST:
            parts.append(
                Markup('<details><summary>report</summary><iframe sandbox="allow-scripts" loading="lazy" '
                       'style="width:100%;height:40em;border:0" srcdoc="{}"></iframe></details>')
                .format(read_plain(folder, PAGE, LARGEST).decode(errors="replace"))
            )  # fmt: skip
    return str(Markup("\n").join(parts))


class Comparison:
    """Which of several runs is better, by how much, and whether it may be chance; printed, it is the table of the command."""

    def __init__(self, compared: Comparisons) -> None:
        self._compared = compared

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each test set, score and setting: mean, difference to the reference, intervals, verdict."""
        content = self.to_dict()
        return [row for group in content.get("comparisons", [content]) for row in group["rows"]]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values: what `speechml compare --format json` prints."""
        content: dict[str, Any] = json.loads(self._format("json"))
        return content

    def _format(self, form: str) -> str:
        return format_groups(self._compared, form)

    def __repr__(self) -> str:
        return self._format("table").rstrip("\n")

    def _repr_html_(self) -> str:
        groups, parts = self._compared.groups, list[Markup]()
        for one in groups:
            parts += [Markup("<b>{}</b>").format(group_title(one))] * (len(groups) > 1)
            parts += [_table(*comparison_rows(one)), *map(_line, comparison_sentences(one))]
        return str(Markup("\n").join([*parts, *map(_line, self._compared.omitted)]))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    lines = [Markup("<tr>") + Markup("").join(Markup("<{0}>{1}</{0}>").format(tag, cell) for cell in row) + Markup("</tr>")
             for tag, row in (("th", header), *(("td", row) for row in rows))]  # fmt: skip
    return Markup("<table>") + Markup("").join(lines) + Markup("</table>")


def _line(text: str) -> Markup:
    return Markup("<div><small>") + escape(text) + Markup("</small></div>")
