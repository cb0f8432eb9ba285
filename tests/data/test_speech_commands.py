"""Speech Commands as a data module: splits, classes, packs, fingerprints."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from conftest import SHARED, add_background, make_words, needs_shared, tone
from speechml.contracts import SPLITS, IndexBatch
from speechml.data import SpeechCommands
from speechml.data.background import coloured_noise
from speechml.errors import UserError

EIGHT = ["yes", "no", "up", "down", "left", "right", "stop", "go"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three words by 30 speakers."""
    return make_words(tmp_path / "words")


@pytest.fixture
def opened(tmp_path: Path):
    """opened(root, ...) is a data module whose cache lies beside the test's other files."""

    def open_(root: Path, **keys: Any) -> SpeechCommands:
        given = {"sample_rate": 16000, "batch_size": 8, "split_seed": 0, "cache": str(tmp_path / "cache"), **keys}
        return SpeechCommands(root=str(root), **given)

    return open_


@needs_shared
def test_the_excerpt_is_divided_as_its_lists_say(opened) -> None:
    root = SHARED / "speech-commands"
    data = opened(root, words=EIGHT)
    assert data.card().recordings == {"train": 960, "val": 200, "test": 200}
    listed = {n for n in (root / "testing_list.txt").read_text().split() if n.split("/")[0] in EIGHT}
    assert {data.item_names[i] for i in data.splits["test"]} == listed
    assert data.classes == EIGHT


@needs_shared
def test_words_without_training_clips_are_told_and_left_out_unless_asked_for(opened) -> None:
    data = opened(SHARED / "speech-commands")
    assert len(data.classes) == 30
    assert any("backward, follow, forward, learn, visual" in note for note in data.card().notes)
    asked = opened(SHARED / "speech-commands", words=["yes", "no", "visual"])
    assert asked.classes == ["yes", "no", "visual"]
    assert any("no training clips of visual: the network cannot learn" in note for note in asked.card().notes)


def test_the_random_split_is_60_20_20_and_says_that_speakers_leak(opened, tmp_path: Path) -> None:
    root = make_words(tmp_path / "words", takes=2)
    card = opened(root, split="random").card()
    assert card.recordings == {"train": 108, "val": 36, "test": 36}
    assert card.protocol == "random"
    assert any("same speakers" in note for note in card.notes)
    assert opened(root, split="random", split_seed=1).card().test_fingerprint != card.test_fingerprint


def test_unknown_and_silence_depend_on_no_seed(opened, tmp_path: Path) -> None:
    root = add_background(make_words(tmp_path / "words", takes=2))
    cards = []
    for seed, split_seed in ((0, 0), (1, 0), (0, 1)):
        data = opened(root, words=["high", "low"], unknown=True, silence=True, seed=seed, split_seed=split_seed)
        cards.append((data.card().test_fingerprint, data.item_names))
    assert cards[0] == cards[1] == cards[2]
    assert data.classes == ["high", "low", "_unknown_", "_silence_"]
    unknown = {data.item_names[i].split("/")[0] for i in torch.nonzero(data.corpus.labels == 2)[:, 0].tolist()}
    assert unknown == {"middle"}
    counts = torch.bincount(data.corpus.labels[data.splits["train"]])
    assert counts[2] == counts[0]


def test_each_split_hears_its_own_stretch_of_the_background(opened, tmp_path: Path) -> None:
    data = opened(add_background(make_words(tmp_path / "words")), words=["high", "low"], silence=True)
    rows = {split: {row for file in (90, 91) for row in data.corpus.background.rows(file, split)} for split in SPLITS}
    assert [len(rows[split]) for split in SPLITS] == [32, 4, 4]
    assert not rows["train"] & (rows["val"] | rows["test"])
    chances = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    heard = data.corpus.background.stretch("train", chances, 16000)
    pack = data.corpus.pack
    for file in (90, 91):
        begin = int(pack.starts[file])
        tail = pack.samples[begin + 16 * 16000 : begin + 20 * 16000].float() * pack.gains[file]
        ends = heard[:, 0, -1]
        assert not torch.isin(ends, tail).all()
    silent = [i for i in data.splits["test"] if data.item_names[i].startswith("_background")]
    assert silent
    batch = data.load_batch(IndexBatch("test", 0, torch.tensor(silent)))
    assert float(batch.waveform.std(-1).min()) > 0.05


def test_a_batch_holds_the_samples_of_the_files(opened, root: Path) -> None:
    short = tone(0.4)
    soundfile.write(root / "low" / "aaaaaaaa_nohash_0.wav", short, 16000)
    data = opened(root)
    numbers = torch.tensor([5, 40, data.item_names.index("low/aaaaaaaa_nohash_0.wav")])
    batch = data.load_batch(IndexBatch("train", 0, numbers))
    assert batch.waveform.shape == (3, 1, 16000)
    for row, number in zip(batch.waveform[:, 0].numpy(), numbers.tolist(), strict=True):
        expected, _ = soundfile.read(root / data.item_names[number], dtype="float32")
        np.testing.assert_array_equal(row[: len(expected)], expected)
        assert not row[len(expected) :].any()
    assert [data.classes[i] for i in batch.label.tolist()] == ["high", "low", "low"]


