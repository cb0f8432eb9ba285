"""Metrics of torchmetrics that the `metrics` section of a config adds to the scores of a run."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric

from speechml.config.instantiate import build, import_class
from speechml.contracts import Config
from speechml.errors import UserError

MOST_VALUES = 100  # a curve or a matrix is no score


class CustomMetrics:
    """Metrics by name, each counting the items of every split by itself.

    Args:
        nodes: config nodes, by the name of the score.
        known: arguments that are filled in where a metric takes them and its node leaves them out (num_classes, fs).
        example: a prediction and a target, on which each metric is tried.
        gathered: whether every rank counts all items, so that ranks have nothing to put together.

    Raises:
        UserError: a node is no metric, or the metric refuses its arguments or the example.
    """

    def __init__(self, nodes: Config, known: Config, example: tuple[Tensor, Tensor], gathered: bool) -> None:
        self.metrics = {name: _build(name, node, known) for name, node in nodes.items()}
        self.names: list[str] = []  # of the scores: of a metric with several values that of each
        for name, metric in self.metrics.items():
            self.names += _try(name, metric, example)
            metric.sync_on_compute = not gathered
        self._of: dict[str, dict[str, Metric]] = {}  # copies by split, then name
        self._undefined: dict[str, dict[str, int]] = {}

    def reset(self, splits: list[str], device: torch.device) -> None:
        """Forget all items; the splits are the same on all ranks."""
        self._of = {split: {name: m.clone().to(device) for name, m in self.metrics.items()} for split in splits}
        self._undefined = {split: dict.fromkeys(self.metrics, 0) for split in splits}

    def update(self, split: str, prediction: Tensor, target: Tensor) -> None:
        """Count items of a split. Shape: (1, time) twice, or probabilities (batch, class) and labels (batch,)."""
        for name, metric in self._of[split].items():
            try:
                metric.update(prediction, target)
            except Exception:  # as PESQ does on silence: at the end of a training, an item without a score ends no run
                self._undefined[split][name] += 1

    def compute(self, split: str) -> dict[str, float]:
        """The scores `split/name`; `split/name_key` of a metric that gives several."""
        scores: dict[str, float] = {}
        for name, metric in self._of[split].items():
            try:
                value = metric.compute()
            except Exception:  # as above
                value = torch.tensor(math.nan)
            scores |= _named(f"{split}/{name}", value)
            if self._undefined[split][name]:
                scores[f"{split}/{name}_undefined"] = float(self._undefined[split][name])
        return scores


def is_higher_better(nodes: Config, score: str) -> bool | None:
    """Whether more of a score is better, by the metric of torchmetrics that it is of; None where that does not say so."""
    name = score.rpartition("/")[2]
    owners = [own for own, node in nodes.items() if node is not None and f"{name}_".startswith(f"{own}_")]
    if not owners:
        return None
    known = {"num_classes": 2, "num_labels": 2, "task": "multiclass", "fs": 16000}  # whatever a task would fill in
    owner = max(owners, key=len)
    return _build(owner, nodes[owner], known).higher_is_better


def _build(name: str, node: object, known: Config) -> Metric:
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"metrics.{name} is {node}", fix="give the metric as {_target_: torchmetrics...}")
    parameters = inspect.signature(import_class(node["_target_"], f"metrics.{name}")).parameters
    filled = {key: value for key, value in known.items() if key in parameters and node.get(key) is None}
    try:
        metric = build({**node, **filled}, where=f"metrics.{name}")
    except ModuleNotFoundError as error:
        raise UserError(f"metrics.{name}: {' '.join(str(error).split())}") from error
    if not isinstance(metric, Metric):
        raise UserError(f"metrics.{name} is a {type(metric).__name__}, which is no metric of torchmetrics")
    return metric


def _try(name: str, metric: Metric, example: tuple[Tensor, Tensor]) -> list[str]:
    """The names of a metric's scores. Raises UserError where it does not take the example, or makes no scores of it."""
    trial = metric.clone()
    trial.sync_on_compute = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial.update(*example)
            names = list(_named(name, trial.compute()))
    except Exception as error:  # whatever a metric says
        shapes = " and ".join(str(tuple(part.shape)) for part in example)
        raise UserError(
            f"metrics.{name} {type(metric).__name__} does not take predictions and targets of shapes {shapes}",
            why=" ".join(str(error).split()),
        ) from error
    if len(names) > MOST_VALUES:
        raise UserError(f"metrics.{name} {type(metric).__name__} gives {len(names)} values, which is no score")
    return names


def _named(name: str, value: object) -> dict[str, float]:
    """The numbers of what a metric gives: itself, or each by its key or place."""
    if isinstance(value, Tensor) and value.dim() > 0 and value.numel() == 1:
        value = value.flatten()[0]
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, (list, tuple)) or (isinstance(value, Tensor) and value.dim() > 0):
        parts = list(enumerate(value))
    else:
        return {name: float(value)}  # type: ignore[arg-type] # a tensor of one number, or one
    return {key: number for place, part in parts for key, number in _named(f"{name}_{place}", part).items()}
