"""`trainer.ema`: an exponential moving average of the weights, which is what is validated, kept, tested and used."""

from __future__ import annotations

from collections.abc import Mapping

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from torch import Tensor

from speechml.engine.checkpoint import Weights, weights_of
from speechml.engine.resume import State
from speechml.errors import UserError


class AveragedWeights(pl.Callback):
    """Averages the weights over the steps; Lightning's callback of that kind would copy the whole task, its data included.

    After step n the average is d * average + (1 - d) * weights with d = min(decay, (1 + n) / (10 + n)), so that a short
    training is not an average of its beginning. It starts with the first weights. Running statistics of layers are averaged
    alike; what is no fraction, as a count, is that of the last step. In checkpoints `state_dict` is the average, and `live`
    what the training goes on with.

    Args:
        decay: share that the average keeps of itself at a step.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: Weights = {}
        self.live: Weights = {}  # of the training, while the average is in the network
        self.step = 0  # of the training, that was averaged last

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: State) -> None:
        if trainer.state.fn == "fit":
            self.average = {name: value.clone() for name, value in checkpoint["state_dict"].items()}
            self.step = checkpoint["global_step"]
            put(checkpoint["live"], pl_module)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: State) -> None:  # noqa: ARG002
        if self.average:
            checkpoint["live"] = self.live or checkpoint["state_dict"]
            checkpoint["state_dict"] = self.average

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        now = weights_of(pl_module)
        self.average = {name: self.average.get(name, value).to(value.device) for name, value in now.items()}
        self.live = {}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if trainer.global_step == self.step:  # the gradients of several batches are accumulated
            return
        self.step = trainer.global_step
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, value in pl_module.state_dict().items():
            if name in self.average:
                self.average[name].copy_(mean(self.average[name], value, decay))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and self.average:
            self._put_average(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and self.average:
            put(self.live, pl_module)
            self.live = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._put_average(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        put(self.average, pl_module)  # of a run that goes on when its training was over, which has no other end

    def _put_average(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.live = weights_of(module)
        if trainer.world_size > 1:  # running statistics are each rank's own; those of the first are kept
            for name, _ in module.named_buffers():
                if name in self.average:
                    torch.distributed.broadcast(self.average[name], 0)
        put(self.average, module)


def mean(average: Tensor, now: Tensor, decay: float) -> Tensor:
    """A step of the average; where both are equal, be it infinite, nothing is rounded."""
    if not (now.is_floating_point() or now.is_complex()):
        return now
    return torch.where(average == now, now, decay * average + (1 - decay) * now)


@torch.no_grad()
def put(weights: Weights, module: torch.nn.Module) -> None:
    """Give a module these weights, by name."""
    own = module.state_dict()
    for name, value in weights.items():
        own[name].copy_(value)


def averaging(decay: float, callbacks: Mapping[str, pl.Callback]) -> AveragedWeights:
    """What averages the weights as `trainer.ema` says. Raises UserError where a callback of the config does so, too."""
    for name, callback in callbacks.items():
        if isinstance(callback, (WeightAveraging, StochasticWeightAveraging)):
            what = f"trainer.ema and callbacks.{name} would both average the weights"
            raise UserError(what, fix=f"leave one out (callbacks.{name}=null)")
    return AveragedWeights(decay)
