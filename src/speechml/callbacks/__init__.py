"""What watches a run: progress, curves, figures, listening; each loaded when a config names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechml.lazy import import_on_use

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
__getattr__ = import_on_use(__name__, PLACES)
