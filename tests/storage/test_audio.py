import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import tone
from speechml.errors import UserError
from speechml.storage import audio, layout
from speechml.storage.audio_folders import find_audio


def test_sixteen_bit_wav_comes_back_bit_for_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32767, 1000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    loaded = audio.load(tmp_path / "a.wav")
    assert loaded.dtype == np.int16
    assert np.array_equal(loaded, samples)


@pytest.mark.parametrize("extension", audio.EXTENSIONS)
def test_every_format_is_written_and_read(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    audio.save(path, tone(rate=16000), 16000)
    assert audio.info(path).format == audio.FORMATS[extension]
    loaded = audio.load(path).astype(np.float64)
    loaded /= 32768 if loaded.max() > 2 else 1
    assert len(loaded) == pytest.approx(16000, abs=1200)  # mp3 pads
    assert np.sqrt((loaded**2).mean()) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
    assert list(tmp_path.iterdir()) == [path]


def test_a_minute_of_stereo_is_written_as_ogg(tmp_path: Path) -> None:
    waveform = 0.1 * np.random.default_rng(0).standard_normal((60 * 48000, 2))  # in one call libsndfile crashes on it
    audio.save(tmp_path / "long.ogg", waveform, 48000)
    assert audio.info(tmp_path / "long.ogg").frames == len(waveform)


def test_resampling_keeps_a_tone_and_the_duration(tmp_path: Path) -> None:
    audio.save(tmp_path / "a.wav", tone(1.0, 44100, 1000.0), 44100)
    loaded = audio.load(tmp_path / "a.wav", rate=16000)
    assert len(loaded) == 16000
    np.testing.assert_allclose(loaded[2000:-2000], tone(1.0, 16000, 1000.0)[2000:-2000], atol=2e-3)


def test_stereo_is_averaged_or_refused(tmp_path: Path) -> None:
    left, right = tone(hz=300), tone(hz=500)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)
    with pytest.raises(UserError, match=r"a\.wav has 2 channels"):
        audio.load(tmp_path / "a.wav", stereo="refuse")


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> (file, words that its refusal must hold)."""
    good = folder / "good.wav"
    audio.save(good, tone(), 16000)
    content = good.read_bytes()
    files = {
        "absent": (None, "does not exist"),
        "no_bytes": (b"", "is empty"),
        "no_audio": (b"these are words, not sound" * 10, "cannot be read as audio"),
        "cut_short": (content[: len(content) // 2], "is cut short"),
        "cut_in_header": (content[:30], "cannot be read|is cut short"),
        "no_samples": (content[:40] + struct.pack("<I", 0), "holds no samples"),
    }
    for name, (data, _) in files.items():
        if data is not None:
            (folder / f"{name}.wav").write_bytes(data)
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan, 0.2], np.float32), 16000, subtype="FLOAT")
    soundfile.write(folder / "inf.wav", np.array([0.1, np.inf, 0.2], np.float32), 16000, subtype="FLOAT")
    found = {name: (folder / f"{name}.wav", words) for name, (_, words) in files.items()}
    return found | {name: (folder / f"{name}.wav", "NaN or infinite") for name in ("nan", "inf")}


@pytest.mark.parametrize(
    "case", ["absent", "no_bytes", "no_audio", "cut_short", "cut_in_header", "no_samples", "nan", "inf"]
)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path: Path, case: str) -> None:
    path, words = bad_files(tmp_path)[case]
    with pytest.raises(UserError, match=words) as refused:
        audio.load(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 32043))
def test_a_wav_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    audio.save(folder / "whole.wav", tone(), 16000)
    (folder / "part.wav").write_bytes((folder / "whole.wav").read_bytes()[:cut])
    with pytest.raises(UserError):
        audio.load(folder / "part.wav")


def test_a_flac_cut_short_is_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0).standard_normal(64000) * 0.1
    audio.save(tmp_path / "whole.flac", random, 16000)
    (tmp_path / "part.flac").write_bytes((tmp_path / "whole.flac").read_bytes()[:40000])
    with pytest.raises(UserError, match=r"part\.flac"):
        audio.load(tmp_path / "part.flac")


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no audio files"):
        find_audio(tmp_path / "empty")
    with pytest.raises(UserError, match="does not exist"):
        find_audio(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        find_audio(tmp_path / "file")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        audio.save(tmp_path / "a.mp3", tone(), 12345)  # no rate of mp3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -2e6, 3e38])
@pytest.mark.parametrize("place", [0, 70_000])
def test_samples_of_which_nothing_can_be_computed_are_refused(value: float, place: int, tmp_path: Path) -> None:
    samples = np.zeros(80_000, np.float32)
    samples[place] = value
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    for read in (audio.load, lambda path: list(audio.read_blocks(path, 1000))):
        with pytest.raises(UserError, match=r"a\.wav holds (NaN or infinite samples|a sample of)"):
            read(tmp_path / "a.wav")


def test_floats_on_the_scale_of_16_bits_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(100, 32767, np.float32), 16000, subtype="FLOAT")
    assert audio.load(tmp_path / "a.wav").max() == 32767


@pytest.mark.parametrize("name", [b"M\xfcller.wav", "Müller.wav".encode(), "Mu\u0308ller.flac".encode(), b"a: b.wav"])
def test_a_name_may_be_of_any_bytes(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    audio.save(path, tone(), 16000)
    assert len(audio.load(path)) == audio.info(path).frames == 16000


@pytest.mark.parametrize("seconds", [0.5, 5.0, 70.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_recording_resampled_in_blocks_is_what_the_whole_gives(tmp_path: Path, seconds: float, channels: int) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * 44100), channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 44100, subtype="FLOAT")
    whole = soxr.resample(wave.mean(axis=1, dtype=np.float32), 44100, 16000)
    assert np.array_equal(audio.load(tmp_path / "a.wav", 16000), whole)
    first = audio.load(tmp_path / "a.wav", 16000, longest_s=0.25)
    assert len(first) == 4000


@pytest.mark.parametrize("frames", [1, 999, 1000, 65536, 65537, 200_000])
def test_blocks_are_of_the_length_asked_for_and_join_to_the_whole(tmp_path: Path, frames: int) -> None:
    count = 150_000 if frames > 999 else 5000
    samples = np.random.default_rng(0).integers(-32768, 32767, count).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", samples, 16000)
    blocks, lasts = zip(*audio.read_blocks(tmp_path / "a.flac", frames), strict=True)
    assert [len(block) for block in blocks[:-1]] == [frames] * (len(blocks) - 1)
    assert lasts == (False,) * (len(blocks) - 1) + (True,)
    assert np.array_equal(np.concatenate(blocks)[:, 0] * 32768, samples)


@pytest.mark.parametrize("other", [-1.0, -0.95, -1.05])
@pytest.mark.parametrize("kind", [".wav", ".flac"])
def test_channels_that_cancel_one_another_are_refused(kind: str, other: float, tmp_path: Path) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(4000)
    audio.save(tmp_path / f"a{kind}", np.stack([wave, other * wave], 1), 16000)
    with pytest.raises(UserError, match=r"its 2 channels cancel one another"):
        audio.load(tmp_path / f"a{kind}")


@pytest.mark.parametrize("case", ["equal", "apart", "one silent", "silent", "faint", "16 channels, one speaks"])
def test_channels_that_leave_something_are_mixed(case: str, tmp_path: Path) -> None:
    waves = 0.1 * np.random.default_rng(0).standard_normal((4000, 2))
    waves = {
        "equal": waves[:, [0, 0]], "apart": waves, "one silent": waves * [1, 0], "silent": 0 * waves,
        "faint": np.round(waves * 3) / 32768 * [1, -1], "16 channels, one speaks": waves[:, :1] * np.eye(16)[:1],
    }[case]  # fmt: skip
    audio.save(tmp_path / "a.wav", waves, 16000)
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav"), waves.mean(1), atol=4e-5)


def test_a_file_is_examined_once_and_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, examined = layout.read_layout, list[Path]()

    def read_layout(path: Path) -> layout.Layout:
        examined.append(path)
        return read(path)

    monkeypatch.setattr(layout, "read_layout", read_layout)
    path = tmp_path / "a.mp3"
    for seconds in (1.0, 2.0):
        audio.save(path, tone(seconds), 16000)
        assert audio.info(path).frames == len(audio.load(path)) == pytest.approx(seconds * 16000, abs=2400)
        assert sum(len(block) for block, _ in audio.read_blocks(path, 1000)) == audio.info(path).frames
    assert examined == [path] * 2
