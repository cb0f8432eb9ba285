"""How networks are trained and scored."""

from speechml.tasks.clip_classification import Classifier
from speechml.tasks.feature_classification import FeatureClassifier
from speechml.tasks.magnitude_denoising import MagnitudeDenoiser
from speechml.tasks.waveform_denoising import WaveformDenoiser

__all__ = ["Classifier", "FeatureClassifier", "MagnitudeDenoiser", "WaveformDenoiser"]