def test_a_changed_or_torn_folder_is_packed_anew(opened, root: Path, tmp_path: Path) -> None:
    packs = tmp_path / "cache" / "packs"
    before = opened(root).card().fingerprint
    assert opened(root).card().fingerprint == before
    assert len(list(packs.glob("words-*"))) == 1
    torn = next(packs.glob("words-*")) / "clip.i16"
    torn.write_bytes(torn.read_bytes()[:-100])
    assert opened(root).card().fingerprint == before
    path = root / "low" / "00000003_nohash_0.wav"
    soundfile.write(path, tone(1.0, hz=50), 16000)
    os.utime(path, ns=(1, 1))
    assert opened(root).card().fingerprint != before


def test_a_bad_clip_leaves_no_half_cache(opened, root: Path, tmp_path: Path) -> None:
    (root / "middle" / "bbbbbbbb_nohash_0.wav").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"bbbbbbbb_nohash_0.wav cannot be read as audio"):
        opened(root).card()
    left = [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert not left


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"words": ["high", "lwo"]}, "has no clips of the word lwo; did you mean low"),
        ({"words": [True, "high"]}, "in quotes"),
        ({"unknown": True}, "set words as well"),
        ({"words": ["high", "low", "middle"], "unknown": True}, "there are none"),
        ({"silence": True}, "_background_noise_/ with recordings of noise"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], says: str, opened, root: Path) -> None:
    with pytest.raises(UserError, match=says):
        opened(root, **keys).card()


def test_too_few_speakers_or_words_are_refused(opened, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"too few for a (train|val|test) split; .*data.split=random"):
        opened(make_words(tmp_path / "one speaker", speakers=1)).card()
    with pytest.raises(UserError, match="at least two"):
        opened(make_words(tmp_path / "one word", words=("low",))).card()


def test_clips_that_are_in_two_splits_are_told(opened, root: Path) -> None:
    data = opened(root)
    train, test = (root / data.item_names[data.splits[split][0]] for split in ("train", "test"))
    test.write_bytes(train.read_bytes())
    os.utime(test, ns=(1, 1))
    assert any("1 test clips are, sample by sample" in note for note in opened(root).card().notes)


def test_file_names_without_a_speaker_are_told(opened, root: Path) -> None:
    for path in root.glob("*/*.wav"):
        path.rename(path.with_name(path.name.replace("_nohash_", "-")))
    card = opened(root).card()
    assert card.protocol == "file"
    assert any("carry no speaker" in note for note in card.notes)


def test_noise_made_here_falls_with_frequency_as_its_colour_says() -> None:
    background = coloured_noise(16000)
    for file, slope in ((0, 0.0), (1, -1.0), (2, -2.0)):
        wave = background.pack.whole(torch.tensor([file]))[0, 0].double().numpy()
        power = np.abs(np.fft.rfft(wave)) ** 2
        bands = [power[low : 2 * low].mean() for low in (2000, 8000, 32000)]
        np.testing.assert_allclose(np.diff(np.log2(bands)) / 2, slope, atol=0.1)


def test_short_background_recordings_are_not_heard_as_noise(opened, tmp_path: Path) -> None:
    """A recording of one second is a test clip or nothing: no part of it may be mixed into training."""
    root = add_background(make_words(tmp_path / "words"), seconds=1.5)
    data = opened(root, words=["high", "low"])
    assert any("shorter than 2 s are not used" in note for note in data.card().notes)
    assert data.corpus.background.pack is not data.corpus.pack
    with pytest.raises(UserError, match="of 2 s or more"):
        opened(root, words=["high", "low"], silence=True).card()


def test_other_words_beside_them_do_not_change_a_random_split(opened, tmp_path: Path) -> None:
    root = make_words(tmp_path / "words", words=("high", "low"), takes=2)
    before = opened(root, words=["high", "low"], split="random").card()
    make_words(root, words=("middle",))
    after = opened(root, words=["high", "low"], split="random").card()
    assert before.test_fingerprint == after.test_fingerprint


@pytest.mark.parametrize(("count", "batches"), [(9, [8]), (10, [8, 2]), (16, [8, 8])])
def test_no_training_batch_holds_a_single_clip(count: int, batches: list[int], opened, root: Path) -> None:
    data = opened(root, split="random")
    data.splits["train"][count:] = []
    assert [len(b.indices) for b in data.train_dataloader()] == batches
