"""Data modules and the corpora they read."""

from speechml.data.lab_pairs import LabPairs
from speechml.data.mixed_pairs import MixedPairs
from speechml.data.spoken_pairs import SpokenPairs
from speechml.data.wav_pairs import WavPairs

__all__ = ["LabPairs", "MixedPairs", "SpokenPairs", "WavPairs"]
