"""Folders of words: who belongs to which split, what is done to a clip, and what is refused."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import SHARED, make_words, needs_shared, tone
from speechml.data.word_folders import CUT, decode, find_words, read_words, split_by_hash
from speechml.data.word_lists import official_splits
from speechml.errors import UserError
from speechml.storage import audio

SPEECH_COMMANDS = SHARED / "speech-commands"

CHANGED = "at another rate than 16000 Hz or of several channels: resampled or mixed down"


@needs_shared
def test_the_hash_of_the_speaker_gives_the_official_lists() -> None:
    """The lists that came with v0.01 are the independent truth: 13,633 clips."""
    for split, name in (("test", "testing"), ("val", "validation")):
        listed = (SPEECH_COMMANDS / f"official_v0.01_{name}_list.txt").read_text().split()
        assert len(listed) > 6000
        assert {split_by_hash(file) for file in listed} == {split}


@pytest.mark.parametrize(
    ("rate", "channels", "seconds", "done"),
    [
        (16000, 1, 1.0, ""), (16000, 1, 0.6, ""), (16000, 1, 2.5, CUT), (8000, 1, 1.0, CHANGED), (16000, 2, 1.0, CHANGED),
        (44100, 2, 3.0, CHANGED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_any_clip_becomes_at_most_a_second_at_the_rate(
    rate: int, channels: int, seconds: float, done: str, kind: str, tmp_path: Path
) -> None:
    wave = np.repeat(tone(seconds, rate)[:, None], channels, axis=1)
    path = tmp_path / f"clip.{kind}"
    soundfile.write(path, wave, rate, subtype="PCM_16")
    samples, what = decode(path, 16000, "mix")
    assert what == done
    assert len(samples) == round(min(seconds, 1.0) * 16000)
    expected = audio.load(path, 16000)[: len(samples)]
    scale = 32768 if samples.dtype == np.int16 else 1
    close = np.abs(samples / scale - expected / (32768 if expected.dtype == np.int16 else 1))
    assert close[:-200].max() < 1e-4  # a resampler hears the end of what it is given


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (b"RIFF____WAVEjunk", "cannot be read as audio"), (b"hello", "cannot be read as audio")],
)
def test_a_clip_that_is_none_is_refused_in_a_sentence(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(content)
    with pytest.raises(UserError, match=says):
        decode(tmp_path / "bad.wav", 16000, "mix")


def test_a_clip_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.9), 16000)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut short"):
        decode(tmp_path / "a.wav", 16000, "mix")


def test_a_folder_is_found_where_torchaudio_puts_it(tmp_path: Path) -> None:
    make_words(tmp_path / "SpeechCommands" / "speech_commands_v0.02", speakers=2)
    place, clips, *_ = find_words(tmp_path)
    assert place == tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    assert len(clips.names) == 6


@pytest.mark.parametrize("what", ["missing", "file", "empty", "flat"])
def test_a_folder_without_word_folders_is_refused(what: str, tmp_path: Path) -> None:
    root = tmp_path / "words"
    if what == "file":
        root.write_text("")
    elif what != "missing":
        root.mkdir()
    if what == "flat":
        soundfile.write(root / "0_anna_0.wav", tone(), 16000)
    with pytest.raises(UserError, match=r"is no folder|holds no word folders"):
        find_words(root)


def test_a_list_that_names_a_missing_clip_is_refused(tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=3)
    (root / "testing_list.txt").write_text("high/00000000_nohash_0.wav\nlow/ffffffff_nohash_0.wav\n")
    (root / "validation_list.txt").write_text("high/00000001_nohash_0.wav\n")
    names = find_words(root)[1].names
    with pytest.raises(UserError, match=r"testing_list.txt names low/ffffffff_nohash_0.wav, which is not there"):
        official_splits(root, names, {"high", "low", "middle"})
    splits, _ = official_splits(root, names, {"high", "middle"})  # lists of the whole data set serve some of its words
    assert splits[:3] == ["test", "val", "train"]


def test_one_list_without_the_other_or_a_clip_in_both_is_refused(tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=3)
    names = find_words(root)[1].names
    (root / "testing_list.txt").write_text("high/00000000_nohash_0.wav\n")
    with pytest.raises(UserError, match="give both, or none"):
        official_splits(root, names, {"high"})
    (root / "validation_list.txt").write_text("high/00000000_nohash_0.wav\n")
    with pytest.raises(
        UserError, match=r"high/00000000_nohash_0.wav is in testing_list.txt and in validation_list.txt"
    ):
        official_splits(root, names, {"high"})


def test_a_link_to_nowhere_is_refused_by_its_path(tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=2)
    (root / "low" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    with pytest.raises(UserError, match=r"low/gone.wav is a link to .*nowhere.wav, which is not there"):
        find_words(root)


def test_a_name_that_is_no_text_has_a_split() -> None:
    assert split_by_hash("low/\udcff_nohash_0.wav") in ("train", "val", "test")


def wav_of(seconds: float, size: int | None = None, chunk: bytes = b"") -> bytes:
    """A 16-bit wav of a tone whose header gives another size of its samples, or with another chunk before them."""
    samples = (tone(seconds) * 32767).astype("<i2").tobytes()
    body = b"WAVEfmt \x10\0\0\0\1\0\1\0" + struct.pack("<IIHH", 16000, 32000, 2, 16) + chunk
    body += b"data" + struct.pack("<I", len(samples) if size is None else size) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize(("seconds", "done"), [(0.6, ""), (1.0, ""), (1.5, CUT)])
def test_a_clip_whose_size_was_never_filled_in_is_read(size: int, seconds: float, done: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_of(seconds, size))
    samples, what = decode(tmp_path / "a.wav", 16000, "mix")
    assert np.array_equal(samples, (tone(seconds) * 32767).astype(np.int16)[:16000])
    assert what == done


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (wav_of(0.9, chunk=b"junk\3\0\0\0abc"), "cannot be read as audio"),  # which no zero follows
        (wav_of(2.0)[:40000], r"is cut short or damaged \(\d+ bytes of samples are missing\)"),
        (wav_of(1.0)[:-1], r"is cut short or damaged \(1 bytes of samples are missing\)"),
        (wav_of(1.0, 16000), r"is cut short or damaged \(16000 bytes follow that its header does not tell of"),
    ],
)
def test_a_bad_clip_is_named_as_any_recording_is(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "yes" / "a.wav"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as refused:
        list(read_words(tmp_path, ["yes/a.wav"], [], 16000, "mix"))
    with pytest.raises(UserError) as of_pairs:
        audio.load(path, 16000)
    assert str(refused.value) == str(of_pairs.value)
    assert str(refused.value).startswith(str(path))
