"""How networks are trained and scored."""

from speechml.tasks.classification import Classifier
from speechml.tasks.magnitude_denoising import MagnitudeDenoiser
from speechml.tasks.waveform_denoising import WaveformDenoiser

__all__ = ["Classifier", "MagnitudeDenoiser", "WaveformDenoiser"]
