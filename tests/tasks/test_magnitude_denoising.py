"""The magnitude denoiser itself: its waveforms, its oracles, its streams, its gradient."""

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch

from conftest import SHARED, needs_shared
from data.test_recording_pair import course_folder
from speechml.contracts import PairBatch
from speechml.data import RecordingPair
from speechml.metrics.waveform import waveform_scores
from speechml.storage import audio
from speechml.tasks import MagnitudeDenoiser

NET_1D = {"_target_": "speechml.models.STFTCNN1d"}
NET_2D = {"_target_": "speechml.models.STFTCNN2d"}


def task(net: dict[str, Any] = NET_2D, **changes: Any) -> MagnitudeDenoiser:
    torch.manual_seed(0)
    built = MagnitudeDenoiser({**net, "output": "mask", "inputs": "log"}, 16000, **changes)
    return built.eval().requires_grad_(False)


class Passing(torch.nn.Module):
    """A network that changes nothing."""

    frames, bins = 20, 513

    def all_windows(self, spectrogram: torch.Tensor) -> torch.Tensor:
        return spectrogram[:, self.frames - 1 :]


@pytest.mark.parametrize("padding", ["silent", "none"])
@pytest.mark.parametrize("samples", [1, 511, 512, 5000, 30001])
def test_magnitudes_that_are_not_changed_give_the_waveform_back(padding: str, samples: int) -> None:
    denoiser = task(padding=padding)
    denoiser.net = Passing()
    waveform = torch.randn(2, 1, samples)
    torch.testing.assert_close(denoiser(waveform), waveform, atol=2e-6, rtol=0)


@pytest.mark.parametrize("samples", [1, 600, 512 * 18])
def test_a_network_leaves_recordings_shorter_than_its_window_as_they_are_without_padding(samples: int) -> None:
    waveform = torch.randn(2, 1, samples)
    torch.testing.assert_close(task(padding="none")(waveform), waveform, atol=2e-6, rtol=0)


@pytest.mark.parametrize("net", [NET_1D, NET_2D])
@pytest.mark.parametrize("padding", ["silent", "none"])
@pytest.mark.parametrize("pieces", [[20000], [1, 2, 510, 1, 512, 18974], [700] * 28 + [400], [19999, 1], [20000, 0]])
def test_pieces_join_to_what_the_whole_gives(net: dict[str, Any], padding: str, pieces: list[int]) -> None:
    denoiser = task(net, padding=padding)
    waveform = np.random.default_rng(0).standard_normal((20000, 2)).astype(np.float32)
    stream, ends = denoiser.stream(2), np.cumsum(pieces)
    parts = [
        stream.next(waveform[end - size : end], i == len(pieces) - 1)
        for i, (size, end) in enumerate(zip(pieces, ends, strict=True))
    ]
    whole = denoiser(torch.from_numpy(waveform.T.copy())[:, None])[:, 0].numpy().T
    assert np.concatenate(parts).shape == whole.shape
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=2e-6)


def test_silence_stays_silent() -> None:
    assert float(task()(torch.zeros(1, 1, 20000)).abs().max()) < 1e-6


@pytest.mark.parametrize("shape", [(5000,), (1, 5000), (1, 2, 5000)])
def test_what_is_no_batch_of_waveforms_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"waveforms must be \(batch, 1, time\)"):
        task()(torch.randn(shape))


@needs_shared
def test_the_oracles_are_those_known_of_the_homeworks_recording() -> None:
    """20.43 and 19.97 dB (LABS.md), and here again with librosa."""
    root = SHARED / "iu-e533-denoising"
    noisy, clean = (audio.load(root / f"train_{side}_male.wav") / np.float32(32768) for side in ("dirty", "clean"))
    batch = PairBatch(*(torch.from_numpy(w)[None, None] for w in (noisy, clean)), torch.tensor([0]))
    found, _ = task(NET_1D).denoise_batch(batch, testing=True)
    scores = {what: float(waveform_scores(estimate, batch.clean)["snr_db"]) for what, estimate in found.items()}
    assert scores["_input"] == pytest.approx(6.51, abs=0.005)
    assert scores["_clean_magnitude"] == pytest.approx(20.43, abs=0.01)
    assert scores["_binary_mask"] == pytest.approx(19.97, abs=0.02)
    x, s = (librosa.stft(w, n_fft=1024, hop_length=512) for w in (noisy, clean))
    rebuilt = librosa.istft(np.abs(s) * np.exp(1j * np.angle(x)), hop_length=512, length=len(clean))
    assert 10 * np.log10(np.sum(clean**2) / np.sum((clean - rebuilt) ** 2)) == pytest.approx(
        scores["_clean_magnitude"], abs=0.01
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_fft": 512, "hop": 256}, "the network has 513 bins and n_fft 512 gives 257"),
        ({"hop": 1024}, "do not fit"),
        ({"augment": {"remix": 0.5}}, "augment varies runs"),
        ({"normalize": "runs"}, "normalize=runs needs runs"),
        *(({name: "foo"}, f"{name} is 'foo'; it can be ") for name in ("loss", "target", "padding", "sampling")),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        task(**changes)


def test_a_network_of_waveforms_is_refused() -> None:
    with pytest.raises(ValueError, match="FIR takes no STFT frames"):
        MagnitudeDenoiser({"_target_": "speechml.models.FIR"}, 16000)


def test_silent_frames_follow_the_seed() -> None:
    assert torch.equal(task(seed=1).silence, task(seed=1).silence)
    assert not torch.equal(task(seed=1).silence, task(seed=2).silence)
    assert 0 < float(task().silence.max()) < 1e-4


def test_windows_and_runs_of_all_frames_take_the_same_gradient(tmp_path: Path) -> None:
    """A run that is the whole recording is every window of it: the loss and its gradient are the same."""
    root = course_folder(tmp_path / "course", seconds=8.0)
    data = RecordingPair(root=str(root), heldout=0, sample_rate=16000, clip_s=0.5, batch_size=1000, split_seed=0,
                         cache=str(tmp_path / "cache"))  # fmt: skip
    frames = 1 + 8 * 16000 // 512
    found = []
    for settings in ({"sampling": "windows"}, {"sampling": "runs", "run": frames}):
        denoiser = task(**settings).train().requires_grad_(True)
        denoiser.setup_for(data)
        (batch,) = list(data.batches("train"))
        loss, _ = denoiser.training_loss(batch)
        loss.backward()
        found.append((loss.detach(), [p.grad for p in denoiser.net.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=0)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_long_recordings_are_computed_in_blocks_that_join(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = task(NET_2D)
    waveform = torch.randn(1, 1, 60000)
    whole = denoiser(waveform)
    monkeypatch.setattr("speechml.tasks.stft_denoising.BLOCK_FRAMES", 11)
    torch.testing.assert_close(denoiser(waveform), whole, atol=1e-6, rtol=0)
