"""Files whose headers do not say how long they are, or say it wrongly: all of the sound is read, or the file is refused."""

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import SHARED, needs_shared, tone
from speechml.errors import UserError
from speechml.storage import audio
from speechml.storage.audio import CutShort

SAMPLES = np.random.default_rng(0).integers(-20000, 20000, 24037).astype(np.int16)
LIES = (0, 0x7FFFF000, 0x7FFFFFDB, 0x7FFFFFFF, 0x80000000, 0x80000024, 0xFFFFFF00, 0xFFFFFFDB, 0xFFFFFFFF)
LONG_LIES = (0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def encoded(
    kind: str, subtype: str = "PCM_16", samples: np.ndarray = SAMPLES, rate: int = 16000, **how: object
) -> bytes:
    """A file as libsndfile writes it."""
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(buffer, "w", rate, channels, subtype, format=kind, **how) as file:  # type: ignore[arg-type]
        file.write(samples / 32768 if subtype == "FLOAT" else samples)
    return buffer.getvalue()


def put(content: bytes, at: int, value: int, form: str) -> bytes:
    """The content with a number in another place."""
    return content[:at] + struct.pack(form, value) + content[at + struct.calcsize(form) :]


def as_int16(path: Path) -> np.ndarray:
    """What is loaded, as the 16-bit samples that it was made of."""
    loaded = audio.load(path)
    return loaded if loaded.dtype == np.int16 else np.round(loaded * 32768).astype(np.int16)


UNFILLED = {
    **{f"wav-{subtype}-{size:x}": lambda size=size, subtype=subtype: put(
        whole := encoded("WAV", subtype), whole.index(b"data") + 4, size, "<I")
       for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT") for size in LIES},
    **{f"wavex-{size:x}": lambda size=size: put(whole := encoded("WAVEX"), whole.index(b"data") + 4, size, "<I")
       for size in LIES},
    **{f"both-{size:x}": lambda size=size: put(put(whole := encoded("WAV"), 4, size, "<I"), whole.index(b"data") + 4, size, "<I")
       for size in LIES},
    **{f"aiff-{size:x}": lambda size=size: put(whole := encoded("AIFF"), whole.index(b"SSND") + 4, size, ">I")
       for size in LIES},
    **{f"au-{size:x}": lambda size=size: put(encoded("AU"), 8, size, ">I") for size in LIES},
    **{f"rf64-{size:x}": lambda size=size: put(encoded("RF64"), 28, size, "<Q") for size in LONG_LIES},
    **{f"w64-{size:x}": lambda size=size: put(whole := encoded("W64"), whole.index(b"data") + 16, size, "<Q")
       for size in LONG_LIES},
    **{f"caf-{size:x}": lambda size=size: put(whole := encoded("CAF"), whole.index(b"data") + 4, size, ">Q")
       for size in LONG_LIES[1:]},
}  # fmt: skip


@pytest.mark.parametrize("form", UNFILLED)
def test_a_size_that_was_never_filled_in_is_the_rest_of_the_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(UNFILLED[form]())
    assert np.array_equal(as_int16(path), SAMPLES)
    assert audio.info(path).frames == len(SAMPLES)
    assert sum(len(block) for block, _ in audio.read_blocks(path, 1000)) == len(SAMPLES)


CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")


@pytest.mark.parametrize("kind", [*CONTAINERS, "FLAC", "OGG", "OPUS", "MP3"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_what_is_really_cut_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    whole = encoded(
        *{"OGG": ("OGG", "VORBIS"), "OPUS": ("OGG", "OPUS"), "MP3": ("MP3", "MPEG_LAYER_III")}.get(kind, (kind,))
    )
    path = tmp_path / "a.wav"
    path.write_bytes(whole)
    assert len(audio.load(path)) == len(SAMPLES)
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"a\.wav (is cut short|cannot be (read|decoded))"):
        audio.load(path)
    with pytest.raises(UserError, match=r"a\.wav (is cut short|cannot be (read|decoded))"):
        list(audio.read_blocks(path, 1000))


@pytest.mark.parametrize(
    ("where", "size"), [("before", 7), ("before", 8), ("behind", 7), ("behind", 30000), ("unpadded", 7)]
)
def test_other_chunks_are_no_samples(tmp_path: Path, where: str, size: int) -> None:
    whole = encoded("WAV")
    chunk = b"note" + struct.pack("<I", size) + b"\x7f" * size
    padded = chunk + b"\0" * (size % 2)
    at = whole.index(b"data") if where == "before" else len(whole)
    content = whole[:at] + (chunk if where == "unpadded" else padded) + whole[at:]
    (tmp_path / "a.wav").write_bytes(content)
    assert np.array_equal(audio.load(tmp_path / "a.wav"), SAMPLES)


def test_chunks_behind_the_samples_of_a_w64_are_no_samples(tmp_path: Path) -> None:
    whole = encoded("W64")
    (tmp_path / "a.w64").write_bytes(whole + b"note" + bytes(12) + struct.pack("<Q", 24 + 800) + b"\x7f" * 800)
    assert np.array_equal(audio.load(tmp_path / "a.w64"), SAMPLES)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "RF64"])
def test_samples_that_the_header_does_not_tell_of_are_not_passed_over(tmp_path: Path, kind: str) -> None:
    whole = encoded(kind)
    name, form = (b"SSND", ">I") if kind == "AIFF" else (b"data", "<I")
    at = {"AU": 8, "RF64": 28}.get(kind, whole.find(name) + 4)
    (tmp_path / "a.wav").write_bytes(put(whole, at, 2000, {"AU": ">I", "RF64": "<Q"}.get(kind, form)))
    with pytest.raises(UserError, match=r"4\d{4} bytes follow that its header does not tell of"):
        audio.load(tmp_path / "a.wav")


def flac_of(total: int) -> bytes:
    """A flac whose header gives another length."""
    whole = encoded("FLAC")
    fields = int.from_bytes(whole[18:26])
    return put(whole, 18, fields >> 36 << 36 | total, ">Q")


@pytest.mark.parametrize("front", [b"", b"ID3\4\0\0\0\0\0\x0a" + bytes(10)], ids=["plain", "tagged"])
def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path, front: bytes) -> None:
    (tmp_path / "a.flac").write_bytes(front + flac_of(0))
    assert audio.info(tmp_path / "a.flac").frames == len(SAMPLES)
    assert np.array_equal(audio.load(tmp_path / "a.flac"), SAMPLES)


