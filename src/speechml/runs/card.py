"""card.json, what a run says of itself: read, checked and written in this one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from speechml.config.compose import without_secrets
from speechml.errors import UnknownScore, UserError, machine_failure, reason
from speechml.storage.files import write_json
from speechml.storage.plain_files import read_json

CARD = "card.json"
# What is raised of a file's values that are not what they should be.
DAMAGE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
VERSION = 1  # of the card; cards from before there was a number are read as this one
NOT_SAID = "not known"  # the protocol of data whose module does not say it
STATES = ("running", "done", "stopped", "failed")
HEADLINES = ("test/snr_db", "test/acc", "heldout/snr_db")  # the score that stands for a run: the first that it has
LARGEST = 1e300  # number: with more, sums and squares overflow
Record = dict[str, Any]  # what a card passes on without looking into it


@dataclass(kw_only=True)
class _Part:
    """A dataclass that is read from JSON and written as it was read.

    Values of another kind are refused, keys that it does not know are kept, and a key that was absent or null stays so
    until it gets a value.
    """

    as_read: Mapping[str, object] | None = field(default=None, repr=False, compare=False)
    NULLS: ClassVar[tuple[str, ...]] = ()  # keys that are written even where there is no value

    @classmethod
    def from_json(cls, content: object, where: str) -> Self:
        """Raises ValueError, naming the place, where `content` is not what `to_json` writes."""
        if not isinstance(content, Mapping):
            raise ValueError(f"{where} is {type(content).__name__}, not a mapping")
        keys = _keys(cls)
        values = {key: _checked(content[key], kind, f"{where}.{key}")
                  for key, (kind, _) in keys.items() if content.get(key) is not None}  # fmt: skip
        if missing := [key for key, (_, default) in keys.items() if key not in values and default is MISSING]:
            raise ValueError(f"{where}.{missing[0]} is missing")
        return cls(**values, as_read=content)

    def to_json(self) -> Record:
        """The mapping that `from_json` reads."""
        keys, then = _keys(type(self)), self.as_read
        content: Record = {}
        for key, (_, default) in keys.items():
            value = getattr(self, key)
            is_unset = value is None if then is None else then.get(key) is None and value == default
            if not is_unset:
                content[key] = value.to_json() if isinstance(value, _Part) else value
            elif key in (self.NULLS if then is None else then):
                content[key] = None
        return content | {str(key): value for key, value in (then or {}).items() if key not in keys}


_KEYS: dict[type[_Part], dict[str, tuple[object, object]]] = {}  # made once each: a list of runs reads a thousand cards


def _keys(part: type[_Part]) -> dict[str, tuple[object, object]]:
    """The type and the default of each key of a part."""
    if part not in _KEYS:
        kinds = get_type_hints(part)
        own = [one for one in fields(part) if one.name != "as_read"]
        defaults = [one.default if one.default_factory is MISSING else one.default_factory() for one in own]
        _KEYS[part] = {one.name: (kinds[one.name], default) for one, default in zip(own, defaults, strict=True)}
    return _KEYS[part]


def _checked(value: object, kind: object, where: str) -> Any:
    """`value`, if it is of the `kind` that the type of a field says."""
    base, args = get_origin(kind), get_args(kind)
    if base is UnionType:  # X | None
        return None if value is None else _checked(value, args[0], where)
    base = base or kind
    assert isinstance(base, type)
    if issubclass(base, _Part):
        return base.from_json(value, where)
    right = isinstance(value, (int, float) if base is float else base)
    if not right or (isinstance(value, bool) and base is not bool):
        raise ValueError(f"{where} is {type(value).__name__}, not {base.__name__}")
    if isinstance(value, (int, float)) and not abs(value) <= LARGEST:
        raise ValueError(f"{where} is no finite number")
    if isinstance(value, dict) and args[1] is not Any:
        return {key: _checked(item, args[1], f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_checked(item, args[0], f"{where}[{number}]") for number, item in enumerate(value)]
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

    NULLS = ("sample_rate", "split_seed")


@dataclass
class CodeCard(_Part):
    """Which code made a run; `own` has a checksum of each module of the user's."""

    version: str = "unknown"
    commit: str | None = None
    dirty: bool | None = None
    own: Record | None = None

    NULLS = ("commit", "dirty")


@dataclass
class PublishedCard(_Part):
    """Figures of a paper or lab, of which data they are (`of`), what was chosen where a text and its
    code disagree (`choices`), and in what the experiment differs from both (`deviations`)."""

    source: str = ""
    note: str = ""
    of: Record = field(default_factory=dict)
    scores: dict[str, float | None] = field(default_factory=dict)
    tolerance: dict[str, float | None] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)

    @classmethod
    def from_config(cls, content: object) -> Self:
        """What `published` of a config says. Raises UserError where it is of another kind."""
        try:
            return cls.from_json(content or {}, "published")
        except ValueError as error:
            raise UserError(str(error), fix="see conf/experiment/lab2a_fir.yaml for how it is written") from error


