"""Data modules and the corpora they read, loaded when they are asked for: `speechml data --help` needs none of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
PLACES = {
    "GenreFeatures": "genre_features", "LabPairs": "lab_pairs", "MixedPairs": "mixed_pairs",
    "RecordingPair": "recording_pair", "SpeechCommands": "speech_commands", "SpokenPairs": "spoken_pairs",
    "SpokenWords": "spoken_words", "WavPairs": "wav_pairs",
}  # fmt: skip


def __getattr__(name: str) -> type:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: type = getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    return found
