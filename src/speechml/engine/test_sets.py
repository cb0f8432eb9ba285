"""Further test sets by name: a run is scored on each after its own test, with the same weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightning.pytorch as pl

from speechml import contracts
from speechml.config.instantiate import build, import_class
from speechml.config.schema import Schema, keys_of
from speechml.contracts import Config, missing_members
from speechml.data.provenance import sources_of
from speechml.errors import UnusableData, UserError
from speechml.report.test_sets import audit_set
from speechml.runs.card import RunCard
from speechml.runs.predictions import write_predictions
from speechml.runs.test_sets import SetCard, set_cards, set_file

if TYPE_CHECKING:
    from speechml.data.base import BaseDataModule, Corpus
    from speechml.engine.checkpoint import AtomicIO
    from speechml.engine.parts import Parts
    from speechml.tasks.base import Task


PARTS = ("train", "val", "test", "heldout")  # with which the names of a run's own scores begin


def set_node(data: Config, own: Config) -> Config:
    """The data node of a test set: what it does not say is as in the run's own data, and all of it is test.

    `target` names another class of data; a node with `_target_` would have to be whole.
    """
    target = own.get("target", data["_target_"])
    cls = import_class(target)
    known = keys_of(cls) if issubclass(cls, Schema) else {}
    kept = {k: v for k, v in data.items() if target == data["_target_"] or (k in known and not known[k].is_path)}
    if "split" in known and "all" in known["split"].choices:
        kept["split"] = "all"
    if "download" in kept:
        kept["download"] = None
    return {**kept, **{k: v for k, v in own.items() if k != "target"}, "_target_": target}


def build_sets(
    config: Config, data: BaseDataModule[Corpus], task: Task, ranks: int
) -> dict[str, BaseDataModule[Corpus]]:
    """The data modules of the test sets of a config, their recordings read.

    Raises:
        UnusableData: the network of the run cannot be scored on one.
    """
    sets: dict[str, BaseDataModule[Corpus]] = {}
    for name, own in config["test_sets"].items():
        where = f"test_sets.{name}"
        if not re.fullmatch(r"[A-Za-z]\w*", str(name), re.ASCII) or name in PARTS:
            fix = f"choose letters and digits, and none of {', '.join(PARTS)}"
            raise UserError(f"{where} is no name for a test set", fix=fix)
        try:
            one: BaseDataModule[Corpus] = build(set_node(config["data"], own), where=where, kind=pl.LightningDataModule)
            if missing := missing_members(one, contracts.DataModule):
                raise UserError(f"{type(one).__name__} lacks {', '.join(missing)}")
            one.keep_classes(list(data.spec.classes))
            one.score_as_foreign()
            if one.spec.sample_rate != data.spec.sample_rate:
                what = f"it is at {one.spec.sample_rate} Hz and the run at {data.spec.sample_rate} Hz"
                raise UserError(what, fix="leave out its sample_rate")
            task.setup_for(one)
            if (count := len(one.splits["test"])) < ranks:
                raise UserError(f"{ranks} processes need as many {one.spec.item_name}, and there are {count}")
        except UserError as error:
            raise UnusableData(f"{where}: {error.what}", error.why, error.fix) from error
        sets[name] = one
    return sets


def score_sets(parts: Parts, folder: Path, card: RunCard) -> None:
    """Score the weights that the network has on each set; the card gets scores `NAME/...`, and each set a file of predictions.

    Callbacks and loggers know of the run's own data only, and do not watch.
    """
    trainer, task = parts.trainer, cast("Task", parts.task)  # others have no sets
    run_data = cast("BaseDataModule[Corpus]", parts.data)
    others = trainer.callbacks, trainer.loggers  # type: ignore[attr-defined] # Lightning sets it, but does not declare it
    own = task.scores, task.items
    record = cast("AtomicIO", trainer.strategy.checkpoint_io).record  # of what is scored
    trainer.callbacks, trainer.loggers, card.test_sets = [parts.saving], [], {}  # type: ignore[attr-defined]
    try:
        for name, data in parts.sets.items():
            task.setup_for(data)
            trainer.test(task, datamodule=data, verbose=False)
            card.scores |= {f"{name}/{score.removeprefix('test/')}": value for score, value in task.scores.items()}
            scored = len(set(task.items) & set(data.splits["test"]))
            audit = audit_set(run_data, data, record["heard"], not record.get("heard_unknown"))
            own_card = SetCard(data=data.card(), audit=audit.to_json(), warnings=task.weak_scores(), scored=scored)
            card.test_sets[name] = own_card.to_json()
            if trainer.is_global_zero:
                path, about = folder / set_file(name), task.prediction_columns()
                path.parent.mkdir(exist_ok=True)
                sources = sources_of(data.provenance(), data.item_names)
                write_predictions(path, task.items, data.scored_items(), data.item_names, sources, **about)
    finally:
        trainer.callbacks, trainer.loggers = others  # type: ignore[attr-defined]
        task.setup_for(run_data)
        task.scores, task.items = own


def unscored_sets(parts: Parts, card: RunCard) -> list[str]:
    """The sets that a run that is done has not been scored on, or whose recordings are others now."""
    then = {name: one.data.test_fingerprint for name, one in set_cards(card).items()}
    return [name for name, data in parts.sets.items() if then.get(name) != data.card().test_fingerprint]


def keep_sets(card: RunCard, before: RunCard) -> None:
    """Keep what a run that is scored again has scored of other sets: its weights are the same."""
    card.test_sets = card.test_sets or {}
    for name, one in (before.test_sets or {}).items():
        if name not in card.test_sets:
            card.test_sets[name] = one
            card.scores |= {score: value for score, value in before.scores.items() if score.startswith(f"{name}/")}
