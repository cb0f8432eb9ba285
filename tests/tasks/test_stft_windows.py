"""Windows are views into one spectrogram, runs are what all windows at once take, and both are the recordings' own."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from conftest import make_pairs, tone
from speechml.contracts import IndexBatch
from speechml.data import MixedPairs, WavPairs
from speechml.data.pairs import PairDataModule
from speechml.errors import UserError
from speechml.signal.random import uniform
from speechml.signal.stft import STFT, num_frames
from speechml.tasks import stft_windows
from speechml.tasks.stft_windows import TARGETS, Augment, FrameBatch, Framing, cut_frames

FRAMES, N_FFT, HOP = 5, 256, 128
BINS = N_FFT // 2 + 1
SILENCE = 1e-5 * uniform(1, torch.arange(FRAMES - 1), BINS)


def framing(sampling: str = "windows", run: int = 1, padding: bool = True, **augment: float) -> Framing:
    silence = SILENCE if padding else None
    return Framing(STFT(N_FFT, HOP), FRAMES, sampling, run, 1, silence, TARGETS["magnitude"], Augment(**augment))


def pairs(root: Path, seconds: float = 0.5, count: int = 6, **common: Any) -> PairDataModule:
    common = {"batch_size": 7, "cache": str(root / "cache")} | common
    folder = str(make_pairs(root / "pairs", count, seconds=seconds))
    return WavPairs(root=folder, sample_rate=16000, clip_s=0.25, split_seed=0, **common)


def spectra(data: PairDataModule, recording: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy and clean spectrum of a recording from its files, by the definition."""
    name = data.item_names[recording]
    found = []
    for side in ("noisy", "clean"):
        waveform, _ = soundfile.read(data.root / side / f"{name}.wav", dtype="float32")  # type: ignore[attr-defined]
        found.append(STFT(N_FFT, HOP)(torch.from_numpy(waveform)))
    return found[0], found[1]


def cut(data: PairDataModule, wanted: Framing) -> None:
    """Train on windows or runs, as a task makes the data module do."""
    data.set_training_items(partial(cut_frames, framing=wanted, sample_rate=16000))


def epoch(data: PairDataModule, number: int = 0) -> list[FrameBatch]:
    found = [data.load_batch(IndexBatch("train", number, index)) for index in data._training_groups(number)]
    assert all(isinstance(batch, FrameBatch) for batch in found)
    return found  # type: ignore[return-value]


