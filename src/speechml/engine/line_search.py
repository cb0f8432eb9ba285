"""What an optimiser that computes its batch several times a step asks of a training."""

from __future__ import annotations

from lightning.pytorch.callbacks import GradientAccumulationScheduler

from speechml.config.instantiate import import_class
from speechml.contracts import Config
from speechml.errors import UserError


def check_closure(config: Config, ranks: int) -> None:
    """Raises UserError where an optimiser that computes its batch several times a step, as LBFGS, would be misled."""
    trainer = config["trainer"]
    callbacks = [import_class(node["_target_"], "callbacks.") for node in config["callbacks"].values() if node]
    scheduled = any(issubclass(one, GradientAccumulationScheduler) for one in callbacks)
    for is_so, why, fix in (
        (ranks > 1, f"searches along a line on each process's own loss, and {ranks} processes would wait for each other "
         "for ever", "add trainer.devices=1"),
        (scheduled or trainer.get("accumulate_grad_batches", 1) > 1, "computes its batch several times a step, and each "
         "time would add up the gradients again", "raise data.batch_size instead of accumulating"),
        (trainer.get("gradient_clip_val"), "takes the curvature from gradients, which are others when they are clipped",
         "leave out trainer.gradient_clip_val"),
        (str(trainer.get("precision")) in ("16", "16-mixed"), "compares losses, which 16-bit precision scales from step to "
         "step", "set trainer.precision=32"),
    ):  # fmt: skip
        if is_so:
            raise UserError(f"LBFGS {why}", fix=f"{fix}, or choose another optimizer")
