"""The keys of the genre family."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from speechml.callbacks.schema import Figures
from speechml.config.schema import key
from speechml.data.schema import Data
from speechml.tasks.schema import Classification


class GenreFeatures(Data):
    """Music in rows of hand-made features."""

    split: Literal["protocol", "all"] = key("protocol: as data.protocol says; all: every row is test, for speechml-evaluate",
                                            "protocol", later=True)  # fmt: skip
    root: Path = key("files named *_0.mp3, *_1.wav (number of the genre), or a folder for each genre",
                     allowed="a folder of music, or a .npz with Xdata and Ydata")  # fmt: skip
    protocol: Literal["as_published", "honest"] = key("as_published: rows at random, all normalise, so it leaks; honest: by "
                                                      "song or time, training normalises", "as_published")  # fmt: skip
    batch_size: int = key("rows of a step, over all processes together; more makes steps smoother and fewer", 32,
                          unit="rows", least=1)  # fmt: skip


class FeatureClassifier(Classification):
    """Genres from rows of features."""

    columns: list[str] | None = key("features that go into the network; null: all twelve", None,
                                    allowed="names of features, as rms_db or low_high_ratio")  # fmt: skip
    log: list[str] | None = key("features whose logarithm is taken: ratios and powers are skewed", None,
                                allowed="some of model.columns, which must be positive")  # fmt: skip


class GenreFigures(Figures):
    """Curves, confusions and features of genres."""