def by_item(batches: list[FrameBatch]) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Magnitudes and target of each item."""
    return {int(n): (w, t) for b in batches for n, w, t in zip(b.indices, b.noisy, b.target, strict=True)}


@pytest.mark.parametrize("padding", [True, False])
def test_windows_are_every_window_of_the_files_once(padding: bool, tmp_path: Path) -> None:
    data = pairs(tmp_path)
    cut(data, framing(padding=padding))
    batches = epoch(data)
    seen = by_item(batches)
    assert len(seen) == sum(len(batch.indices) for batch in batches)
    number = 0
    for recording in data.splits["train"]:
        noisy, clean = spectra(data, recording)
        padded = torch.cat([SILENCE, noisy.abs()])
        for t in range(len(noisy)):
            if padding or t >= FRAMES - 1:
                window, target = seen.pop(number)
                torch.testing.assert_close(window, padded[t : t + FRAMES])
                torch.testing.assert_close(target[0], clean[t].abs())
            number += 1
    assert not seen


def test_windows_hold_one_spectrogram_and_not_one_a_window(tmp_path: Path) -> None:
    data = pairs(tmp_path, seconds=3.0)
    cut(data, framing())
    epoch(data)
    assert data.training_items is not None
    held = sum(t.nbytes for t in data.training_items._spectra[1:3])  # type: ignore[union-attr,index]
    total = sum(num_frames(data.corpus.lengths[i], HOP) for i in data.splits["train"])
    assert held <= 1.3 * total * BINS * 4 * 2  # noisy and clean, float32


def test_blocks_give_the_same_windows_when_not_all_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pairs(tmp_path)
    cut(data, framing())
    whole = by_item(epoch(data))
    monkeypatch.setattr(stft_windows, "BLOCK_FRAMES", 130)
    cut(data, framing())
    blocks, batches, loads = data.training_items.blocks(1), [], set()  # type: ignore[union-attr]
    for index in data._training_groups(1):
        batches.append(data.load_batch(IndexBatch("train", 1, index)))
        loads.add(data.training_items._spectra[1].data_ptr())  # type: ignore[union-attr,index]
        assert len(data.training_items._spectra[1]) <= 130 + 2 * (FRAMES - 1)  # type: ignore[union-attr,index]
    assert blocks.bincount().tolist() == [2, 2]  # four recordings of 63 frames
    by_block = by_item(batches)  # type: ignore[arg-type]
    assert by_block.keys() == whole.keys()
    for number, (window, target) in by_block.items():
        assert torch.equal(window, whole[number][0])
        assert torch.equal(target, whole[number][1])


@pytest.mark.parametrize("run", [1, 3, 8])
@pytest.mark.parametrize("padding", [True, False])
def test_runs_are_stretches_of_the_files(run: int, padding: bool, tmp_path: Path) -> None:
    data = pairs(tmp_path)
    cut(data, framing("runs", run, padding))
    runs = data.training_items
    for batch in epoch(data):
        begins = runs._begins(batch.indices, uniform(*[draw_key(data, 0), batch.indices, 6])[:, 0])  # type: ignore[union-attr]
        for i, number in enumerate(batch.indices.tolist()):
            recording, begin = int(runs._of[number]), int(begins[i])  # type: ignore[union-attr]
            name = data.item_names[recording]
            for side, found in (("noisy", batch.noisy[i, FRAMES - 1 :]), ("clean", batch.target[i])):
                waveform, _ = soundfile.read(data.root / side / f"{name}.wav", dtype="float32")  # type: ignore[attr-defined]
                padded = np.pad(waveform, (N_FFT // 2, N_FFT))
                for t in range(run):
                    frame = torch.from_numpy(padded[begin + t * HOP : begin + t * HOP + N_FFT].copy())
                    expected = torch.fft.rfft(frame * torch.hann_window(N_FFT)).abs()
                    torch.testing.assert_close(found[t], expected, atol=2e-5, rtol=1e-4)
            assert padding or begin >= (FRAMES - 1) * HOP


def draw_key(data: PairDataModule, number: int) -> int:
    from speechml.signal.random import key

    return key("run", data.seed, number)


@pytest.mark.parametrize("augment", [{}, {"remix": 0.5, "noise_db": 3.0, "gain_db": 6.0}])
def test_a_run_is_a_function_of_seed_epoch_and_its_number_alone(augment: dict[str, float], tmp_path: Path) -> None:
    found = []
    for size in (3, 11):
        data = pairs(tmp_path, batch_size=size)
        cut(data, framing("runs", 4, **augment))
        found.append(by_item(epoch(data, 2)))
    assert found[0].keys() == found[1].keys()
    for number, (noisy, target) in found[0].items():
        torch.testing.assert_close(noisy, found[1][number][0])
        torch.testing.assert_close(target, found[1][number][1])
    other = by_item(epoch(data, 3))
    assert any(not torch.allclose(other[n][0], found[0][n][0]) for n in other)


def test_remixed_noise_keeps_the_clean_run_and_comes_from_elsewhere(tmp_path: Path) -> None:
    data = pairs(tmp_path)
    found = []
    for remix in (0.0, 1.0):
        cut(data, framing("runs", 4, remix=remix))
        found.append(by_item(epoch(data)))
    for number, (noisy, target) in found[0].items():
        torch.testing.assert_close(found[1][number][1], target)
        assert not torch.allclose(found[1][number][0], noisy)


def test_mixtures_are_new_in_every_epoch_and_fixed_recordings_are_not(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for speaker in ("a", "b", "c"):
        (tmp_path / "clean" / speaker).mkdir(parents=True)
        soundfile.write(tmp_path / "clean" / speaker / "x.wav", tone(0.5), 16000)
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "n.wav", 0.1 * random.standard_normal(30000), 16000)
    folders = {name: str(tmp_path / name) for name in ("clean", "noise", "cache")}
    data = MixedPairs(**folders, sample_rate=16000, clip_s=0.25, batch_size=500, split_seed=0)
    cut(data, framing())
    first, again, other = (by_item(epoch(data, number)) for number in (0, 0, 1))
    assert all(torch.equal(first[number][0], again[number][0]) for number in first)
    assert not any(torch.allclose(first[number][0], other[number][0]) for number in first)


def test_the_best_magnitude_for_the_noisy_phase_is_the_phase_sensitive_one() -> None:
    noisy, clean = torch.randn(2, 1000, dtype=torch.complex128)  # in single precision the flat minimum is lost
    steps = torch.linspace(0, 4, 4001, dtype=torch.float64)
    errors = (steps[:, None] * torch.sgn(noisy) - clean).abs()
    best = steps[errors.argmin(0)]
    torch.testing.assert_close(TARGETS["phase_sensitive"](noisy, clean), best, atol=1e-3, rtol=0)
    assert torch.equal(TARGETS["magnitude"](noisy, clean), clean.abs())


@pytest.mark.parametrize("sampling", ["windows", "runs"])
def test_recordings_shorter_than_a_window_are_refused_where_nothing_is_padded(sampling: str, tmp_path: Path) -> None:
    data = pairs(tmp_path, seconds=0.02)
    with pytest.raises(UserError, match="shorter than one window of 5 frames"):
        cut(data, framing(sampling, padding=False))
    cut(data, framing(sampling))
    assert data.items_per_epoch > 0
    assert all(batch.noisy.isfinite().all() for batch in epoch(data))


def test_ranks_share_an_epoch_without_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pairs(tmp_path)
    cut(data, framing())
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(data, "_ranks", lambda rank=rank: (rank, 2))
        shares.append([index.tolist() for index in data._training_groups(0)])
    assert len(shares[0]) == len(shares[1])
    together = [n for share in shares for group in share for n in group]
    assert len(set(together)) == len(together)


def test_passes_make_an_epoch_longer(tmp_path: Path) -> None:
    data = pairs(tmp_path)
    counts = []
    for passes in (1, 3):
        cut(data, framing("runs", 4)._replace(passes=passes))
        counts.append(data.items_per_epoch)
        runs = data.training_items
        begins = set(zip(runs._of.tolist(), runs._begin.tolist(), strict=True))  # type: ignore[union-attr]
        assert len(begins) == len(runs)  # type: ignore[arg-type] # each pass begins elsewhere
    assert counts[1] == 3 * counts[0]
