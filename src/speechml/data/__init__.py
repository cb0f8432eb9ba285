"""Data modules and the corpora they read; each loaded when a config names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechml.lazy import import_on_use

if TYPE_CHECKING:
    from speechml.data.lab_pairs import LabPairs as LabPairs
    from speechml.data.mixed_pairs import MixedPairs as MixedPairs
    from speechml.data.recording_pair import RecordingPair as RecordingPair
    from speechml.data.speech_commands import SpeechCommands as SpeechCommands
    from speechml.data.spoken_pairs import SpokenPairs as SpokenPairs
    from speechml.data.spoken_words import SpokenWords as SpokenWords
    from speechml.data.wav_pairs import WavPairs as WavPairs

# The names that configs build, and where each lies.
PLACES = {
    "GenreFeatures": "speechml.music.data",
    "LabPairs": "speechml.data.lab_pairs",
    "MixedPairs": "speechml.data.mixed_pairs",
    "RecordingPair": "speechml.data.recording_pair",
    "SpeechCommands": "speechml.data.speech_commands",
    "SpokenPairs": "speechml.data.spoken_pairs",
    "SpokenWords": "speechml.data.spoken_words",
    "WavPairs": "speechml.data.wav_pairs",
}
__all__ = list(PLACES)
__getattr__ = import_on_use(__name__, PLACES)
