"""The embedded words: 30 of them, by voices that are never in two splits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from speechml.contracts import SPLITS, IndexBatch
from speechml.data import SpokenWords
from speechml.data.splits import voice_speaker
from speechml.data.spoken_words import WORDS, word
from speechml.errors import UserError


def opened(cache: Path, **keys) -> SpokenWords:
    given = {"voices": 8, "sample_rate": 16000, "batch_size": 8, "split_seed": 0, "cache": str(cache), **keys}
    return SpokenWords(**given)


def test_every_voice_says_every_word_and_is_in_one_split(cache: Path) -> None:
    data = opened(cache)
    assert len(data.item_names) == 8 * 30
    assert data.classes == list(WORDS)
    said_by = [name.split("/")[1].removesuffix(".wav").replace("_", "+", 1) for name in data.item_names]
    voices = {split: {voice_speaker(said_by[i]) for i in data.splits[split]} for split in SPLITS}
    assert all(voices.values())
    assert not voices["train"] & voices["test"]
    assert not voices["val"] & (voices["train"] | voices["test"])


def test_a_word_is_the_same_alone_and_is_heard_whole() -> None:
    first, again = (word("seven", "en-us+f2", 3, 16000) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (16000,)
    assert 0.09 < np.abs(first).max() < 0.75
    assert not np.array_equal(first, word("seven", "en-us+f2", 4, 16000))


def test_some_of_the_words_may_be_asked_for(cache: Path) -> None:
    data = opened(cache, words=["yes", "no"])
    assert len(data.item_names) == 16
    assert data.load_batch(IndexBatch("train", 0, torch.tensor([0, 1]))).label.tolist() in ([0, 1], [1, 0])
    with pytest.raises(UserError, match="no clips of the word maybe"):
        opened(cache, words=["yes", "maybe"]).card()