@pytest.mark.parametrize(("total", "words"), [
    (20000, "holds more samples than its header says"), (4096, "holds more samples"), (24038, "is cut short"),
    ((1 << 36) - 1, "is cut short"),
])  # fmt: skip
def test_a_flac_of_another_length_than_its_header_says_is_refused(tmp_path: Path, total: int, words: str) -> None:
    (tmp_path / "a.flac").write_bytes(flac_of(total))
    with pytest.raises(UserError, match=words):
        audio.load(tmp_path / "a.flac")


def test_a_tag_behind_a_flac_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(encoded("FLAC") + b"TAG" + b"x" * 125)
    assert np.array_equal(audio.load(tmp_path / "a.flac"), SAMPLES)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_streams_of_ogg_are_all_read(tmp_path: Path, subtype: str) -> None:
    parts = []
    for hz in (300.0, 1200.0):
        (tmp_path / "part.ogg").write_bytes(encoded("OGG", subtype, tone(1.0 + hz / 1000, hz=hz)))
        parts.append((tmp_path / "part.ogg").read_bytes())
    (tmp_path / "a.ogg").write_bytes(b"".join(parts) + b"rubbish" * 100)
    loaded = audio.load(tmp_path / "a.ogg")
    assert len(loaded) == 16000 * (1.3 + 2.2)
    for hz, some in ((300, loaded[4000:20000]), (1200, loaded[24000:40000])):
        assert np.argmax(np.abs(np.fft.rfft(some))) == hz


