"""How networks are trained and scored; each loaded when a config names it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speechml.tasks.stft_denoising import MagnitudeDenoiser as MagnitudeDenoiser
    from speechml.tasks.waveform_denoising import WaveformDenoiser as WaveformDenoiser
    from speechml.tasks.word_classification import Classifier as Classifier

# The names that configs build, and where each lies.
PLACES = {
    "Classifier": "speechml.tasks.word_classification",
    "FeatureClassifier": "speechml.music.task",
    "MagnitudeDenoiser": "speechml.tasks.stft_denoising",
    "WaveformDenoiser": "speechml.tasks.waveform_denoising",
}
__all__ = list(PLACES)


def __getattr__(name: str) -> type:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: type = getattr(import_module(PLACES[name]), name)
    return found
