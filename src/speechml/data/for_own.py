"""What a data module of one's own is made of; `speechml.data` gives all of it when it is named."""

from speechml.config.schema import key
from speechml.data.base import BaseDataModule, Corpus
from speechml.data.clips import ClipCorpus, WordDataModule
from speechml.data.name_rules import find_in_names
from speechml.data.pairs import PairCorpus, PairDataModule, packed_pairs
from speechml.data.provenance import Provenance
from speechml.data.speaker_splits import split_evenly
from speechml.data.splits import random_split, split_by_speaker
from speechml.data.wav_pairs import FilePairs
from speechml.storage.audio_folders import find_audio

__all__ = [
    "BaseDataModule", "ClipCorpus", "Corpus", "FilePairs", "PairCorpus", "PairDataModule", "Provenance", "WordDataModule",
    "find_audio", "find_in_names", "key", "packed_pairs", "random_split", "split_by_speaker", "split_evenly",
]  # fmt: skip
