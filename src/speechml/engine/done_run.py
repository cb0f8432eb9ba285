"""What a command still does for a run that was done before: other tags, another note, trackers that lack it."""

from __future__ import annotations

from pathlib import Path

from speechml.contracts import Config
from speechml.errors import echo
from speechml.runs.card import Record, RunCard, save_card
from speechml.runs.folder import PAGE


def make_up(folder: Path, card: RunCard, labels: Record, loggers: Config) -> None:
    """Put the tags and the note of a command into a run's card, and send it to the trackers that lack it.

    Args:
        labels: values of the card, by their names.
        loggers: of the config.
    """
    if changed := any(getattr(card, name) != value for name, value in labels.items()):
        vars(card).update(labels)
        save_card(folder, card)
        (folder / PAGE).unlink(missing_ok=True)  # to be written again
        echo(f"{folder} has new labels: tags {', '.join(card.tags or []) or '-'}; note {card.note or '-'}")
    if loggers.get("wandb") or loggers.get("mlflow"):
        from speechml.report.sending import send_missing, trackers_of

        send_missing(folder, trackers_of(loggers), again=changed)
