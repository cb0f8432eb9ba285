"""What of the config in a checkpoint is used when its run is scored again: nothing that only its author has asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import lightning.pytorch as pl

from speechml.config.instantiate import import_class, parameters
from speechml.config.nodes import check_foreign_node
from speechml.config.places import named_places, place_mark
from speechml.contracts import Config, DataModule
from speechml.errors import UserError, echo

OFFLINE = (  # metrics that compute and fetch nothing; others of torchmetrics load networks
    "torchmetrics.aggregation", "torchmetrics.audio.pesq", "torchmetrics.audio.sdr", "torchmetrics.audio.snr",
    "torchmetrics.audio.stoi", "torchmetrics.classification", "torchmetrics.regression",
)  # fmt: skip


def own_data(record: Config, checkpoint: Path, cache: str) -> Config:
    """The data node that a checkpoint names, with the user's own cache, and without a download.

    Raises:
        UserError: it names files that nobody here has trained on; or it is no data module, or has keys beyond all bounds.
    """
    node = record["config"].get("data")
    what = f"{checkpoint} describes no data that it can be scored on"
    fix = "name the data, as data=wav_pairs data.root=FOLDER"
    if not isinstance(node, dict):
        raise UserError(what, fix=fix)
    try:
        check_foreign_node(node, "data.")
        cls = import_class(node.get("_target_"), "data.")
        is_theirs = cls.__module__.partition(".")[0] in ("lightning", "torch", "torchmetrics")  # which may download
        if is_theirs or not issubclass(cls, pl.LightningDataModule):
            raise UserError(f"{node.get('_target_')} is no data module of speechml's or yours")
    except (UserError, RecursionError) as error:
        raise UserError(what, str(error), fix) from error
    for place in named_places(node):
        if not place_mark(cache, place).exists():
            why = (
                "it is not known that anyone here has trained on it, and a checkpoint from elsewhere may name anything"
            )
            raise UserError(f"{checkpoint} names {place} as its data", why, f"if that is right, {fix}")
    if node.get("download") is not None:
        from speechml.data.download import downloaded

        if not downloaded(node["download"], Path(node.get("root", "."))):
            node = {**node, "download": None}
    takes = parameters(cls)
    return {**node, "cache": cache} if {"cache", "**"} & takes else node


def count_seen(data: DataModule, record: Config, checkpoint: Path) -> int:
    """How many test items a run was trained or validated on, by the checksums in its checkpoint; UserError without such."""
    marks = record.get("heard")
    try:
        if isinstance(marks, list):
            return data.count_seen(marks)
    except (AttributeError, TypeError, ValueError):
        pass
    raise UserError(f"{checkpoint} does not say what it was trained on", fix="give another of the run")


def own_metrics(config: Config) -> Config:
    """The metrics that a checkpoint names, without those that might fetch something; of each of these a note is printed."""
    nodes = config.get("metrics") or {}  # older runs have no such section
    if not isinstance(nodes, dict):
        return {}
    check_foreign_node(nodes, "metrics.")
    kept = {}
    for name, node in nodes.items():
        if node is None:
            continue
        module = import_class(node.get("_target_") if isinstance(node, dict) else None, f"metrics.{name}").__module__
        others = module.startswith(("torch", "lightning"))  # torchmetrics among them; not the user's own, and ours
        if others and not module.startswith(OFFLINE):
            echo(f"note: metrics.{name} is not scored again: {module} may fetch files", file=sys.stderr)
        else:
            kept[name] = node
    return kept
