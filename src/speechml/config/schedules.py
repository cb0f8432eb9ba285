"""The keys of torch's schedules of the learning rate."""

from __future__ import annotations

from typing import ClassVar, Literal

from speechml.config.schema import Key, Schema, key
from speechml.config.third_party import FLAG, SHARE, Schedule


class CosineAnnealingLR(Schedule):
    """The learning rate falls along half a cosine over the whole training."""

    FURTHER: ClassVar = {"last_epoch": Literal[-1]}
    eta_min: float = key("the learning rate at the end", 0.0, least=0)
    T_max: int | None = key("steps until the end; null: those of the whole training", None, unit="steps", least=1)


class StepLR(Schedule):
    """The learning rate falls by a factor, again and again."""

    FURTHER: ClassVar = {"last_epoch": Literal[-1]}
    step_size: int = key(
        "how long the learning rate stays before it falls", unit="epochs, or steps (interval)", least=1
    )
    gamma: float = key("what the learning rate is multiplied by", 0.1, above=0)


class OneCycleLR(Schedule):
    """The learning rate rises to a maximum, then falls, over the whole training."""

    FURTHER: ClassVar = {
        "anneal_strategy": Literal["cos", "linear"], "cycle_momentum": FLAG, "base_momentum": SHARE, "max_momentum": SHARE,
        "three_phase": FLAG, "epochs": int | None, "steps_per_epoch": int | None, "last_epoch": Literal[-1],
    }  # fmt: skip
    max_lr: float = key("the learning rate at its highest; it begins at a 25th of that and ends near 0", above=0)
    pct_start: float = key("how long the learning rate rises before it falls; a longer rise is gentler, and leaves less time "
                           "to settle", 0.3, unit="share of the steps", least=0, below=1)  # fmt: skip
    total_steps: int | None = key("steps until the end; null: those of the whole training", None, unit="steps", least=1)
    div_factor: float = key("max_lr over the first learning rate", 25.0, above=0)
    final_div_factor: float = key("the first learning rate over the last one", 10000.0, above=0)


class ReduceLROnPlateau(Schema):
    """The learning rate falls when a score no longer improves, by the last validation of each epoch."""

    FURTHER: ClassVar = {
        "threshold_mode": Literal["rel", "abs"], "cooldown": Key("", kind=int, least=0), "eps": Key("", kind=float, least=0),
    }  # fmt: skip
    monitor: str = key("what has to improve", "val/loss", allowed="a score of the validation split, as val/loss")
    mode: Literal["min", "max"] | None = key("whether less or more of monitor is better; null: by its name", None)
    factor: float = key("what the learning rate is multiplied by", 0.1, above=0, below=1)
    patience: int = key("epochs without improvement before the learning rate falls", 10, unit="epochs", least=0)
    threshold: float = key("smaller changes are no improvement", 1e-4, unit="share of the score", least=0)
    min_lr: float | list[float] = key("the learning rate falls no further", 0.0, least=0)
