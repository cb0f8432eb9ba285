"""What a run made of each test item, for Python."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from speechml.runs.predictions import load_predictions

SOURCES = ("speaker", "song", "recording")  # what items may be pieces of


@dataclass(frozen=True)
class Prediction:
    """What a run made of a test item.

    Attributes:
        name: of the item.
        source: the speaker, song or recording that it is a piece of; empty where it is not known.
        scores: of a denoised recording, by name, and what else the run keeps as a number of each item.
        label, predicted: the class, and the one that the network named; None of a denoiser.
        logits: by class; empty of a denoiser.
    """

    name: str
    source: str
    scores: dict[str, float]
    label: str | None = None
    predicted: str | None = None
    logits: dict[str, float] = field(default_factory=dict)


def read_items(folder: Path) -> list[Prediction]:
    """What a run made of each test item, in the order of their names. Raises UserError where it was not tested."""
    columns = {name: column.tolist() for name, column in load_predictions(folder / "predictions.npz").items()}
    names, classes = columns.pop("name"), columns.pop("classes", [])
    sources = next((columns.pop(kind) for kind in SOURCES if kind in columns), [""] * len(names))
    labels, logits = columns.pop("label", []), columns.pop("logits", [])
    numbers = {key: column for key, column in columns.items() if all(isinstance(v, (int, float)) for v in column)}
    items = []
    for i, name in enumerate(names):
        item = Prediction(name, sources[i], {key: column[i] for key, column in numbers.items()})
        if classes:
            own = dict(zip(classes, logits[i], strict=True))
            item = replace(item, label=classes[labels[i]], predicted=max(own, key=own.__getitem__), logits=own)
        items.append(item)
    return items
