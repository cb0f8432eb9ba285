"""The keys of what watches a run."""

from __future__ import annotations

from typing import Literal

from speechml.config.schema import Schema, key


class Progress(Schema):
    """A bar, or a line an epoch, on the terminal."""


class Figures(Schema):
    """The pictures in figures/ of a denoiser."""


class WordFigures(Figures):
    """The pictures in figures/ of a word classifier."""


class Listening(Schema):
    """Noisy, clean and denoised recordings in audio/ and in TensorBoard."""

    recordings: int = key("how many are written, the first of each split and the worst", 3, unit="recordings", least=0)


class EarlyStopping(Schema):
    """Ends a training that has stopped improving."""

    monitor: str = key("what has to improve", allowed="a logged score of the validation split, as val/loss")
    patience: int = key("epochs without improvement after which training ends; fewer save time, and may end in a dip", 3,
                        unit="epochs", least=0)  # fmt: skip
    after: float = key("no epoch counts before: while the learning rate is high, losses rise and fall by chance", 0.0,
                       unit="share of the training", least=0, most=1)  # fmt: skip
    min_delta: float = key("smaller changes are no improvement", 0.0)
    mode: Literal["min", "max"] | None = key("whether less or more of monitor is better; null: by its name", None)
    stopping_threshold: float | None = key("a value that is good enough: training ends", None)
    divergence_threshold: float | None = key("a value beyond which training ends as hopeless", None)
    check_finite: bool = key("whether training ends when monitor is NaN or infinite", True)
    strict: bool = key("whether it is an error that monitor is not logged", True)
    check_on_train_epoch_end: bool | None = key("whether it looks before the validation; null: after it", None)
    verbose: bool = key("whether each improvement is printed", False)
    log_rank_zero_only: bool = key("whether only the first process prints", False)
