"""What a sweep of every combination would compute: its runs, which of them are done already, and how long the rest takes."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from speechml.errors import UserError
from speechml.runs.card import RunCard, load_card
from speechml.runs.catalogue import state_of
from speechml.runs.tables import format_duration, table
from speechml.sweep.compose import Composed

# What is done with a run of each state. One that another process has is left to it.
ACTIONS = {"new": "train", "stopped": "go on", "cut off": "go on", "failed": "try again", "damaged": "train"}


class PlannedRun(NamedTuple):
    """One run of a sweep, and what its folder said when it was planned."""

    overrides: list[str]
    experiment: str
    id: str
    folder: Path
    state: str  # `new` where there is none yet; else as `speechml runs list` calls it
    failures: int
    swept: dict[str, str]
    epochs: int  # at most
    redo: bool = False  # trained although it is done

    @property
    def shown(self) -> str:
        """What tells it from the others."""
        return " ".join(f"{key}={value}" for key, value in self.swept.items()) or " ".join(self.overrides)


def combinations(arguments: list[str], loader: Any = None) -> list[tuple[list[str], dict[str, str]]]:
    """The overrides of every run of a sweep, and the part of them that is swept.

    Args:
        arguments: of the command line; the last word on a key counts.
        loader: Hydra's, which knows the config files that `glob` means.

    Raises:
        UserError: an interval has no end of values.
    """
    lists: dict[str, list[str]] = {}
    swept: dict[str, list[str]] = {}
    for override in OverridesParser.create(loader).parse_overrides(arguments):
        key = override.get_key_element()
        bare = key.lstrip("+~")
        for same in [k for k in lists if k.lstrip("+~") == bare]:
            del lists[same]
        swept.pop(bare, None)
        lists[key] = [str(override.input_line)]
        if override.is_sweep_override():
            lists[key] = swept[bare] = [f"{key}={value}" for value in _values(override)]
    found = []
    for words in itertools.product(*lists.values()):
        parts = (word.partition("=") for word in words)
        found.append((list(words), {k.lstrip("+"): v for k, _, v in parts if k.lstrip("+") in swept}))
    return found


def _values(override: Override) -> Iterator[str]:
    if not override.is_discrete_sweep():
        raise UserError(
            f"{override.input_line}: a plain sweep runs every combination, and an interval has no end of them; "
            "add hydra/sweeper=optuna to search it"
        )
    return override.sweep_string_iterator()


def given(options: Any, arguments: list[str]) -> tuple[list[str], int]:
    """The overrides of a sweeper's `params` and of a command line, and how often what failed is launched again.

    Raises:
        UserError: options of another kind.
    """
    retries, params = options["max_retries"], options["params"] or {}
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise UserError(f"hydra.sweeper.max_retries is {retries}; it must be a whole number, at least 0")
    if not hasattr(params, "items"):
        raise UserError(f"hydra.sweeper.params is {params}; it must be a mapping, key: sweep")
    return [*(f"{key}={'null' if text is None else text}" for key, text in params.items()), *arguments], retries


def planned(composed: Composed, combos: list[tuple[list[str], dict[str, str]]]) -> list[PlannedRun]:
    """The runs of a sweep in its order.

    Raises:
        UserError: two combinations are one run.
    """
    if not combos:
        raise UserError("the sweep has no runs: a swept key has no values")
    runs, seen = [], dict[Path, dict[str, str]]()
    for overrides, swept in combos:
        experiment, identity, place, epochs, redo = composed.of(overrides)
        if place in ("None", ""):
            raise UserError("paths.runs is empty; it must be a folder")
        folder = Path(place) / experiment / identity
        if folder in seen:
            raise UserError(_one_run(seen[folder], swept, folder, len(combos)))
        seen[folder] = swept
        runs.append(PlannedRun(overrides, experiment, identity, folder, *condition(folder), swept, epochs, redo))
    return runs


def _one_run(one: dict[str, str], other: dict[str, str], folder: Path, count: int) -> str:
    differing = [key for key in other if one.get(key) != other[key]]
    if not differing:
        return f"the sweep has {' '.join(f'{k}={v}' for k, v in one.items())} twice; they would be one run, {folder}"
    values = " and ".join(f"{key}={way[key]}" for key in differing for way in (one, other))
    several = f"of the {count} combinations several" if count > 2 else "the two"
    return f"{values} make no difference to a result: {several} would be one run, {folder}; leave one value of it"


def condition(folder: Path) -> tuple[str, int]:
    """The state of a run, `new` where it has no card, and how often in a row it has failed."""
    try:
        card = load_card(folder)
        return ("new", 0) if card is None else (state_of(folder, card), card.failures)
    except UserError:
        return "damaged", 0


def todo(run: PlannedRun, max_retries: int) -> str:
    """What is to be done with a run, or nothing, as when it is done, being trained, or has failed too often."""
    if run.redo and run.state != "running":
        return "train"
    if run.state == "failed" and run.failures > max_retries:
        return ""
    return ACTIONS.get(run.state, "")


def counted(runs: list[PlannedRun], max_retries: int) -> str:
    """One line on what is there and what there is to do."""
    told: dict[str, str] = {
        "": "done already", "train": "to train", "go on": "to go on with", "try again": "failed, to be tried again",
        "running": "being trained by another process", "failed": "failed too often",
    }  # fmt: skip
    what = [todo(run, max_retries) or (run.state if run.state in told else "") for run in runs]
    counts = Counter(what)
    return f"{len(runs)} run{'s' * (len(runs) != 1)}: " + ", ".join(
        f"{counts[k]} {t}" for k, t in told.items() if counts[k]
    )


class Estimate:
    """How long runs take, by the cards of those that are done: the ones most like them.

    Args:
        folders: of experiments, in which runs are looked for.
    """

    def __init__(self, folders: set[Path]) -> None:
        self.known: dict[Path, list[tuple[dict[str, str], float, int]]] = defaultdict(list)
        for folder in folders:
            for path in sorted(folder.glob("*/card.json")):
                with suppress(UserError):
                    card = load_card(path.parent)
                    if card and card.state == "done" and card.training_s is not None:
                        self.known[folder].append((_pairs(card.overrides), _took(card), card.epochs or 0))
        self.alike: dict[tuple[Path, tuple[str, ...]], tuple[float, int] | None] = {}

    def seconds(self, run: PlannedRun) -> tuple[float, int] | None:
        """The median time of like runs, scoring and figures included, and their number; None where there is none.

        Like are those of the same data and network that agree with it in as many further overrides as any, the seed
        aside. Of those with another number of epochs, the time of an epoch counts.
        """
        own, length = _pairs(run.overrides), "trainer.max_epochs"
        place = run.folder.parent, tuple(f"{k}={v}" for k, v in own.items())
        if place not in self.alike:
            scored = [
                (_agreement(own, other), seconds if own.get(length) == other.get(length) else seconds / epochs * run.epochs)
                for other, seconds, epochs in self.known[run.folder.parent] if epochs > 0 and _alike(own, other)
            ]  # fmt: skip
            best = max((score for score, _ in scored), default=0)
            like = [seconds for score, seconds in scored if score == best]
            self.alike[place] = (statistics.median(like), len(like)) if like else None
        return self.alike[place]


def _took(card: RunCard) -> float:
    """Seconds of a run: its training, or from its launch to its end where that is longer, as after one launch."""
    training = card.training_s or 0.0
    try:
        begin, end = (datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%S%z") for text in (card.started, card.ended))
    except ValueError:  # of another clock, or none
        return training
    return max(training, (end - begin).total_seconds())


def _alike(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two runs have the same data and network: else one tells nothing of the other's time."""
    return all(one.get(key) == other.get(key) for key in {*one, *other} if key.split(".")[0] in ("data", "model"))


