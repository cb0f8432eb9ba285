"""Folders of music: layouts, the rows of a song, files that cannot be read, and what is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import tone
from speechml.errors import UserError
from speechml.music import recordings as music
from speechml.music.feature_files import read_music
from speechml.music.features import music_features
from speechml.music.recordings import Music, extract, find_songs

RATE = 16000


def song(path: Path, seconds: float = 2.0, channels: int = 1, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Write noise under a tone and return it as the file holds it (time, channel)."""
    noise = 0.05 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise + tone(seconds, rate, 300.0 + 50 * seed)[:, None], rate)
    return soundfile.read(path, always_2d=True)[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three songs of the exercise's layout, the first in stereo."""
    song(tmp_path / "music" / "a_0.wav", channels=2)
    song(tmp_path / "music" / "deeper" / "b_1.flac", 1.7, seed=1)
    song(tmp_path / "music" / "c_2.ogg", rate=44100, seed=2)
    return tmp_path / "music"


def read(root: Path) -> Music:
    return extract(root, root.parent / "cache")


def test_names_that_end_in_a_number_tell_the_genre(root: Path) -> None:
    songs, genres, _ = find_songs(root)
    assert genres == ["metal", "EDM", "classical"]
    assert list(songs.items()) == [("a_0.wav", "metal"), ("c_2.ogg", "classical"), ("deeper/b_1.flac", "EDM")]
    song(root / "d_3.wav")
    assert find_songs(root)[1] == ["0", "1", "2", "3"]  # more than the exercise has


@pytest.mark.parametrize("tracks", [["x_1", "y_2"], ["x_01", "y_02"], ["x_3", "y"], [f"x_{10**18}", "y_0"]])
def test_numbers_that_count_the_tracks_of_a_folder_are_no_genres(tracks: list[str], tmp_path: Path) -> None:
    for folder in ("rock", "jazz"):
        for name in tracks:
            song(tmp_path / folder / f"{name}.wav", 0.1)
    assert find_songs(tmp_path)[1] == ["jazz", "rock"]


def test_folders_are_genres_where_no_name_ends_in_a_number(tmp_path: Path) -> None:
    for name in ("rock/x.wav", "rock/live/y.wav", "jazz/z.wav", "jazz/.hidden.wav", ".trash/old.wav"):
        song(tmp_path / name, 0.1)
    songs, genres, _ = find_songs(tmp_path)
    assert genres == ["jazz", "rock"]
    assert list(songs.items()) == [("jazz/z.wav", "jazz"), ("rock/live/y.wav", "rock"), ("rock/x.wav", "rock")]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "holds no audio files"),
        (["rock/x.wav"], "holds only the genre rock; give two"),
        (["x_0.wav"], "holds only the genre metal; give two"),
        (["x_0.wav", "y_2.wav"], "has files of genre 2 and none of genre 1"),
        (["x_0.wav", f"take_{10**18}.wav"], f"has files of genre {10**18} and none of genre 1"),
        (["x_0.wav", "y_1.wav", "rock/z.wav"], "rock/z.wav does not say its genre"),
        (["rock/x.wav", "jazz/y.wav", "z.wav"], "z.wav does not say its genre"),
        ([".trash/a_0.wav"], "holds no audio files"),
    ],
)
def test_a_folder_that_is_laid_out_otherwise_is_refused_in_a_sentence(
    names: list[str], says: str, tmp_path: Path
) -> None:
    for name in names:
        song(tmp_path / name, 0.1)
    with pytest.raises(UserError, match=says) as error:
        find_songs(tmp_path)
    assert "\n" not in str(error.value)


def test_rows_run_song_by_song_channel_by_channel_in_time(root: Path) -> None:
    rows = read(root)
    assert rows.songs == ["a_0.wav", "c_2.ogg", "deeper/b_1.flac"]
    assert rows.song.tolist() == [0] * 8 + [1] * 4 + [2] * 3  # the rest of 0.2 s is dropped
    assert rows.label.tolist() == [0] * 8 + [2] * 4 + [1] * 3
    assert rows.channel.tolist() == [0] * 4 + [1] * 4 + [0] * 7
    assert rows.block.tolist() == [0, 1, 2, 3] * 3 + [0, 1, 2]  # of one moment, both channels have one number
    assert [a.dtype for a in rows[:5]] == [np.float64] + [np.int64] * 4
    assert rows.notes == []


