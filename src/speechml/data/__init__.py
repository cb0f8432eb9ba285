"""Data modules and the corpora they read."""

from speechml.data.genre_features import GenreFeatures
from speechml.data.lab_pairs import LabPairs
from speechml.data.mixed_pairs import MixedPairs
from speechml.data.recording_pair import RecordingPair
from speechml.data.speech_commands import SpeechCommands
from speechml.data.spoken_pairs import SpokenPairs
from speechml.data.spoken_words import SpokenWords
from speechml.data.wav_pairs import WavPairs

__all__ = [
    "GenreFeatures", "LabPairs", "MixedPairs", "RecordingPair", "SpeechCommands", "SpokenPairs", "SpokenWords", "WavPairs",
]  # fmt: skip
