"""What a run takes over of the weights of a trained network, which of them it trains, and what its card says of it."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from speechml.config.compose import flatten
from speechml.contracts import ItemKind
from speechml.engine.checkpoint import AtomicIO, build_task
from speechml.engine.parent import Parent, read_parent
from speechml.engine.weights_check import check_weights
from speechml.errors import UserError, closest
from speechml.report.audit import FLAGGED, PASSES, UNKNOWN, Audit, Finding
from speechml.runs.card import Record, RunCard
from speechml.tasks.base import Task

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from speechml.engine.parts import Data, Parts

CHECK = "starting weights"  # of an audit
SHOWN = 5  # weights that do not fit, and groups of weights
OF_TRAINING = (
    "classes",
    "seed",
    "augment",
    "label_smoothing",
    "loss",
    "net.dropout",
)  # keys of a model without weights
OF_NORMS = ("running_mean", "running_var", "num_batches_tracked")  # buffers of batch normalisation
Weights = dict[str, Tensor]


class Start(NamedTuple):
    """What a run has begun with.

    lines: for the person who trains it.
    lineage: for its card, the nearest first.
    finding: for its audit.
    has_statistics: whether statistics of the data came with the weights.
    """

    lines: list[str]
    lineage: list[Record]
    finding: Finding
    has_statistics: bool


class _Choice(NamedTuple):
    """Weights by what becomes of them; `rows` says which classes are taken over where the classes are others."""

    loaded: Weights
    skipped: list[str]
    new: list[str]
    rows: str


def begin(parts: Parts) -> Start | None:
    """Put the weights that `init.from` names into the network of a run that begins; None where it names none.

    Raises:
        UserError: they cannot be read, or do not fit; the network is then as it was.
    """
    init = parts.config["init"]
    if not init["from"]:
        return None
    parent = read_parent(Path(init["from"]))
    _check_rate(parent, parts.module)
    choice = _choose(parts, parent)
    task, own = parts.module, parts.module.state_dict()
    check_weights(task, {**own, **choice.loaded}, parent.place)
    frozen = [name for name, weight in task.named_parameters() if not weight.requires_grad]
    if untrained := [name for name in frozen if name in choice.new]:
        fix = "leave it out of init.freeze"
        raise UserError(f"init.freeze keeps {untrained[0]} as it is, which is new and has learned nothing", fix=fix)
    task.load_state_dict({**own, **choice.loaded})
    buffers = dict(task.named_buffers())
    inherited = {name: weight for name, weight in choice.loaded.items() if name in buffers}
    if isinstance(task, Task):
        task.inherited = inherited
    old = [name for name in choice.loaded if name not in choice.new]
    counts = {"loaded": len(old), "skipped": len(choice.skipped), "new": len(choice.new), "frozen": len(frozen)}
    lineage = [parent.about | counts, *parent.lineage]
    checkpoints = parts.trainer.strategy.checkpoint_io
    if isinstance(checkpoints, AtomicIO):
        heard = {*checkpoints.record["heard"], *(parent.heard or ())}
        checkpoints.record |= {"heard": sorted(heard), "lineage": lineage}
        if parent.heard is None:  # nor is it known of those that begin with this one
            checkpoints.record["heard_unknown"] = True
    fitted = [name for name in inherited if name.rpartition(".")[2] not in OF_NORMS]
    has_statistics = bool(fitted and parts.data.provenance().statistics)
    return Start(_lines(parts, parent, choice), lineage, _audit(parts.data, parent), has_statistics)


def freeze(task: LightningModule, patterns: Sequence[str]) -> None:
    """Let some weights stay as they are, and batch normalisation among them go by the statistics that it has.

    Raises:
        UserError: there are no such weights, or no others.
    """
    frozen = _matching(task.state_dict(), patterns, "init.freeze")
    for name, weight in task.named_parameters():
        if name in frozen:
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in task.parameters()):
        raise UserError("init.freeze leaves nothing to train", fix="name fewer weights")
    for name, module in task.named_modules():
        if f"{name}.running_mean" in frozen:
            module.eval()  # Lightning leaves the modes of modules as they are, and warns
            warnings.filterwarnings("ignore", r".*module\(s\) in eval mode at the start of training")


def record_start(card: RunCard, start: Start | None, before: RunCard | None) -> None:
    """Say in the card of a run what it began with; of one that goes on that is in the card `before`."""
    findings = Audit.from_json(card.audit).findings
    if start:
        card.lineage = start.lineage
        if start.has_statistics:
            text = "those that the starting weights learned by are kept"
            findings = tuple(replace(f, found=text) if f.check == "statistics" else f for f in findings)
        card.audit = Audit((*findings, start.finding)).to_json()
    elif before:
        card.lineage, card.audit = before.lineage, before.audit


def start_warnings(card: RunCard) -> list[str]:
    """A sentence where the weights that a run began with had been trained on its test items."""
    return [finding.found for finding in Audit.from_json(card.audit).findings
            if finding.check == CHECK and finding.state == FLAGGED]  # fmt: skip


def _matching(names: Iterable[str], patterns: Sequence[str], where: str) -> set[str]:
    """The names that begin with, or are like, one of some patterns. Raises UserError for a pattern that none is like."""
    names = list(names)
    found: set[str] = set()
    for pattern in patterns:
        mine = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not mine:
            groups = sorted({part for name in names for part in (name, *map(".".join, _beginnings(name)))})
            near = closest(pattern, groups)
            fix = f"did you mean {near}?" if near else f"it has {_shorten(names)}"
            raise UserError(f"{where} names {pattern}, and no weight is called so or begins so", fix=fix)
        found |= mine
    return found


def _beginnings(name: str) -> list[list[str]]:
    words = name.split(".")
    return [words[:count] for count in range(1, len(words))]


def _check_rate(parent: Parent, task: LightningModule) -> None:
    theirs, own = parent.model.get("sample_rate"), getattr(task, "sample_rate", None)
    if theirs is not None and own is not None and theirs != own:
        what = f"the network in {parent.place} works at {theirs} Hz and this one at {own} Hz"
        raise UserError(what, fix=f"add data.sample_rate={theirs}")


def _choose(parts: Parts, parent: Parent) -> _Choice:
    """Which weights are taken over. Raises UserError where some do not fit and `init.skip` does not name them."""
    own, theirs = parts.module.state_dict(), parent.weights
    skipped = _matching({**own, **theirs}, parts.config["init"]["skip"], "init.skip")
    of_classes, rows, complete = _rows_of_classes(parts, parent, skipped)
    others = [name for name in own if name not in skipped and name not in of_classes]
    unfit = [f"{name} is not in it" for name in others if name not in theirs]
    unfit += [f"{name} is unknown here" for name in theirs if name not in own and name not in skipped]
    unfit += [
        f"{name} has shape {tuple(theirs[name].shape)} in it and {tuple(own[name].shape)} here"
        for name in others
        if name in theirs and theirs[name].shape != own[name].shape
    ]
    if unfit:
        more = f"; and {len(unfit) - SHOWN} more" * (len(unfit) > SHOWN)
        count = f"{len(unfit)} weights do not" if len(unfit) > 1 else "one weight does not"
        what = f"the network in {parent.place} is of another architecture: {count} fit"
        raise UserError(what, "; ".join(unfit[:SHOWN]) + more, "init.skip=[BEGINNING,...] lets such weights begin anew")
    loaded = {name: theirs[name] for name in others} | of_classes
    new = [name for name in own if name not in loaded or (name in of_classes and not complete)]
    if all(name in new for name, _ in parts.module.named_parameters()):
        raise UserError(f"nothing is left of the weights in {parent.place}", fix="name less in init.skip")
    return _Choice(loaded, [name for name in theirs if name in skipped], new, rows)


def _rows_of_classes(parts: Parts, parent: Parent, skipped: set[str]) -> tuple[Weights, str, bool]:
    """The weights with an entry for each class, where the classes are others: entries of shared classes are taken over.

    Gives them by name, a remark, and whether all entries are known.
    """
    classes, theirs = parts.config["model"].get("classes"), parent.model["classes"]
    if not classes or not theirs or classes == theirs:
        return {}, "", True
    places = [(i, theirs.index(name)) for i, name in enumerate(classes) if name in theirs]
    own, found = parts.module.state_dict(), {}
    axes = {name: axis for name, axis in _axes_of_classes(parts, own).items() if name not in skipped}
    if not axes and not skipped:
        what = f"the network in {parent.place} tells other classes apart, and none of its weights is known to belong to them"
        raise UserError(what, fix="init.skip=[BEGINNING,...] lets the last layer begin anew")
    here, there = (torch.tensor([place[side] for place in places], dtype=torch.long) for side in (0, 1))
    for name, axis in axes.items():
        weight, old = own[name].clone(), parent.weights.get(name)
        expected = [len(theirs) if i == axis else size for i, size in enumerate(weight.shape)]
        if old is not None and places and list(old.shape) == expected and old.dtype == weight.dtype:
            weight.index_copy_(axis, here, old.index_select(axis, there))
        found[name] = weight
    shared = f"{len(places) or 'none'} of {len(classes)} classes {'is' if len(places) < 2 else 'are'} known to it"
    return found, shared, len(places) == len(classes)


def _axes_of_classes(parts: Parts, own: Weights) -> dict[str, int]:
    """The axis of each weight that grows with the number of classes, by name."""
    model = parts.config["model"]
    with torch.random.fork_rng(devices=[]):
        other = build_task({**parts.config, "model": {**model, "classes": [*model["classes"], "\0"]}}, "the config")
    grown = {name: weight.shape for name, weight in other.state_dict().items() if name in own}
    axes = {name: [i for i, (a, b) in enumerate(zip(own[name].shape, shape, strict=False)) if a != b]
            for name, shape in grown.items()}  # fmt: skip
    return {name: found[0] for name, found in axes.items()
            if len(found) == 1 and own[name].shape[found[0]] == len(model["classes"])}  # fmt: skip


def _lines(parts: Parts, parent: Parent, choice: _Choice) -> list[str]:
    """What is said of the weights when a run begins: taken over, skipped, new."""
    known = "/".join(str(parent.about[name]) for name in ("experiment", "id") if parent.about.get(name))
    own = [name for name in choice.loaded if name not in choice.new]
    frozen = sum(not weight.requires_grad for weight in parts.module.parameters())
    rows = f"; {choice.rows}" * bool(choice.rows)
    lines = [
        f"took over {_shorten(own)} of {known or parent.place}{f'; {frozen} stay as they are' * bool(frozen)}",
        f"skipped {_shorten(choice.skipped)} of it",
        f"began anew with {_shorten(choice.new)}{rows}",
    ]
    theirs, mine = flatten(parent.model), flatten(parts.config["model"])
    changed = [
        f"model.{name} {_brief(theirs.get(name))}, here {_brief(mine.get(name))}"
        for name in sorted(theirs.keys() | mine.keys(), key=str)
        if theirs.get(name) != mine.get(name) and not f"{name}.".startswith(tuple(f"{one}." for one in OF_TRAINING))
    ]
    return lines + [f"note: they learned with another model: {'; '.join(changed[:SHOWN])}"] * bool(changed)


def _brief(value: object) -> str:
    return json.dumps(value, default=str)[:40]


def _shorten(names: Iterable[str]) -> str:
    """How many weights, and what their names begin with."""
    groups = Counter(".".join(name.split(".")[:2]) for name in names)
    shown = ", ".join(f"{name} {count}" for name, count in list(groups.items())[:SHOWN])
    text = f" ({shown}{', ...' * (len(groups) > SHOWN)})" if groups else ""
    return f"{sum(groups.values()) or 'no'} weight{'s' * (sum(groups.values()) != 1)}{text}"


def _audit(data: Data, parent: Parent) -> Finding:
    """Whether the weights had been trained on test items of these data."""
    count, items = len(data.splits["test"]), data.spec.item_name
    if parent.heard is None or data.spec.kind is ItemKind.UNKNOWN:
        return Finding(CHECK, UNKNOWN, "what the weights that training began with were trained on is not known")
    seen = data.count_seen(parent.heard)
    text = f"{seen or 'none'} of the {count:,} test {items} were used to train or validate the weights that training began with"
    return Finding(CHECK, FLAGGED if seen else PASSES, text, seen, count)