def test_each_row_holds_the_features_of_its_block(root: Path) -> None:
    rows = read(root)
    for number, name in enumerate(rows.songs):
        samples, rate = soundfile.read(root / name, dtype="float32", always_2d=True)
        for row in np.flatnonzero(rows.song == number):
            begin = rows.block[row] * rate // 2
            block = torch.from_numpy(samples[begin : begin + rate // 2, rows.channel[row]].copy())[None]
            np.testing.assert_allclose(rows.features[row], music_features(block, rate)[0].numpy(), rtol=1e-6)


def test_long_files_give_the_same_rows_in_small_chunks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = music.read_rows(root / "a_0.wav")
    monkeypatch.setattr(music, "CHUNK", 1)
    for a, b in zip(whole[:3], music.read_rows(root / "a_0.wav")[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_blocks_are_left_out_where_their_own_channel_is_silent(root: Path) -> None:
    samples = soundfile.read(root / "a_0.wav")[0]
    samples[:8000, 0] = 0
    samples[16000:24000] = 0.00009  # mean square below (10^-4)^2
    soundfile.write(root / "a_0.wav", samples, RATE, subtype="FLOAT")
    rows = read(root)
    first = rows.song == 0
    assert list(zip(rows.channel[first].tolist(), rows.block[first].tolist(), strict=True)) == [
        (0, 1), (0, 3), (1, 0), (1, 1), (1, 3)
    ]  # fmt: skip


def bad_files(root: Path) -> dict[str, str]:
    """Files that cannot be read, by name, and what is said of them."""
    song(root / "cut_0.wav")
    whole = (root / "cut_0.wav").read_bytes()
    (root / "cut_0.wav").write_bytes(whole[: len(whole) // 2])
    (root / "empty_1.mp3").write_bytes(b"")
    (root / "junk_2.mp3").write_bytes(b"this is no music " * 100)
    soundfile.write(root / "nan_0.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(root / "slow_1.wav", tone(1.0, 2000), 2000)
    return {
        "cut_0.wav": "is cut short", "empty_1.mp3": "is empty", "junk_2.mp3": "cannot be read as audio",
        "nan_0.wav": "holds NaN", "slow_1.wav": "has a sample rate of 2000 Hz",
    }  # fmt: skip


def test_files_that_cannot_be_read_are_left_out_named_and_counted(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = read(root)
    said = bad_files(root)
    after = read(root)
    np.testing.assert_array_equal(after.features, before.features)
    (note,) = after.notes
    assert note.startswith("5 of 8 files could not be read and are left out: cut_0.wav (is cut short")
    assert all(f"{name} ({what}" in note for name, what in said.items())
    assert note in capfd.readouterr().err


def test_music_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    for name in ("a_0.wav", "b_1.wav"):
        (tmp_path / "music" / name).write_bytes(b"junk")
    with pytest.raises(UserError, match=r"no music that can be heard \(2 of 2 files .*a_0.wav \(cannot be read as"):
        read(tmp_path / "music")
    assert not list((tmp_path / "cache" / "features").glob("[!.]*"))


@pytest.mark.parametrize("what", ["silent", "short", "junk"])
def test_a_genre_without_rows_is_refused_by_its_name(what: str, root: Path) -> None:
    file = root / "deeper" / "b_1.flac"
    if what == "junk":
        file.write_bytes(b"junk")
    else:
        soundfile.write(file, np.zeros(RATE) if what == "silent" else tone(0.49), RATE)
    for _ in range(2):  # the second time from the cache
        with pytest.raises(UserError, match="holds no rows of EDM") as error:
            read_music(root, root.parent / "cache")
        assert ("b_1.flac (cannot be read as audio" in str(error.value)) == (what == "junk")


def test_an_mp3_that_is_cut_gives_what_decodes(root: Path) -> None:
    song(root / "d_0.mp3", 20.0, rate=44100)
    whole = (root / "d_0.mp3").read_bytes()
    (root / "d_0.mp3").write_bytes(whole[: len(whole) // 2])
    rows = read(root)
    assert 16 <= np.count_nonzero(rows.song == rows.songs.index("d_0.mp3")) <= 22  # a half of 40 blocks
    (note,) = rows.notes
    assert note.startswith("1 of 4 files could be decoded only in part: d_0.mp3 (")
    assert note.endswith((" of 20.0 s decode)", " of 20.1 s decode)"))  # whole frames


def test_rows_are_computed_once_and_anew_when_a_file_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad_files(root)
    first = read(root)
    computed: list[int] = []
    read_all_rows = music.read_all_rows

    def counted(paths: list[Path]) -> list[music.Rows]:
        computed.append(len(paths))
        return read_all_rows(paths)

    monkeypatch.setattr(music, "read_all_rows", counted)
    again = read(root)
    assert computed == []
    assert again[5:] == first[5:]
    for a, b in zip(first[:5], again[:5], strict=True):
        np.testing.assert_array_equal(a, b)
    os.utime(root / "a_0.wav", ns=(1, 1))
    read(root)
    assert computed == [8]


def test_a_damaged_cache_is_built_anew(root: Path) -> None:
    first = read(root)
    (file,) = (root.parent / "cache" / "features").glob("*/music.npz")
    whole = bytearray(file.read_bytes())
    for damaged in (b"", whole[: len(whole) // 2], bytes(len(whole))):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(read(root).features, first.features)
