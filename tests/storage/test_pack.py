import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechml.storage.building import build_once
from speechml.storage.pack import Pack, Recording, cut, is_whole, open_pack
from speechml.storage.pack_writing import quantise, write_pack


@settings(max_examples=40, deadline=None)
@given(level=st.floats(1e-6, 1.0), seed=st.integers(0, 99))
def test_rounding_lies_90_db_below_noise_of_any_level(level: float, seed: int) -> None:
    waveform = (level * np.random.default_rng(seed).standard_normal(2000)).astype(np.float32)
    samples, gain = quantise(waveform)
    error = samples * np.float32(gain) - waveform
    assert 10 * np.log10((waveform**2).sum() / (error**2).sum()) > 85


def test_sixteen_bit_input_is_kept_exactly() -> None:
    samples = np.array([-32768, 0, 1, 32767], np.int16)
    kept, gain = quantise(samples)
    assert kept is samples
    assert gain == 1 / 32768


def write(folder: Path, lengths: list[int], row: int = 10) -> list[np.ndarray]:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    waveforms = [random.integers(-30000, 30000, length).astype(np.int16) for length in lengths]
    write_pack(folder, row, (Recording(f"file{i}", {"noisy": w, "clean": w // 2}) for i, w in enumerate(waveforms)))
    return waveforms


def test_whole_recordings_and_their_clips_come_back_bit_for_bit(tmp_path: Path) -> None:
    lengths = [25, 10, 3, 31]
    waveforms = write(tmp_path, lengths)
    pack = open_pack(tmp_path).roles["noisy"]
    for i, waveform in enumerate(waveforms):
        whole = pack.whole(torch.tensor([i]))
        assert torch.equal(whole[0, 0], torch.from_numpy(waveform / np.float32(32768)))
    rows = pack.training_rows([0, 1, 2, 3])
    # 25 = 10 + 10 + 5 (half full: kept), 10, 3 (the first of its recording: kept), 31 = 3 x 10 + 1 (left out).
    assert len(rows) == 3 + 1 + 1 + 3
    clips = pack.gather_rows(rows)[:, 0]
    expected = np.zeros((8, 10), np.float32)
    for i, (file, start) in enumerate([(0, 0), (0, 10), (0, 20), (1, 0), (2, 0), (3, 0), (3, 10), (3, 20)]):
        piece = waveforms[file][start : start + 10] / np.float32(32768)
        expected[i, : len(piece)] = piece
    assert torch.equal(clips, torch.from_numpy(expected))


def test_remarks_are_counted_among_those_that_they_are_on(tmp_path: Path) -> None:
    remarks = ["", "cut", "cut", None]
    write_pack(tmp_path, 10, (Recording("x", {"a": np.zeros(3, np.int16)}, remark=remark) for remark in remarks))
    assert open_pack(tmp_path).notes == ["of all 3 clips 2 are cut"]


def test_training_rows_are_those_of_the_recordings_asked_for() -> None:
    pack = Pack.of(torch.arange(60.0), [20, 20, 20], [1.0] * 3, 10)
    assert pack.training_rows([2, 0]).tolist() == [0, 1, 4, 5]


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    begins=st.lists(st.tuples(st.integers(0, 3), st.integers(-40, 40)), min_size=1, max_size=5),
    length=st.integers(1, 30),
)
def test_stretches_are_the_samples_of_one_recording_with_zeros_around(lengths, begins, length) -> None:
    pack = Pack.of(torch.arange(1.0, 1 + 30 * len(lengths)), lengths, [2.0] * len(lengths), 30)
    files = torch.tensor([number % len(lengths) for number, _ in begins])
    first = torch.tensor([begin for _, begin in begins])
    wanted = [
        [2.0 * (1 + 30 * file + at) if 0 <= at < lengths[file] else 0.0 for at in range(begin, begin + length)]
        for file, begin in zip(files.tolist(), first.tolist(), strict=True)
    ]
    assert pack.stretches(files, first, length)[:, 0].tolist() == wanted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gathers_what_a_processor_slices() -> None:
    samples, starts, sizes = torch.arange(1, 91, dtype=torch.int16), torch.tensor([0, 30]), torch.tensor([30, 7])
    first = torch.tensor([-4, 3])
    on_gpu = cut(*(tensor.cuda() for tensor in (samples, starts, sizes, first)), 20)
    assert torch.equal(on_gpu.cpu(), cut(samples, starts, sizes, first, 20))


def test_a_torn_or_older_pack_is_built_anew(tmp_path: Path) -> None:
    folder, built = tmp_path / "pack", []

    def build(part: Path) -> None:
        built.append(1)
        write(part, [25, 10])

    for _ in range(2):
        build_once(folder, is_whole, build)
    assert len(built) == 1
    (folder / "clean.i16").write_bytes((folder / "clean.i16").read_bytes()[:-2])
    build_once(folder, is_whole, build)
    assert len(built) == 2
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "format": 0}))
    build_once(folder, is_whole, build)
    assert len(built) == 3
    (folder / "index.json").write_text("{")
    build_once(folder, is_whole, build)
    assert len(built) == 4
