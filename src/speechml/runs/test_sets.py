"""What a run keeps of its further test sets: a card each, and a file of predictions."""

from __future__ import annotations

from dataclasses import dataclass

from speechml.runs.card import DataCard, Record, RunCard, _Part


@dataclass
class SetCard(_Part):
    """A further test set that a run was scored on; `scored`: how many of its items."""

    data: DataCard
    audit: Record | None = None
    warnings: list[str] | None = None
    scored: int | None = None


def set_cards(card: RunCard) -> dict[str, SetCard]:
    """The further test sets of a run by name. Raises ValueError where the card of one is damaged."""
    sets = sorted((card.test_sets or {}).items())
    return {name: SetCard.from_json(content, f"card.test_sets.{name}") for name, content in sets}


def set_file(name: str) -> str:
    """Where a run keeps its predictions of a further test set."""
    return f"test_sets/{name}.npz"