@pytest.mark.parametrize("kind", [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_parts_of_other_rates_are_refused(tmp_path: Path, kind: tuple[str, str]) -> None:
    (tmp_path / "a.ogg").write_bytes(encoded(*kind, tone(), 16000) + encoded(*kind, tone(1.0, 22050), 22050))
    with pytest.raises(UserError, match=r"several sample rates|rate, channels or layer change"):
        audio.load(tmp_path / "a.ogg")


@pytest.mark.parametrize(("at", "form", "value"), [
    (24, "<I", 0), (24, "<I", 1), (24, "<I", 1 << 31), (24, "<I", (1 << 32) - 1), (22, "<H", 0), (22, "<H", 65535),
    (22, "<H", 1000), (34, "<H", 0), (34, "<H", 65535), (32, "<H", 0), (20, "<H", 0x55), (20, "<H", 0),
])  # fmt: skip
def test_a_header_that_cannot_be_is_one_sentence(tmp_path: Path, at: int, form: str, value: int) -> None:
    (tmp_path / "a.wav").write_bytes(put(encoded("WAV"), at, value, form))
    try:
        assert len(audio.load(tmp_path / "a.wav")) > 0  # some fields need not be right
    except UserError as refused:
        assert str(refused).startswith(f"{tmp_path / 'a.wav'} ")  # noqa: PT017
        assert "\n" not in str(refused)  # noqa: PT017


def frames_of(mp3: bytes) -> int:
    """How many frames the encoder says that it wrote."""
    at = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    return int.from_bytes(mp3[at + 8 : at + 12])


def bare(mp3: bytes) -> bytes:
    """An mp3 without its encoder's header, which fills the first frame, up to where a frame begins like the next one."""
    second = mp3.index(mp3[:2], 4)
    return mp3[second:]


@pytest.fixture(scope="module")
def mp3s() -> dict[str, bytes]:
    """Two seconds of silence with a tone in it, then noise, by how they are encoded."""
    random = np.random.default_rng(0)
    wave = np.concatenate([tone(2.0, 22050), 0.3 * random.standard_normal(44100)]).astype(np.float32)
    wide = np.stack([wave, wave[::-1]], 1)
    return {
        "cbr": encoded("MP3", "MPEG_LAYER_III", wave, 22050, bitrate_mode="CONSTANT"),
        "vbr": encoded("MP3", "MPEG_LAYER_III", wave, 22050, bitrate_mode="VARIABLE"),
        "stereo": encoded("MP3", "MPEG_LAYER_III", wide, 22050, bitrate_mode="VARIABLE"),
        "mpeg1": encoded("MP3", "MPEG_LAYER_III", wide, 44100, bitrate_mode="VARIABLE"),
        "mpeg25": encoded("MP3", "MPEG_LAYER_III", wave, 8000, bitrate_mode="CONSTANT"),
    }


ID3 = b"ID3\4\0\0\0\0\x10\0" + b"\xff\xfb\x90\x44" * 512  # a picture of what looks like frames


def ape(flags: int) -> bytes:
    """The header or the footer of an APE tag of 2000 bytes."""
    return b"APETAGEX" + struct.pack("<IIII8x", 2000, 2032, 1, flags)


AROUND: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda mp3: mp3, "id3v1": lambda mp3: mp3 + b"TAG" + b"x" * 125, "id3v2": lambda mp3: ID3 + mp3,
    "ape": lambda mp3: mp3 + ape(0xA0000000) + b"\xff\xfb\x90\x44" * 500 + ape(0x80000000),
    "rubbish behind": lambda mp3: mp3 + b"rubbish" * 500, "rubbish before": lambda mp3: b"rubbish\xff\xfb" * 30 + mp3,
    "zeros before": lambda mp3: bytes(5000) + mp3, "zeros behind": lambda mp3: mp3 + bytes(5000),
    "id3v2 of a wrong length": lambda mp3: ID3[:6] + b"\0\0\x7f\x7f" + ID3[10:] + mp3,
}  # fmt: skip


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("kind", ["cbr", "vbr", "stereo", "mpeg1", "mpeg25"])
def test_an_mp3_without_a_header_is_all_read(tmp_path: Path, mp3s: dict[str, bytes], kind: str, around: str) -> None:
    mp3, path = mp3s[kind], tmp_path / "a.mp3"
    path.write_bytes(mp3)
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(1)
    path.write_bytes(AROUND[around](mp3))
    np.testing.assert_allclose(audio.load(path), expected, atol=1e-6)
    path.write_bytes(AROUND[around](bare(mp3)))
    loaded = audio.load(path)
    assert audio.info(path).frames == len(loaded) == frames_of(mp3) * (1152 if kind == "mpeg1" else 576)
    late = 576 + 529  # samples that LAME and the decoder delay the sound, and that the header tells of
    np.testing.assert_allclose(loaded[late : late + len(expected)], expected, atol=1e-6)


@pytest.mark.parametrize("between", ["nothing", "id3v1", "id3v2", "ape", "zeros behind"])
@pytest.mark.parametrize(("first", "second"), [("cbr", "vbr"), ("vbr", "cbr"), ("vbr", "vbr")])
def test_joined_mp3s_are_all_read(
    tmp_path: Path, mp3s: dict[str, bytes], first: str, second: str, between: str
) -> None:
    total = frames_of(mp3s[first]) + frames_of(mp3s[second])
    for make in (lambda mp3: mp3, bare):
        path = tmp_path / "a.mp3"
        path.write_bytes(AROUND[between](make(mp3s[first])) + AROUND[between](mp3s[second]))
        loaded = audio.load(path)
        assert len(loaded) == total * 576
        # Tone, noise, tone, noise: each second one holds all frequencies.
        parts = np.split(loaded[: len(loaded) // 4 * 4], 4)
        flatness = [
            np.exp(np.log(p := np.abs(np.fft.rfft(x[8000:30000])) ** 2 + 1e-12).mean()) / p.mean() for x in parts
        ]
        assert max(flatness[0], flatness[2]) < 0.01 < 0.1 < min(flatness[1], flatness[3])


def test_an_mp3_with_a_hole_is_refused(tmp_path: Path, mp3s: dict[str, bytes]) -> None:
    by_header = (mp3s["vbr"], r"3\.9 of 4\.1 s decode")
    by_frames = (bare(mp3s["vbr"]), r"\d+ bytes at \d+ are no mp3")
    for mp3, problem in (by_header, by_frames):
        (tmp_path / "a.mp3").write_bytes(mp3[:9000] + b"rubbish" * 100 + mp3[9700:])
        with pytest.raises(CutShort, match=rf"a\.mp3 is cut short or damaged \({problem}\); write its header"):
            audio.load(tmp_path / "a.mp3")
    content = bare(mp3s["vbr"])
    (tmp_path / "a.mp3").write_bytes(content[:-10])
    with pytest.raises(CutShort, match="its last frame is not whole"):
        audio.load(tmp_path / "a.mp3")


@pytest.mark.parametrize("kind", ["mp3", "ogg"])
def test_what_is_there_of_a_cut_recording_can_be_read_on_request(tmp_path: Path, kind: str) -> None:
    audio.save(tmp_path / f"a.{kind}", 0.1 * np.random.default_rng(0).standard_normal(64000), 16000)
    whole = (tmp_path / f"a.{kind}").read_bytes()
    (tmp_path / f"a.{kind}").write_bytes(whole[: len(whole) // 2])
    blocks = audio.read_blocks(tmp_path / f"a.{kind}", 1000, whole=False)
    with pytest.raises(CutShort):
        read_all(blocks, lengths := list[int]())
    assert 0.2 * 64000 < sum(lengths) < 0.6 * 64000
    with pytest.raises(CutShort):
        next(audio.read_blocks(tmp_path / f"a.{kind}", 1000))


def read_all(blocks: Iterator[tuple[np.ndarray, bool]], lengths: list[int]) -> None:
    """Read blocks to the end, and note how long they are."""
    for block, _ in blocks:
        lengths.append(len(block))


@needs_shared
@pytest.mark.parametrize(("name", "frames"), [
    ("vbr_no_xing_tone_then_noise.mp3", 89856), ("cbr_no_xing.mp3", 89856), ("ffmpeg_pipe_total_unknown.flac", 24037),
    ("stream_sox_7ffff000.wav", 24037), ("stream_80000000.wav", 24037), ("stream_zero.wav", 24037), ("mp3_inside.wav", 24037),
])  # fmt: skip
def test_files_of_other_programs_are_all_read(name: str, frames: int) -> None:
    path = SHARED.parent / "cases" / name
    assert audio.info(path).frames == len(audio.load(path)) == frames
    if name.startswith(("stream", "ffmpeg")):
        assert np.array_equal(audio.load(path), audio.load(SHARED.parent / "cases" / "stream_80000000.wav"))
