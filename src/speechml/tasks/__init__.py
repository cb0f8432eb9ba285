"""How networks are trained and scored; each loaded when a config names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechml.lazy import import_on_use

if TYPE_CHECKING:
    from speechml.tasks.base import Task as Task
    from speechml.tasks.classification import Classification as Classification
    from speechml.tasks.denoising import DenoisingTask as DenoisingTask
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
OWN = {  # what a task of one's own is made of
    "Classification": "speechml.tasks.classification",
    "DenoisingTask": "speechml.tasks.denoising",
    "Task": "speechml.tasks.base",
}
__all__ = [*PLACES, *OWN]
__getattr__ = import_on_use(__name__, PLACES | OWN)
