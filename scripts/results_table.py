"""The table of published and obtained figures in docs/labs.md, made from the cards in scripts/results.jsonl.

speechml reproduce --data FOLDER          # runs the labs, and keeps their cards in runs/.sweeps/reproduction/cards/
python scripts/results_table.py --take runs/.sweeps/reproduction/cards
python scripts/results_table.py           # writes the table into docs/labs.md
python scripts/results_table.py --check   # exit code 1 where it says something else than the cards
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from speechml.cli.reproduce import published_figures
from speechml.report.published import LABS, PublishedFigure, figure_rows, missing_row, readme_table
from speechml.runs.card import Record, RunCard

ROOT = Path(__file__).resolve().parents[1]
PAGE, CARDS = ROOT / "docs" / "labs.md", ROOT / "scripts" / "results.jsonl"  # a card a line
BEGIN, END = "<!-- results: made by scripts/results_table.py -->", "<!-- end of results -->"


def results() -> str:
    """The table of all cards, in the order of the labs, as Markdown."""
    figures: list[PublishedFigure] = []
    for experiment in LABS:
        mine = [card for card in cards() if card.experiment == experiment]
        missing = missing_row(experiment, "no card")
        figures += figure_rows(experiment, published_figures(experiment), mine) if mine else missing
    return readme_table(figures)


def cards() -> list[RunCard]:
    """What is kept of the runs, by experiment and seed."""
    return [RunCard.from_json({"state": "done", **content}, "card") for content in contents()]


def contents() -> list[Record]:
    """The cards as they are kept."""
    return [json.loads(line) for line in CARDS.read_text().splitlines()]


def take(folder: Path) -> None:
    """Keep the cards of a reproduction instead of those that were there of the same experiments."""
    new = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    replaced = {card["experiment"] for card in new}
    kept = [card for card in contents() if card["experiment"] not in replaced] + new
    kept.sort(key=lambda card: (card["experiment"], card["seed"], card["id"]))
    lines = [json.dumps(card, separators=(",", ":"), ensure_ascii=False) for card in kept]
    CARDS.write_text("\n".join(lines) + "\n")
    print(f"{len(new)} cards in {CARDS.relative_to(ROOT)}")


def with_table(text: str) -> str:
    """The page with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE.name} has no place for the table: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{results()}\n{END}{after}"


def main() -> None:
    """Write the table, or say whether it is the one that stands there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", type=Path, metavar="FOLDER", help="keep the cards of this folder first")
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    if options.take:
        take(options.take)
    old = PAGE.read_text()
    new = with_table(old)
    if options.check and new != old:
        sys.exit(
            f"{PAGE.name} does not show what the cards in scripts/results.jsonl say: run python scripts/results_table.py"
        )
    if not options.check:
        PAGE.write_text(new)


if __name__ == "__main__":
    main()
