"""No level is too high or too low for a network that follows it, and where one does not, that is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import read_card, tone, write_card
from speechml.contracts import ClipBatch, PairBatch
from speechml.engine.fit import LEVELS_DB, measure_levels
from speechml.errors import UserError
from speechml.inference.denoise import denoise_file, measure_level
from speechml.report.level import level_remark, level_text
from speechml.runs.card import LevelCurve, load_card
from speechml.signal.level import SPEECH_RMS, rms
from speechml.signal.stft import STFT
from speechml.storage import audio
from speechml.tasks import Classifier, MagnitudeDenoiser, WaveformDenoiser

MIMO = {"_target_": "speechml.models.MIMOCNN", "taps": [20, 20], "features": [1, 3, 1]}
STFT_2D = {"_target_": "speechml.models.STFTCNN2d", "output": "mask", "inputs": "log"}
RESNET = {"_target_": "speechml.models.SpectrogramResNet", "bins": 64, "width": 8}
GAINS = [10 ** (db / 20) for db in (-120, -60, -45, -30, -12, -3, 0, 20)]


def denoiser(kind: str, normalize: Any = "recording") -> WaveformDenoiser | MagnitudeDenoiser:
    torch.manual_seed(3)
    if kind == "waveform":
        return WaveformDenoiser(MIMO, 16000, normalize=normalize).eval().requires_grad_(False)
    return MagnitudeDenoiser(STFT_2D, 16000, normalize=normalize).eval().requires_grad_(False)


def classifier(normalize: Any = "recording") -> Classifier:
    torch.manual_seed(3)
    front_end = {"kind": "log_mel", "mels": 64}
    return Classifier(RESNET, front_end, 16000, ["a", "b", "c"], normalize=normalize).eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("kind", ["waveform", "magnitude"])
def test_what_is_louder_by_a_factor_is_denoised_to_what_is_louder_by_it(kind: str, gain: float) -> None:
    task, waveform = denoiser(kind), 0.1 * noise(2, 1, 20000)
    torch.testing.assert_close(task(gain * waveform) / gain, task(waveform), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("gain", GAINS)
def test_a_clip_has_the_same_logits_at_every_level(gain: float) -> None:
    task, waveform = classifier(), 0.1 * noise(2, 1, 16000)
    torch.testing.assert_close(task(gain * waveform), task(waveform), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["waveform", "magnitude"])
def test_recordings_of_a_batch_do_not_share_a_level(kind: str) -> None:
    task, waveform = denoiser(kind), noise(2, 1, 20000) * torch.tensor([1e-3, 1.0])[:, None, None]
    torch.testing.assert_close(task(waveform)[:1], task(waveform[:1]), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("make", [lambda: denoiser("waveform"), lambda: denoiser("magnitude"), classifier])
def test_silence_stays_finite(make: Any) -> None:
    assert bool(make()(torch.zeros(1, 1, 16000)).isfinite().all())


def test_without_normalisation_the_level_matters_and_the_curve_shows_it() -> None:
    task, waveform = denoiser("waveform", False), noise(1, 1, 8000)
    assert not torch.allclose(task(10 * waveform) / 10, task(waveform), rtol=0.1)


@pytest.mark.parametrize("level", [1e-22, 3e-5, 0.02, 1.0, 300.0])
def test_the_rms_is_that_of_its_definition(level: float) -> None:
    waveform = level * noise(3, 1, 4000)
    wanted = waveform.double().square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(rms(waveform).double(), wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 512), (512, 128), (256, 64)])
def test_frames_tell_the_rms_of_their_waveform(n_fft: int, hop: int) -> None:
    waveform = 0.03 * noise(200_000)
    frames = STFT(n_fft, hop).transform(waveform).abs()
    assert STFT(n_fft, hop).rms(frames[None]) == pytest.approx(float(waveform.square().mean().sqrt()), rel=0.01)


@pytest.mark.parametrize(("kind", "noisy_rms"), [("waveform", None), ("magnitude", 1.0), ("magnitude", 0.05)])
def test_pieces_of_a_known_level_join_to_the_whole(kind: str, noisy_rms: float | None) -> None:
    task = denoiser(kind)
    if isinstance(task, MagnitudeDenoiser):
        task.noisy_rms.fill_(noisy_rms)  # the level that it is trained at
    waveform = (1e-3 * noise(30000, 2) * torch.linspace(0.1, 1, 30000)[:, None]).numpy()
    level = torch.from_numpy(np.sqrt(np.square(waveform, dtype=np.float64).mean(0))).float()
    stream = task.stream(2, level)
    parts = [stream.next(waveform[begin : begin + 7000], begin + 7000 >= 30000) for begin in range(0, 30000, 7000)]
    whole = task(torch.from_numpy(waveform.T.copy())[:, None])[:, 0].numpy().T
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("gain", [1e-3, 1.0, 30.0])
def test_pieces_of_an_unknown_level_follow_what_was_heard_so_far(gain: float) -> None:
    """What comes later changes nothing of what was given, and a louder signal is answered louder."""
    waveform = 0.1 * noise(12000, 1).numpy()
    streams = [denoiser("waveform").stream(1) for _ in range(3)]
    first, louder, other = (
        stream.next(factor * waveform[:6000], False) for stream, factor in zip(streams, (1, gain, 1), strict=True)
    )
    np.testing.assert_array_equal(first, other)
    np.testing.assert_allclose(louder / gain, first, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("db", [-60, -26, -3])
def test_a_file_is_denoised_alike_at_every_level(db: float, rate: int, tmp_path: Path) -> None:
    task = denoiser("waveform")
    waveform = np.stack([tone(1.2, rate), tone(1.2, rate, hz=880.0)], 1)
    waveform = waveform / np.sqrt(np.mean(waveform**2))
    results = []
    for name, gain in (("own", 0.05), ("moved", 10 ** (db / 20))):
        import soundfile

        soundfile.write(tmp_path / f"{name}.wav", gain * waveform, rate, "FLOAT")
        denoise_file(task, tmp_path / f"{name}.wav", tmp_path / f"{name}_out.wav")
        results.append(audio.load(tmp_path / f"{name}_out.wav") / gain)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-3, atol=1e-4)
    assert measure_level(tmp_path / "own.wav", 16000).square().mean().sqrt() == pytest.approx(0.05, rel=0.02)


def test_clips_come_to_the_level_of_speech() -> None:
    task, waveform = classifier(), 1e-4 * noise(1, 1, 16000)
    task.front_end = torch.nn.Identity()  # type: ignore[assignment]
    assert float(task._features(waveform).square().mean().sqrt()) == pytest.approx(SPEECH_RMS, rel=1e-4)


class FewItems:
    """Two pairs, or two clips."""

    def __init__(self, kind: str) -> None:
        self.kind, self.spec = kind, type("Spec", (), {"sample_rate": 16000})

    def scored_items(self) -> dict[str, list[int]]:
        return {"test": [0, 1]}

    def load_batch(self, batch: Any) -> Any:
        clean = 0.3 * noise(1, 1, 16000, seed=int(batch.indices[0]))
        if self.kind == "words":
            return ClipBatch(clean, torch.tensor([1]), batch.indices, 0)
        return PairBatch(clean + 0.1 * noise(1, 1, 16000, seed=9), clean, batch.indices)


@pytest.mark.parametrize("kind", ["waveform", "magnitude", "words"])
def test_the_curve_of_a_network_that_follows_the_level_is_flat(kind: str) -> None:
    task: Any = classifier() if kind == "words" else denoiser(kind)
    curve = measure_levels(task, FewItems(kind))  # type: ignore[arg-type]
    assert curve is not None
    assert curve.levels_db == list(LEVELS_DB)
    assert curve.scores == pytest.approx([curve.own] * len(LEVELS_DB), abs=0.01)
    assert "holds for recordings from -60 to 0 dBFS" in level_text(curve)


def test_the_curve_takes_no_longer_where_recordings_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    task, items, passed = denoiser("waveform"), FewItems("pairs"), []
    monkeypatch.setattr("speechml.engine.fit.LEVEL_S", 0.5)
    monkeypatch.setattr(task, "forward", lambda noisy: passed.append(noisy.shape[-1]) or noisy)
    assert measure_levels(task, items) is not None  # type: ignore[arg-type]
    assert sum(passed) == (1 + len(LEVELS_DB)) * 8000


CURVE = LevelCurve("snr_db", -50.0, 30.0, [-60.0, -50.0, -20.0, 0.0], [29.5, 30.0, 6.0, -3.0])


def test_a_curve_that_falls_is_told_with_where_and_how_far() -> None:
    assert level_text(CURVE) == "Level: SNR falls by 33.0 dB at 0 dBFS (RMS); these recordings have -50 dBFS."


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ({"a.wav": -52.0, "b.wav": -50.0}, ""),
        ({"a.wav": -52.0, "b.wav": -20.0}, "1 of 2 recordings"),
        ({"a.wav": -35.0}, "about 12.0 dB of SNR is lost there"),  # halfway between two levels
        ({"a.wav": 0.0, "b.wav": -20.0}, "as a.wav at 0 dBFS"),
        ({"a.wav": -np.inf}, ""),  # silence
    ],
)
def test_recordings_far_from_the_known_level_are_named(levels: dict[str, float], words: str, run_card: Any) -> None:
    said = level_remark(run_card, denoiser("waveform", False), levels)
    assert words in said
    assert bool(said) == bool(words)
    assert level_remark(run_card, denoiser("waveform"), levels) == ""


@pytest.fixture
def run_card(trained: dict[str, Path], tmp_path: Path) -> Any:
    """The card of a run, with a curve that falls, as it is read again."""
    content = read_card(trained["lab2a_fir"])
    assert len(content["level_curve"]["scores"]) == len(LEVELS_DB)
    write_card(tmp_path, {**content, "level_curve": CURVE.to_json()})
    card = load_card(tmp_path)
    assert card is not None
    assert card.level_curve == CURVE
    return card


@pytest.mark.parametrize(("levels_db", "scores"), [([], []), ([-60.0, -50.0], [1.0])])
def test_a_curve_without_a_score_for_each_level_is_damaged(
    levels_db: list[float], scores: list[float], run_card, tmp_path
) -> None:
    content = {**run_card.to_json(), "level_curve": {**CURVE.to_json(), "levels_db": levels_db, "scores": scores}}
    write_card(tmp_path, content)
    with pytest.raises(UserError, match="damaged"):
        load_card(tmp_path)


def test_an_older_network_with_a_level_says_how_far_recordings_are_off() -> None:
    task = denoiser("waveform", True)
    task.level.fill_(10 ** (-52 / 20))
    assert "at -26 dBFS" in level_remark(None, task, {"a.wav": -26.0})
    assert level_remark(None, task, {"a.wav": -50.0}) == ""
