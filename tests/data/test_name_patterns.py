"""Names that are all alike say who speaks, and which word; others say nothing, and the note says how they were read."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from conftest import SHARED, make_pairs, mixed_folders, needs_shared, tone
from speechml.data import MixedPairs, SpeechCommands, WavPairs
from speechml.data.base import BaseDataModule
from speechml.data.name_patterns import NOBODY, read_speakers, read_words_and_speakers
from speechml.errors import UserError
from speechml.report.audit import audit_data

PEOPLE = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True).filter(
    lambda name: name not in NOBODY and name != "s5"  # VCTK's
)
WORDS = st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True)


@given(
    words=st.lists(WORDS, min_size=2, max_size=5, unique=True), people=st.lists(PEOPLE, min_size=2, max_size=5, unique=True),
    takes=st.integers(1, 3), folder=st.sampled_from(["", "recordings/", "a/b/"]), ending=st.sampled_from([".wav", ".flac"]),
)  # fmt: skip
def test_words_and_speakers_are_those_that_names_were_made_of(
    words: list[str], people: list[str], takes: int, folder: str, ending: str
) -> None:
    truth = list(product(words, people, range(takes)))
    parts = read_words_and_speakers([f"{folder}{word}_{who}_{take}{ending}" for word, who, take in truth])
    assert parts is not None
    assert parts.words == [word for word, _, _ in truth]
    assert parts.speakers == [who for _, who, _ in truth]
    assert f"{len(words)} words, {len(people)} speakers" in parts.note


@given(
    people=st.lists(PEOPLE, min_size=2, max_size=5, unique=True), takes=st.integers(2, 4),
    folder=st.sampled_from(["", "x/", "a/b/"]),
    odd=st.sampled_from(["x.wav", "george.wav", "george-1.wav", "a_b_1.wav", "1_1.wav"]),
)  # fmt: skip
def test_speakers_are_those_that_names_were_made_of_and_one_other_name_ends_it(
    people: list[str], takes: int, folder: str, odd: str
) -> None:
    truth = list(product(people, range(takes)))
    names = [f"{folder}{who}_{take}.wav" for who, take in truth]
    parts = read_speakers(names)
    assert parts is not None
    assert parts.speakers == [who for who, _ in truth]
    assert f"{len(people)} speakers" in parts.note
    assert read_speakers([*names, odd]) is None
    assert read_speakers(names[:takes]) is None  # one name only


@pytest.mark.parametrize(
    "names",
    [
        [], ["clip_1.wav", "clip_12.wav"], ["noise_1.wav", "noise_2.wav", "p_1.wav", "p_2.wav"],
        ["p232_001.wav", "p232_002.wav", "p257_001.wav", "p257_002.wav"],  # VoiceBank's, known anyway
        ["test_x_01.wav", "test_x_02.wav"], ["001_1.wav", "001_2.wav", "002_1.wav", "002_2.wav"],
        ["train_1.wav", "train_2.wav", "test_1.wav", "test_2.wav"], ["anna_1.wav", "bert_1.wav"],
        ["Clean_1.wav", "Clean_2.wav", "other_1.wav", "other_2.wav"],
    ],
)  # fmt: skip
def test_names_that_may_be_of_nobody_make_no_speakers(names: list[str]) -> None:
    assert read_speakers(names) is None


def test_a_name_that_goes_with_its_word_is_no_speaker() -> None:
    names, words = ["yes/yes_1.wav", "yes/yes_2.wav", "no/no_1.wav", "no/no_2.wav"], ["yes", "yes", "no", "no"]
    assert read_speakers(names, words) is None
    names = [f"{word}/{who}_{take}.wav" for word, who, take in product(("yes", "no"), ("ann", "bo"), (0, 1))]
    parts = read_speakers(names, [name.partition("/")[0] for name in names])
    assert parts is not None
    assert parts.speakers == ["ann", "ann", "bo", "bo"] * 2


@pytest.mark.parametrize(
    "names",
    [
        ["test_x_01.wav", "train_x_01.wav"], ["noise_ann_1.wav", "noise_bo_1.wav"],  # one speaker, one word
        ["yes_ann_1.wav", "no_bo_1.wav"],  # the second may say as much as the first
        ["train_dirty_1.wav", "train_clean_1.wav", "test_dirty_1.wav", "test_clean_1.wav"],
        ["1_2_3.wav", "1_4_3.wav", "2_2_3.wav", "2_4_3.wav"],  # which of them speaks?
        ["a/yes_ann_1.wav", "a/yes_bo_1.wav", "b/no_ann_1.wav", "b/no_bo_1.wav"],  # folders may be the words
        ["yes_ann_1.wav", "yes_bo_1.wav", "no_ann_1.wav", "no_bo_x.wav"], ["yes_0a7c2a8d_nohash_0.wav"],
    ],
)  # fmt: skip
def test_names_that_may_be_read_otherwise_are_not_read(names: list[str]) -> None:
    assert read_words_and_speakers(names) is None


def parts_of(data: BaseDataModule[Any]) -> list[set[str | None]]:
    return [{data.corpus.speakers[i] for i in data.splits[split]} for split in ("train", "val", "test")]


def assert_nobody_twice(data: BaseDataModule[Any], people: int, note: str) -> None:
    parts = parts_of(data)
    assert all(parts)
    assert len(set().union(*parts)) == sum(map(len, parts)) == people
    card = data.card()
    assert card.protocol == "speaker"
    assert any(note in one for one in card.notes)
    assert audit_data(data).findings[0].state == "passes"


def spoken(root: Path, layout: str, people: int) -> Path:
    """Clips of two words, four takes a person."""
    for word, who, take in product(("high", "low"), "abcdefgh"[:people], range(4)):
        path = root / layout.format(word=word, who=who * 3, take=take)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(0.4, hz=300.0 + 900 * (word == "high") + 7 * take + 31 * ord(who)), 16000)
    return root


@pytest.mark.parametrize("people", [3, 5, 8])
@pytest.mark.parametrize(
    "layout", ["{word}_{who}_{take}.wav", "recordings/{word}_{who}_{take}.wav", "{word}/{who}_{take}.wav"]
)
@pytest.mark.parametrize("split", ["official", "speaker"])
def test_clips_of_few_speakers_are_divided_by_them(split: str, layout: str, people: int, tmp_path: Path) -> None:
    root = spoken(tmp_path / "words", layout, people)
    data = SpeechCommands(root=str(root), cache=str(tmp_path / "cache"), batch_size=8, split=split)
    assert data.classes == ["high", "low"]
    assert_nobody_twice(data, people, "names read as ")
    train, *scored = map(len, parts_of(data))
    assert train == {3: 1, 5: 3, 8: 5}[people] >= max(scored)
    again = SpeechCommands(root=str(root), cache=str(tmp_path / "cache"), batch_size=8, split=split, split_seed=1)
    assert again.card().fingerprint != data.card().fingerprint


def test_two_speakers_are_known_though_they_cannot_be_three_splits(tmp_path: Path) -> None:
    root = spoken(tmp_path / "words", "{word}/{who}_{take}.wav", 2)
    for more in range(4, 20):
        for word, who in product(("high", "low"), ("aaa", "bbb")):
            soundfile.write(root / word / f"{who}_{more}.wav", tone(0.4, hz=300.0 + more), 16000)
    data = SpeechCommands(root=str(root), cache=str(tmp_path / "cache"), batch_size=8)
    card = data.card()
    assert card.protocol == "file"
    assert any("there are 2 speakers: a speaker may be in several splits" in note for note in card.notes)
    assert set(data.corpus.speakers) == {"aaa", "bbb"}
    assert audit_data(data).findings[0].state == "flagged"


def test_a_speakers_pattern_of_which_the_hash_leaves_a_split_empty_divides_evenly(tmp_path: Path) -> None:
    root = spoken(tmp_path / "words", "{word}/x-{who}-{take}.wav", 3)
    data = SpeechCommands(root=str(root), cache=str(tmp_path / "cache"), batch_size=8, speaker="x-([a-z]+)-")
    assert list(map(len, parts_of(data))) == [1, 1, 1]
    assert data.card().protocol == "speaker"


def name_pairs(root: Path, names: list[str]) -> str:
    make_pairs(root, len(names))
    for side, (i, name) in product(("noisy", "clean"), enumerate(names)):
        (root / side / f"item{i}.wav").rename(root / side / f"{name}.wav")
    return str(root)


def test_pairs_and_mixtures_named_by_speaker_are_divided_by_speaker(tmp_path: Path, common: dict[str, Any]) -> None:
    root = name_pairs(tmp_path / "pairs", [f"{who}_{take}" for who in ("ann", "bo", "cy", "di") for take in range(3)])
    assert_nobody_twice(WavPairs(root=root, **common), 4, "names read as speaker_number: 4 speakers")
    folders = mixed_folders(tmp_path / "mixed", speakers=4)
    for path in sorted((tmp_path / "mixed" / "clean").rglob("*.wav")):
        path.rename(tmp_path / "mixed" / "clean" / f"{path.parent.name}_{path.name}")
    for path in (tmp_path / "mixed" / "clean").iterdir():
        if path.is_dir():
            path.rmdir()
    assert_nobody_twice(MixedPairs(**folders, **common), 4, "names read as speaker_number: 4 speakers")


def test_speaker_none_divides_pairs_as_if_names_were_only_numbered(tmp_path: Path, common: dict[str, Any]) -> None:
    names = [f"{who}_{take}" for who in ("ann", "bo", "cy", "di") for take in range(3)]
    data = WavPairs(root=name_pairs(tmp_path, names), speaker="none", **common)
    numbered = WavPairs(root=name_pairs(tmp_path / "numbered", [f"clip_{i:02}" for i in range(12)]), **common)
    assert data.splits == numbered.splits
    assert data.card().protocol == "random"
    assert set(data.corpus.speakers) == {None}
    assert not any("speaker" in note for note in data.card().notes)


def test_speaker_none_leaves_the_folders_of_clean_speech_and_the_names_of_corpora(
    tmp_path: Path, common: dict[str, Any]
) -> None:
    folders = mixed_folders(tmp_path / "mixed", speakers=4)
    plain, asked = MixedPairs(**folders, **common), MixedPairs(**folders, speaker="none", **common)
    assert asked.card() == plain.card()
    flat = tmp_path / "mixed" / "clean"
    for path in sorted(flat.rglob("*.wav")):
        path.rename(flat / f"{path.parent.name}_{path.name}")
    for path in flat.iterdir():
        if path.is_dir():
            path.rmdir()
    assert MixedPairs(**folders, speaker="none", **common).card().protocol == "random"  # one folder, so one speaker
    root = name_pairs(tmp_path / "pairs", [f"p{who}_{take:03}" for who in (225, 226) for take in range(3)])
    assert set(WavPairs(root=root, speaker="none", **common).corpus.speakers) == {"p225", "p226"}


@pytest.mark.parametrize("layout", ["{word}_{who}_{take}.wav", "{word}/{who}_{take}.wav"])
def test_speaker_none_divides_words_by_file_and_still_reads_the_words(layout: str, tmp_path: Path) -> None:
    root = spoken(tmp_path / "words", layout, 5)
    for take in range(4, 30):  # so that the hash of names leaves no split empty
        for word in ("high", "low"):
            soundfile.write(root / layout.format(word=word, who="aaa", take=take), tone(0.4, hz=300.0 + take), 16000)
    keys = {"root": str(root), "cache": str(tmp_path / "cache"), "batch_size": 8, "speaker": "none"}
    data = SpeechCommands(**keys)
    assert data.classes == ["high", "low"]
    assert data.card().protocol == "file"
    assert set(data.corpus.speakers) == {None}
    assert not any("read as" in note for note in data.card().notes)
    with pytest.raises(UserError, match=r"names carry no speaker.*data\.speaker=PATTERN"):
        SpeechCommands(**keys, split="speaker").corpus  # noqa: B018 (read on first use)


def test_the_note_says_how_to_keep_names_out_of_it() -> None:
    pairs = [f"{who}_{take}.wav" for who, take in product(("ann", "bo"), (0, 1))]
    words = [f"{word}_{name}" for word, name in product(("yes", "no"), pairs)]
    for parts in (read_speakers(pairs), read_words_and_speakers(words)):
        assert parts is not None
        assert parts.note.endswith("data.speaker=none to read no speakers")


def test_pairs_that_are_only_numbered_are_divided_by_file_as_ever(tmp_path: Path, common: dict[str, Any]) -> None:
    card = WavPairs(root=name_pairs(tmp_path, [f"clip_{i}" for i in range(12)]), **common).card()
    assert card.protocol == "random"
    assert not any("names read" in note for note in card.notes)


@needs_shared
def test_spoken_digits_need_no_key(tmp_path: Path) -> None:
    data = SpeechCommands(root=str(SHARED / "free-spoken-digit-dataset"), cache=str(tmp_path), sample_rate=8000)
    assert_nobody_twice(data, 5, "names read as word_speaker_number: 10 words, 5 speakers")
    assert {split: len(items) for split, items in data.splits.items()} == {"train": 750, "val": 250, "test": 250}
    assert data.classes == [str(digit) for digit in range(10)]


@pytest.mark.parametrize("names", [("cafe", "street"), ("noises", "bus"), ("chapter", "intro"), ("clips", "songs")])
def test_scenes_and_parts_of_a_recording_are_nobody(names: tuple[str, str]) -> None:
    assert read_speakers([f"{name}_{number}.wav" for name in names for number in range(4)]) is None
