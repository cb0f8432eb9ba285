"""Data modules and the corpora they read, and what a data module of one's own is made of; each loaded when it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechml.lazy import import_on_use

if TYPE_CHECKING:
    from speechml.config.schema import key as key
    from speechml.data.base import BaseDataModule as BaseDataModule
    from speechml.data.base import Corpus as Corpus
    from speechml.data.clips import ClipCorpus as ClipCorpus
    from speechml.data.clips import WordDataModule as WordDataModule
    from speechml.data.lab_pairs import LabPairs as LabPairs
    from speechml.data.mixed_pairs import MixedPairs as MixedPairs
    from speechml.data.name_rules import find_in_names as find_in_names
    from speechml.data.pairs import PairCorpus as PairCorpus
    from speechml.data.pairs import PairDataModule as PairDataModule
    from speechml.data.pairs import packed_pairs as packed_pairs
    from speechml.data.provenance import Provenance as Provenance
    from speechml.data.recording_pair import RecordingPair as RecordingPair
    from speechml.data.speech_commands import SpeechCommands as SpeechCommands
    from speechml.data.splits import random_split as random_split
    from speechml.data.splits import split_by_speaker as split_by_speaker
    from speechml.data.splits import split_evenly as split_evenly
    from speechml.data.spoken_pairs import SpokenPairs as SpokenPairs
    from speechml.data.spoken_words import SpokenWords as SpokenWords
    from speechml.data.wav_pairs import FilePairs as FilePairs
    from speechml.data.wav_pairs import WavPairs as WavPairs
    from speechml.storage.audio_folders import find_audio as find_audio

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
# What a data module of one's own is made of, see docs/own_modules.md.
FOR_OWN = {
    "BaseDataModule": "speechml.data.base", "Corpus": "speechml.data.base", "key": "speechml.config.schema",
    "WordDataModule": "speechml.data.clips", "ClipCorpus": "speechml.data.clips",
    "PairDataModule": "speechml.data.pairs", "PairCorpus": "speechml.data.pairs", "packed_pairs": "speechml.data.pairs",
    "FilePairs": "speechml.data.wav_pairs", "Provenance": "speechml.data.provenance",
    "find_audio": "speechml.storage.audio_folders", "find_in_names": "speechml.data.name_rules",
    "random_split": "speechml.data.splits", "split_by_speaker": "speechml.data.splits", "split_evenly": "speechml.data.splits",
}  # fmt: skip
__all__ = [*PLACES, *FOR_OWN]
__getattr__ = import_on_use(__name__, PLACES | FOR_OWN)
