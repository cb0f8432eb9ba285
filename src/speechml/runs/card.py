"""card.json, what a run says of itself: read, checked and written in this one place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from speechml.errors import UserError
from speechml.storage.files import write_json

CARD = "card.json"
VERSION = 1  # of the card; cards from before there was a number are read as this one
STATES = ("running", "done", "stopped", "failed")
Record = dict[str, Any]  # what a card passes on without looking into it


class _Part:
    """A dataclass read from a mapping: values of another kind are refused, keys that it does not know are kept in `more`."""

    more: Record

    @classmethod
    def from_json(cls, content: object, where: str) -> Self:
        if not isinstance(content, Mapping):
            raise ValueError(f"{where} is {type(content).__name__}, not a mapping")
        known = {f.name: f for f in fields(cls) if f.name != "more"}  # type: ignore[arg-type] # subclasses are dataclasses
        given = {key: content[key] for key in known if key in content and content[key] is not None}
        for key, value in given.items():
            given[key] = _checked(value, str(known[key].type), f"{where}.{key}")
        part = cls(**given)
        part.more = {str(key): value for key, value in content.items() if key not in known}
        return part

    def to_json(self) -> Record:
        """The mapping that `from_json` reads; what is None is left out."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "more"}  # type: ignore[arg-type] # as above
        parts = {key: value.to_json() if isinstance(value, _Part) else value for key, value in given.items()}
        return {key: value for key, value in parts.items() if value is not None} | self.more


KINDS: dict[str, Any] = {
    "str": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict, "Record": dict,
}  # fmt: skip


def _checked(value: Any, annotation: str, where: str) -> Any:
    """`value`, if it is of the kind that the annotation of a field begins with."""
    base = annotation.partition("[")[0].partition(" ")[0]
    if base in PARTS:
        return PARTS[base].from_json(value, where)
    kind: Any = KINDS[base]
    if not isinstance(value, kind) or (isinstance(value, bool) and base != "bool"):
        raise ValueError(f"{where} is {type(value).__name__}, not {base}")
    if "dict[str, float | None]" in annotation:
        return {str(k): None if v is None else _checked(v, "float", f"{where}.{k}") for k, v in value.items()}
    if "dict[str, float]" in annotation:
        return {str(k): float(_checked(v, "float", f"{where}.{k}")) for k, v in value.items()}
    if "dict[str, int]" in annotation:
        return {str(k): _checked(v, "int", f"{where}.{k}") for k, v in value.items()}
    if "list[str]" in annotation:
        return [_checked(item, "str", f"{where}[{i}]") for i, item in enumerate(value)]
    return value


@dataclass
class DataCard(_Part):
    """What a run was trained and scored on.

    Attributes:
        data: class of the data module.
        protocol: how the splits were made: official, random, speaker, time, as_published ...
        called: the items in messages, in the plural.
        recordings: number of items of each split.
        seconds: their length together, in s.
        notes: what a reader of the scores should know, one sentence each.
    """

    data: str
    protocol: str
    fingerprint: str
    test_fingerprint: str
    recordings: dict[str, int]
    called: str = "recordings"
    seconds: dict[str, float] = field(default_factory=dict)
    sample_rate: int | None = None
    split_seed: int | None = None
    notes: list[str] = field(default_factory=list)
    classes: list[str] | None = None
    more: Record = field(default_factory=dict)


@dataclass
class CodeCard(_Part):
    """Which code made a run; `own` has a checksum of each module of the user's."""

    version: str = "unknown"
    commit: str | None = None
    dirty: bool | None = None
    own: Record = field(default_factory=dict)
    more: Record = field(default_factory=dict)


@dataclass
class PublishedCard(_Part):
    """Figures of a paper or lab, and of which data they are (`of`)."""

    source: str = ""
    note: str = ""
    of: Record = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    tolerance: dict[str, float] = field(default_factory=dict)
    more: Record = field(default_factory=dict)


@dataclass
class RunCard(_Part):
    """Everything that a run says of itself.

    Attributes:
        state: one of STATES; `running` where nobody holds the folder's lock means that it was cut off.
        scores: by name, None where one is not finite.
        scored: number of test items that have scores.
        monitored: the best value of checkpoint.monitor.
        headlines: names of the scores by which runs are compared.
        training_s: seconds of training in all sessions together.
        files: checksums of what the run left, by name.
        failures: how often in a row it has failed.
        stopped, pruned, error: how it ended where it is not done.
    """

    id: str
    experiment: str
    state: str
    data: DataCard
    card_version: int = VERSION
    command: str = ""
    code: CodeCard = field(default_factory=CodeCard)
    versions: Record = field(default_factory=dict)
    hardware: Record = field(default_factory=dict)
    started: str = ""
    overrides: list[str] = field(default_factory=list)
    seed: int = 0
    test_weights: str = "best"
    audit: Record | None = None
    published: PublishedCard = field(default_factory=PublishedCard)
    scores: dict[str, float | None] = field(default_factory=dict)
    failures: int = 0
    parameters: int | None = None
    training_s: float | None = None
    epochs: int | None = None
    clips_per_s: float | None = None
    monitored: float | None = None
    scored: int | None = None
    headlines: list[str] | None = None
    files: Record | None = None
    stopped: str | None = None
    pruned: str | None = None
    error: str | None = None
    ended: str | None = None
    more: Record = field(default_factory=dict)

    HEADLINES: ClassVar[tuple[str, ...]] = ("test/snr_db", "test/acc", "heldout/snr_db")

    @property
    def headline(self) -> str | None:
        """Name of the score that stands for the run: the first of HEADLINES that it has."""
        return next((name for name in self.HEADLINES if name in self.scores), None)


PARTS: dict[str, type[_Part]] = {"DataCard": DataCard, "CodeCard": CodeCard, "PublishedCard": PublishedCard}


def load_card(folder: Path) -> RunCard | None:
    """The card of a run, or None where the folder holds no run.

    Raises:
        UserError: there is a card, but it is damaged.
    """
    path = folder / CARD
    try:
        return RunCard.from_json(json.loads(path.read_text()), "card")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read", why=str(error), fix=f"move {folder} away and train again") from error


def save_card(folder: Path, card: RunCard) -> None:
    """Replace the card of a run, whole."""
    write_json(folder / CARD, card.to_json())
