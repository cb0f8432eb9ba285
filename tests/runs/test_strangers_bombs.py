"""What docs/runs.md promises of files from strangers: none is so large, deep or long that a command does not end."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from speechml.errors import UserError
from speechml.report.finished_run import load_predictions
from speechml.report.media import read_mono
from speechml.report.run_page import read_png
from speechml.runs.card import load_card
from speechml.runs.labels import load_config, result_settings
from speechml.runs.sweep_record import load_sweep
from strangers import SECRET, Place, array_file, picture
from stress_payloads import archive


def header(shape: str, kind: str = "<f8") -> str:
    return f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}}}"


NAMES = array_file(header("(1,)", "<U1"), "a".encode("utf-32-le"))


@pytest.mark.parametrize(
    "content",
    [
        archive({"name.npy": NAMES, "snr_db.npy": array_file(header("(1000000,)"), bytes(8_000_000))}, compressed=True),
        archive({"name.npy": NAMES, "snr_db.npy": array_file(header("(800000000,)"))}),
        archive({"name.npy": NAMES, "snr_db.npy": array_file(header("(10**15,)"))}),
        archive({"name.npy": NAMES, "snr_db.npy": array_file(header(f"({10**15}, {10**15})"))}),
        archive({"name.npy": NAMES, "snr_db.npy": array_file(header("(-1,)"), bytes(8))}),
        archive({"name.npy": array_file(header(f"({10**12},)", "|V0"))}),
        archive({"name.npy": array_file(header(f"({10**12},)", "<U0"))}),
        archive({"name.npy": array_file(header("(1,)", "<U99999999999"))}),
        archive({"name.npy": array_file(header("(1,)", "<U1"), b"\xff\xff\xff\x7f")}),
        archive({"name.npy": array_file("(" * 100)}),
        archive({"name.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"}),
        archive({f"x{number}.npy": b"" for number in range(20000)}),
        archive({"name.npy": NAMES})[:-30],
        b"PK\x05\x06" + bytes(18),
        b"",
    ],
)  # fmt: skip
def test_predictions_take_no_more_memory_than_their_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "predictions.npz").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        load_predictions(tmp_path / "predictions.npz")


def aliases(first: str, each: str, levels: int = 30) -> str:
    """A YAML text that doubles with each level."""
    lines = [f"a0: &a0 {first}", *(f"a{n}: &a{n} {each.format(n - 1)}" for n in range(1, levels))]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        aliases("[x]", "[*a{0}, *a{0}, *a{0}]"),
        aliases("{x: 1}", "{{x: *a{0}, y: *a{0}}}"),
        aliases("{x: 1}", "{{<<: [*a{0}, *a{0}, *a{0}]}}"),
        "a: &a [*a]\n",
        "a: &a {b: *a}\n",
        "[" * 1900,
        "{a: " * 1900,
        "[" * 200 + "]" * 200,
        "- " * 400_000,
        "? " * 400_000,
        "\n".join(" " * depth + "a:" for depth in range(1200)),
        "a: " + "9" * 5000,
        "x" * 2_000_000,
        "- 1\n- 2\n",
        "\0",
        "a: !!binary x\n",
    ],
    ids=range(16),
)
def test_a_config_ends_in_a_sentence(text: str, place: Place) -> None:
    (place.run / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        result_settings(load_config(place.run))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 500 + "1" + "}" * 500,
        '{"id": ' + "9" * 100_000 + "}",
        '{"epochs": ' + "9" * 400 + "}",
        '{"epochs": 1e999}',
        '"\\ud800"',
        " " * (20 << 20) + "{}",
        "\xff",
        "",
    ],
    ids=range(9),
)
def test_a_card_and_the_record_of_a_sweep_end_in_a_sentence(text: str, place: Place) -> None:
    for name, load in (("card.json", load_card), ("sweep.json", load_sweep)):
        (place.run / name).write_text(text, encoding="latin-1")
        with pytest.raises(UserError, match=name):
            load(place.run)


@pytest.mark.parametrize(
    "content",
    [picture(100_000, 100_000), picture(2**31, 1), picture(0, 5), b"\x89PNG\r\n\x1a\n", b"<svg onload=alert(1)>", SECRET.encode(),
     b"GIF89a" + bytes(20), picture(2, 2) + bytes(4_000_000)],
)  # fmt: skip
def test_a_picture_that_is_none_or_too_large_is_not_embedded(content: bytes, place: Place) -> None:
    (place.run / "figures" / "loss.png").write_bytes(content)
    assert read_png(place.run, "figures/loss.png") == b""
    assert read_png(place.run, "figures/levels.png") == picture(2, 2)


def wav(rate: int = 16000, channels: int = 1, bits: int = 16, kind: int = 1, length: int | None = None) -> bytes:
    """A wav file of ten frames whose header may say anything."""
    data = bytes(20 * channels)
    each = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate & 0xFFFFFFFF, rate * each & 0xFFFFFFFF, each & 0xFFFF, bits)
    size = len(data) if length is None else length
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
        + data
    )


@pytest.mark.parametrize(
    "content",
    [wav(1), wav(2**32 - 1), wav(700_000), wav(0), wav(channels=0), b"fLaC" + bytes(40), b"OggS", SECRET.encode()],
)
def test_a_sound_that_no_page_can_play_is_left_out(content: bytes, place: Place) -> None:
    path = place.run / "audio" / "a_noisy.wav"
    path.write_bytes(content)
    assert read_mono(path) is None
    path.write_bytes(wav())
    wave, rate = read_mono(path) or (np.zeros(0), 0)
    assert (len(wave), rate) == (10, 16000)
