"""What watches a run: progress, curves, figures, listening."""

from speechml.callbacks.early_stopping import EarlyStopping
from speechml.callbacks.epoch_table import EpochTable
from speechml.callbacks.figures import Figures
from speechml.callbacks.genre_figures import GenreFigures
from speechml.callbacks.listening import Listening
from speechml.callbacks.progress import Progress
from speechml.callbacks.word_figures import WordFigures

__all__ = ["EarlyStopping", "EpochTable", "Figures", "GenreFigures", "Listening", "Progress", "WordFigures"]
