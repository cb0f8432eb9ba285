"""What all tasks share: optimiser and schedule, randomness by epoch, one way from batches to scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from speechml.config.instantiate import build
from speechml.config.schema import schema_of
from speechml.contracts import Config, DataModule, DataSpec, ItemKind
from speechml.data.base import Batches
from speechml.errors import UserError
from speechml.process import gather_from_ranks
from speechml.signal.random import key

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig

    from speechml.metrics.custom import CustomMetrics

    Optimization = OptimizerConfig | OptimizerLRSchedulerConfig  # what Lightning's `configure_optimizers` returns


class Batch(Protocol):
    """Items of any kind."""

    @property
    def indices(self) -> Tensor:
        """Their numbers. Shape: (batch,)."""


TrainBatch = TypeVar("TrainBatch", bound=Batch)
EvalBatch = TypeVar("EvalBatch", bound=Batch)
Row = dict[str, Any]  # columns of one item: a number, or an array, by name


class Task(pl.LightningModule, Generic[TrainBatch, EvalBatch]):
    """Base of the tasks; `net` is the network.

    Args:
        optimizer, scheduler: config nodes; needed for training only.
    """

    kind: ClassVar[ItemKind]  # what it learns from
    data_choices: ClassVar[str] = ""  # what a person may choose of it
    headline_scores: tuple[str, ...] = ()  # by which runs are compared in TensorBoard
    loss_name = "loss"
    own_scores: ClassVar[tuple[str, ...]] = ("loss",)  # names that no metric of a config may have
    training_scores: ClassVar[tuple[str, ...]] = ("loss",)  # what is logged of an epoch's batches
    test_only: ClassVar[str] = ""  # scores with this in their name are not logged of a validation
    net: nn.Module

    def __init__(self, optimizer: Config | None = None, scheduler: Config | None = None) -> None:
        super().__init__()
        self.optimizer_node, self.scheduler_node = optimizer or {}, scheduler
        self._optimization: Optimization | None = None  # built ahead of the training that takes it
        self.items: dict[int, Row] = {}  # of the splits being scored, by number
        self.scores: dict[str, float] = {}  # what the last test gave
        self.losses: dict[int, tuple[int, dict[str, Tensor]]] = {}  # of this epoch, by batch: its items, what is logged
        self.metrics: CustomMetrics | None = None
        self.inherited: dict[str, Tensor] = {}  # buffers of the weights that a run begins with
        self._may_repeat = False  # whether the optimiser may compute a batch several times a step
        self._batch_sizes: list[int] = []  # items of each batch of this epoch, where several make a step
        self.first_draws: tuple[int, Tensor] | None = (
            None  # the batch of this step, and the generator's state before it
        )

    @classmethod
    def check_data(cls, spec: DataSpec) -> None:
        """Raises UserError where the data are of another kind than the task learns from."""
        if spec.kind is not cls.kind:
            raise UserError(
                f"{cls.__name__} learns from {cls.kind.value}, and the data are {spec.kind.value}",
                fix=f"choose {cls.data_choices}",
            )

    def setup_for(self, data: DataModule) -> None:
        """Agree with the data module on what a training item is.

        Raises:
            UserError: the task cannot learn from such data.
        """
        self.check_data(data.spec)

    def prepare(self, data: DataModule) -> None:
        """Fit to the training split, before the first step, what is not learned; nothing by default."""

    def training_loss(self, batch: TrainBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a training batch, (), and what else is logged of it, () each, by its name."""
        raise NotImplementedError

    def evaluate_batch(self, batch: EvalBatch, testing: bool) -> dict[str, Tensor]:
        """What is kept of each item that is scored, as columns by name. Shape: (batch, ...) each."""
        raise NotImplementedError

    def compute_scores(self, split: str, rows: list[Row]) -> dict[str, float]:
        """Scores `split/...` of items, from their columns."""
        raise NotImplementedError

    def weak_scores(self) -> list[str]:
        """Sentences on scores of the last test that are worse than those of doing nothing, or of guessing."""
        return []

    def score_names(self) -> list[str] | None:
        """The scores that can be chosen by; None of a task of the user's own, which computes others."""
        ours = ("compute_scores", "evaluate_batch", "denoise_batch", "training_loss", "training_step")
        if any(not getattr(type(self), name, Task).__module__.startswith("speechml.") for name in ours):
            return None
        validation = [*self.validation_scores(), *(self.metrics.names if self.metrics else ())]
        return [*(f"val/{name}" for name in validation), *(f"train/{name}" for name in self.training_scores)]

    def validation_scores(self) -> tuple[str, ...]:
        """The task's own scores of a validation, without their split."""
        return self.own_scores

    def prediction_columns(self) -> dict[str, np.ndarray]:
        """What predictions.npz holds beside the rows of items."""
        return {}

    def describe(self) -> str:
        """One sentence about the network, for the person who trains it."""
        return f"{type(self.net).__name__}: {sum(p.numel() for p in self.parameters()):,} parameters"

    def add_metrics(self, nodes: Config) -> None:
        """Score by metrics of torchmetrics as well, each under its name in `nodes`.

        Raises:
            UserError: no such metric, or one that does not take what the task gives it.
        """
        nodes = {name: node for name, node in nodes.items() if node is not None}
        for name in nodes:
            if name in self.own_scores or not name.isidentifier():
                raise UserError(f"metrics.{name} is no name for a further score", fix="choose another")
        self.metrics = self.build_metrics(nodes) if nodes else None

    def build_metrics(self, nodes: Config) -> CustomMetrics:  # noqa: ARG002 (for tasks that know more)
        """The metrics of a config, for what the task predicts.

        Raises:
            UserError: as `add_metrics`.
        """
        raise UserError(f"{type(self).__name__} gives nothing to metrics of torchmetrics", fix="leave metrics out")

    def update_metrics(self, split: str, rows: list[Row]) -> None:
        """Give metrics the items of a split, where they have not been given them batch by batch."""

    def build_optimization(self, steps: int, epochs: int = 1) -> Optimization:
        """Build optimiser and schedule, and keep them until the training begins.

        Args:
            steps, epochs: of the whole training, for schedules that take `total_steps` or `T_max` and have none.

        Raises:
            UserError: no such class, or one that refuses its arguments.
        """
        arguments: Config = {}  # of the schedule
        moves: Config = {}  # when the rate does
        if self.scheduler_node or _is_unusual(self.optimizer_node):
            from speechml.tasks.optimization import check_step, plan_schedule

            if self.scheduler_node:
                arguments, moves = plan_schedule(self.scheduler_node, steps, epochs)
            if _is_unusual(self.optimizer_node) or _is_unusual(arguments):
                check_step(self.optimizer_node, arguments)
        optimizer = build(self.optimizer_node, self.parameters(), where="optimizer", kind=torch.optim.Optimizer)
        from_torch = type(optimizer).__module__.startswith("torch.optim")
        self._may_repeat = isinstance(optimizer, torch.optim.LBFGS) or not from_torch
        self._optimization = {"optimizer": optimizer}
        if arguments:
            schedule = build(arguments, optimizer, where="scheduler", kind=torch.optim.lr_scheduler.LRScheduler)
            lr = {"scheduler": schedule, **moves}
            self._optimization = cast("Optimization", {"optimizer": optimizer, "lr_scheduler": lr})
        return self._optimization

    def configure_optimizers(self) -> Optimization:
        built = self._optimization
        if built is None:
            steps, epochs = self.trainer.estimated_stepping_batches, self.trainer.max_epochs
            built = self.build_optimization(int(steps), epochs or 1)
        self._optimization = None  # a further training has another length
        if isinstance(schedule := built.get("lr_scheduler"), dict) and "monitor" in schedule:
            schedule["frequency"] = self.trainer.check_val_every_n_epoch or 1  # other epochs know an old score only
        return built

    def _data(self) -> DataModule:
        return self.trainer.datamodule  # type: ignore[attr-defined] # Lightning sets it, but does not declare it

    def on_fit_start(self) -> None:
        kept = {k: v.clone() for k, v in self.state_dict().items()} if self.trainer.ckpt_path else self.inherited
        self.prepare(self._data())
        self.load_state_dict(kept, strict=False)  # the statistics that loaded weights learned by

    def on_train_epoch_start(self) -> None:
        self.losses, self._batch_sizes = {}, []
        # Dropout draws from torch's one generator: set by the epoch, a resumed run draws as one that never stopped.
        torch.manual_seed(key("epoch", self._data().seed, self.trainer.current_epoch, self.trainer.global_rank))

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Tensor:
        if self._may_repeat:
            from speechml.tasks.optimization import repeat_draws

            self.first_draws = repeat_draws(self, self.first_draws)
        loss, others = self.training_loss(batch)
        count = len(batch.indices)
        # The last values, where an optimiser computes a batch several times; copied, as a view would keep the batch alive.
        self.losses[batch_idx] = count, {k: v.detach().clone() for k, v in {"loss": loss, **others}.items()}
        weight = self.batch_weight(batch_idx)
        return loss if weight == 1 else loss * weight

    def batch_weight(self, batch_idx: int) -> float:
        """What the loss of a batch is multiplied by, for a step to follow the mean over the items that it accumulates.

        Lightning divides by `accumulate_grad_batches`, also where batches have fewer items, or an epoch's end fewer batches.
        """
        count, batches = self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches)
        if count == 1:
            return 1.0
        if not self._batch_sizes:
            loader = self.trainer.train_dataloader
            self._batch_sizes = loader.sizes()[:batches] if isinstance(loader, Batches) else [1] * batches
        first = batch_idx - batch_idx % count
        return count * self._batch_sizes[batch_idx] / sum(self._batch_sizes[first : first + count])

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:  # noqa: ARG002 (Lightning's signature)
        if not (self.trainer.is_last_batch or self.trainer.should_stop):
            return
        # Logged once an epoch: Lightning's logging of a step costs more than a step of a small network.
        items = sum(count for count, _ in self.losses.values())
        names = next(iter(self.losses.values()))[1]
        sums = {name: sum(count * values[name] for count, values in self.losses.values()) for name in names}
        means = {f"train/{name}": total / items for name, total in sums.items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=items, sync_dist=True)
        self.losses = {}  # where a stop has to wait for min_epochs, the rest of the epoch is a share of its mean

    def on_validation_epoch_start(self) -> None:
        self._begin_scoring(["val"])

    def on_test_epoch_start(self) -> None:
        self._begin_scoring(list(self._data().scored_items()))

    def _begin_scoring(self, splits: list[str]) -> None:
        self.items = {}
        if self.metrics is not None:
            self.metrics.reset(splits, self.device)

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> None:  # noqa: ARG002 (Lightning's signature)
        self._evaluate(batch, testing=False)

    def test_step(self, batch: EvalBatch, batch_idx: int) -> None:  # noqa: ARG002
        self._evaluate(batch, testing=True)

    def _evaluate(self, batch: EvalBatch, testing: bool) -> None:
        columns = self.evaluate_batch(batch, testing)
        values = (c.tolist() if c.dim() == 1 else c.cpu().numpy() for c in columns.values())
        for number, *row in zip(batch.indices.tolist(), *values, strict=True):
            self.items[number] = dict(zip(columns, row, strict=True))

    def on_validation_epoch_end(self) -> None:
        # Progress and model selection read these; they are equal on all ranks because every rank has all items.
        self.log_dict(self.end_validation(), batch_size=1)

    def end_validation(self) -> dict[str, float]:
        """The scores of the items that were validated."""
        self._gather_items()
        return self._split_scores("val", sorted(self.items), self.test_only)

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.end_test(), batch_size=1)

    def end_test(self) -> dict[str, float]:
        """The scores of the items that were tested, which `scores` are from now on."""
        self._gather_items()
        self.scores = {}
        for split, numbers in self._data().scored_items().items():
            self.scores |= self._split_scores(split, [i for i in sorted(numbers) if i in self.items])
        return self.scores

    def _gather_items(self) -> None:
        """Know the items of every rank: scores are then equal on all, and need no averaging."""
        self.items = {number: row for share in gather_from_ranks(self.items) for number, row in share.items()}

    def _split_scores(self, split: str, numbers: list[int], without: str = "") -> dict[str, float]:
        """The task's own scores of a split, but those with `without` in their name, and those of custom metrics."""
        if not (rows := [self.items[number] for number in numbers]):  # a limit of batches may leave a split out
            return {}
        scores = self.compute_scores(split, rows)
        scores = {name: value for name, value in scores.items() if not without or without not in name}
        if self.metrics is not None:
            self.update_metrics(split, rows)
            scores = self.metrics.compute(split) | scores
        return {name: float(value) for name, value in scores.items()}  # a task of the user's own may give numpy's


def _is_unusual(node: Config) -> bool:
    """Whether a node has arguments that no schema of ours speaks of."""
    schema = schema_of(node.get("_target_"))
    return bool(node) and (schema is None or bool(node.keys() & schema.FURTHER.keys()))
