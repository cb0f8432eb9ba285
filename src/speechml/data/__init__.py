"""Data modules and the corpora they read, and what a data module of one's own is made of; each loaded when it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechml.lazy import import_on_use

if TYPE_CHECKING:
    from speechml.data.for_own import *  # noqa: F403 (to type checkers the names of OWN)
    from speechml.data.lab_pairs import LabPairs as LabPairs
    from speechml.data.mixed_pairs import MixedPairs as MixedPairs
    from speechml.data.recording_pair import RecordingPair as RecordingPair
    from speechml.data.speech_commands import SpeechCommands as SpeechCommands
    from speechml.data.spoken_mixtures import SpokenMixtures as SpokenMixtures
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
    "SpokenMixtures": "speechml.data.spoken_mixtures",
    "SpokenPairs": "speechml.data.spoken_pairs",
    "SpokenWords": "speechml.data.spoken_words",
    "WavPairs": "speechml.data.wav_pairs",
}
OWN = (  # what a data module of one's own is made of
    "BaseDataModule", "ClipCorpus", "Corpus", "FilePairs", "PairCorpus", "PairDataModule", "Provenance", "WordDataModule",
    "find_audio", "find_in_names", "key", "packed_pairs", "random_split", "split_by_speaker", "split_evenly",
)  # fmt: skip
__all__ = [*PLACES, *OWN]
__getattr__ = import_on_use(__name__, PLACES | dict.fromkeys(OWN, "speechml.data.for_own"))
