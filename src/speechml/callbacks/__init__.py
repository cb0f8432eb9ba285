"""What watches a run: progress, curves, figures, listening; each loaded when a config names it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speechml.callbacks.denoising_figures import Figures as Figures
    from speechml.callbacks.early_stopping import EarlyStopping as EarlyStopping
    from speechml.callbacks.epochs import EpochTable as EpochTable
    from speechml.callbacks.epochs import Progress as Progress
    from speechml.callbacks.listening import Listening as Listening
    from speechml.callbacks.word_figures import WordFigures as WordFigures

# The names that configs build, and where each lies.
PLACES = {
    "EarlyStopping": "speechml.callbacks.early_stopping",
    "EpochTable": "speechml.callbacks.epochs",
    "Figures": "speechml.callbacks.denoising_figures",
    "GenreFigures": "speechml.music.figures",
    "Listening": "speechml.callbacks.listening",
    "Progress": "speechml.callbacks.epochs",
    "WordFigures": "speechml.callbacks.word_figures",
}
__all__ = list(PLACES)


def __getattr__(name: str) -> type:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    cls: type = getattr(import_module(PLACES[name]), name)
    return cls