@dataclass
class LevelCurve(_Part):
    """How a score depends on the level (RMS in dBFS) of what the network is given.

    Attributes:
        score: its name without the split.
        own_db, own: the level that the scored items have by themselves, and their score.
        levels_db, scores: the same items, each brought to a level.
    """

    score: str
    own_db: float
    own: float
    levels_db: list[float]
    scores: list[float]

    def __post_init__(self) -> None:
        if not len(self.levels_db) == len(self.scores) > 0:
            raise ValueError("a level curve has as many scores as levels, and one at least")

    def loss_at(self, level_db: float) -> float:
        """How much of the score is lost at a level, in dB or as a share as the score is; between measured ones interpolated."""
        import numpy as np

        return self.own - float(np.interp(level_db, self.levels_db, self.scores))


@dataclass
class RunCard(_Part):
    """Everything that a run says of itself.

    Attributes:
        state: one of STATES; `running` where nobody holds the folder's lock means that it was cut off.
        scores: by name, None where one is not finite.
        scored: number of test items that have scores.
        test_sets: further ones by their names, with which their scores begin; see `runs.test_sets.SetCard`.
        monitored, objective: the best value of checkpoint.monitor; the score that `objective` of its config names.
        headlines: names of the scores by which runs are compared.
        intervals: of scores, by name, over test items (`interval`: low, high; `over`: how many of what); in tables only.
        chance: accuracy of always naming the most frequent class of the test; in tables only.
        training_s: seconds of training in all sessions together.
        level_curve: None of runs from before it was measured, and of networks that are given no waveforms.
        warnings: sentences on what went wrong in the training, or makes its scores useless.
        files: checksums of what the run left, by name.
        wiener: taps of the filter that its scores stand beside, fitted to what it was trained on.
        page: whether report.html is written when the run is done.
        failures: how often in a row it has failed.
        lineage: of the networks whose weights it began with, the nearest first: what each was, and how much was taken over.
        extended: where it went on from shorter trainings, the first first: from how many epochs, to how many, of which run.
        tags, note: of its owner, who may change them when it is done.
        stopped, pruned, error: how it ended where it is not done.
    """

    id: str
    experiment: str
    state: str
    data: DataCard
    card_version: int = VERSION
    command: str = ""
    code: CodeCard = field(default_factory=CodeCard)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: Record = field(default_factory=dict)
    started: str = ""
    overrides: list[str] = field(default_factory=list)
    seed: int = 0
    test_weights: str = "best"
    audit: Record | None = None
    published: PublishedCard = field(default_factory=PublishedCard)
    scores: dict[str, float | None] = field(default_factory=dict)
    failures: int = 0
    lineage: list[Record] | None = None
    extended: list[Record] | None = None
    parameters: int | None = None
    training_s: float | None = None
    epochs: int | None = None
    clips_per_s: float | None = None
    monitored: float | None = None
    objective: str | None = None
    scored: int | None = None
    test_sets: dict[str, Record] | None = None
    wiener: list[float] | None = None
    headlines: list[str] | None = None
    level_curve: LevelCurve | None = None
    intervals: Record | None = None
    chance: float | None = None
    warnings: list[str] | None = None
    files: dict[str, str] | None = None
    page: bool | None = None
    tags: list[str] | None = None
    note: str | None = None
    stopped: str | None = None
    pruned: str | None = None
    error: str | None = None
    ended: str | None = None

    @property
    def headline(self) -> str | None:
        """Name of the score that stands for the run: the first of HEADLINES that it has."""
        return next((name for name in HEADLINES if name in self.scores), None)

    def objective_value(self, goal: str | None, monitor: str) -> float | None:
        """What a sweeper goes by: the score that `objective` names, else that of the best checkpoint.

        Raises:
            UnknownScore: there is none of that name.
        """
        value = self.monitored if not goal or goal == monitor else self.scores.get(goal)
        if value is None and goal:
            names = sorted(name for name in self.scores if name.startswith("val/"))
            raise UnknownScore(f"objective={goal} is no score of this run; it has {', '.join(names)}")
        return None if value is None else float(value)


def load_card(folder: Path) -> RunCard | None:
    """The card of a run, or None where the folder holds no run.

    Raises:
        UserError: there is a card, but it is damaged.
    """
    try:
        card = RunCard.from_json(read_json(folder, CARD), "card")
        if card.state not in STATES:
            raise ValueError(f"card.state is {card.state[:20]!r}")
        return card
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise machine_failure(error, folder / CARD) or _damaged(folder, reason(error)) from error


def save_card(folder: Path, card: RunCard) -> None:
    """Replace the card of a run, whole and without secrets; numbers that are not finite become null."""
    write_json(folder / CARD, without_secrets(card.to_json()))


@contextmanager
def explain_damage(folder: Path) -> Iterator[None]:
    """Inside, values of a card that are of the right kind but make no sense are one sentence.

    Raises:
        UserError: that sentence.
    """
    try:
        yield
    except DAMAGE as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error


def _damaged(folder: Path, why: str) -> UserError:
    return UserError(f"{folder / CARD} is damaged", why, f"move {folder} away and train again")