def _pairs(overrides: list[str]) -> dict[str, str]:
    parts = (word.lstrip("+").partition("=") for word in overrides)
    return {k: v for k, _, v in parts if k not in ("seed", "experiment") and not k.startswith(("hydra", "paths."))}


def _agreement(one: dict[str, str], other: dict[str, str]) -> int:
    """Shared overrides less those that only one of the two has."""
    return len(one.items() & other.items()) - len(one.keys() ^ other.keys())


def plan_table(
    runs: list[PlannedRun], max_retries: int, seconds: Callable[[PlannedRun], tuple[float, int] | None]
) -> str:
    """The runs, what would be done with each, and how long that is likely to take."""
    rows, total, unknown, sources = [], 0.0, 0, 0
    for run in runs:
        what = todo(run, max_retries)
        guess = seconds(run) if what else None
        if guess:
            total, sources = total + guess[0], max(sources, guess[1])
        unknown += bool(what) and guess is None
        rows.append(
            [run.experiment, run.id, run.state, what or "-", format_duration(guess[0]) if guess else "-", run.shown]
        )
    header = ["experiment", "id", "state", "to do", "time", "overrides"]
    lines = [table(header, rows, left=(0, 1, 2, 3, 5)), "", counted(runs, max_retries)]
    if total:
        lines.append(
            f"About {format_duration(total)}, one after the other, by the cards of like runs that are done (up to {sources})."
        )
    if unknown and not total:
        lines.append("How long that takes is not known: no like run is done.")
    elif unknown:
        lines.append(f"For {unknown} of them no like run is done that would tell the time.")
    return "\n".join(lines)


def as_json(run: PlannedRun) -> dict[str, Any]:
    """What sweep.json keeps of a run."""
    return {"id": run.id, "folder": str(run.folder.absolute()), "overrides": run.overrides, "swept": run.swept}
