"""The spoken stand-in for labs 2A and 2B, and the speech it is made of, against independent measurements."""

import ctypes
import hashlib
import random
import subprocess
import sys
from _ctypes import dlclose
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import NamedTuple

import espeakng_loader
import numpy as np
import pytest
from scipy import linalg, signal

from speechml.data import SpokenPairs
from speechml.data.splits import split_by_voice, voice_speaker
from speechml.data.spoken_pairs import SHARES
from speechml.data.synthetic import espeak
from speechml.data.synthetic.pairs import spoken_pairs
from speechml.errors import UserError

COUNT = 208  # two clips a voice
EVERY_TIMBRE = [voice for voice in espeak.voices() if voice.startswith("en-us+")]


class Clips(NamedTuple):
    noisy: np.ndarray
    clean: np.ndarray
    voices: list[str]


def speak_clips(count: int) -> Clips:
    """Clips as columns: noisy and clean (clip, time)."""
    pairs = list(spoken_pairs(count))
    noisy, clean = (np.stack([pair.waveforms[role] for pair in pairs]) for role in ("noisy", "clean"))
    return Clips(noisy, clean, [pair.speaker for pair in pairs])


@pytest.fixture(scope="module")
def pairs() -> Clips:
    return speak_clips(COUNT)


def spectra(clips: np.ndarray) -> np.ndarray:
    """Energy in bins of 1 Hz; the window keeps the cut at a clip's ends from leaking into other bins."""
    return np.abs(np.fft.rfft(clips * np.hanning(clips.shape[1]))) ** 2


# Speech


def test_voices_are_many_sorted_and_every_accent_speaks():
    names = espeak.voices()
    assert names == sorted(set(names))
    assert len({name.partition("+")[0] for name in names}) >= 8
    assert len(EVERY_TIMBRE) >= 100
    for accent in {name.partition("+")[0] for name in names}:
        assert espeak.say("hello", f"{accent}+f2").dtype == np.int16


def test_the_same_call_says_the_same_whatever_was_said_before():
    first = {voice: espeak.say("an old kettle", voice) for voice in EVERY_TIMBRE}
    shuffled = random.Random(1).sample(EVERY_TIMBRE, len(EVERY_TIMBRE))
    different = [voice for voice in shuffled if not np.array_equal(first[voice], espeak.say("an old kettle", voice))]
    assert different == []


def test_threads_wait_for_each_other():
    alone = [espeak.say("an old kettle", voice) for voice in EVERY_TIMBRE[:20]]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda voice: espeak.say("an old kettle", voice), EVERY_TIMBRE[:20]))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_no_two_timbres_are_the_same():
    said = [espeak.say("an old kettle", voice).tobytes() for voice in EVERY_TIMBRE]
    assert len(set(said)) == len(said)


def test_nothing_is_written_to_the_terminal(capfd):
    for voice in EVERY_TIMBRE:
        espeak.say("an old kettle, no. 7!", voice)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("voice", ["en-us+nobody", "klingon+f2", "en-us", "", "gmw/en-US+f2"])
def test_an_unknown_voice_is_named(voice):
    with pytest.raises(ValueError, match=f"'{voice}'".replace("+", r"\+")):
        espeak.say("hello", voice)


def test_a_library_held_by_another_is_refused_rather_than_shared():
    other = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        with pytest.raises(RuntimeError, match="in use"):
            espeak.say("hello", "en-us+f2")
    finally:
        dlclose(other._handle)
    assert len(espeak.say("hello", "en-us+f2")) > 0


def test_rate_shortens_and_pitch_raises():
    assert len(espeak.say("an old kettle", "en-us+m3", 300)) < 0.8 * len(espeak.say("an old kettle", "en-us+m3", 120))
    fundamental = []
    for pitch in (20, 80):
        vowel = espeak.say("aah", "en-us+m3", 100, pitch, 0).astype(float)
        likeness = signal.correlate(vowel, vowel)[len(vowel) - 1 :]
        fundamental.append(espeak.SAMPLE_RATE / (50 + np.argmax(likeness[50:400])))
    assert fundamental[1] > 1.3 * fundamental[0]


# Pairs


def test_clips_are_one_second_and_finite(pairs):
    assert pairs.noisy.shape == pairs.clean.shape == (COUNT, 32000)
    assert pairs.noisy.dtype == pairs.clean.dtype == np.float32
    assert np.isfinite(pairs.noisy).all()
    assert len(pairs.voices) == COUNT


def test_all_speakers_are_heard_equally_often(pairs):
    heard = Counter(voice.partition("+")[2] for voice in pairs.voices)
    assert set(heard) == {voice.partition("+")[2] for voice in espeak.voices()}
    assert set(heard.values()) == {2}
    assert set(pairs.voices) <= set(espeak.voices())
    assert len({voice.partition("+")[0] for voice in pairs.voices}) >= 8  # accents


def test_speech_ends_at_1900_hz(pairs):
    energy = spectra(pairs.clean)
    assert (energy[:, 1901:].sum(1) < 1e-6 * energy.sum(1)).all()
    assert np.median(energy[:, 1000:1800].sum(1) / energy.sum(1)) > 0.01  # and reaches that far


def test_noise_fills_14_to_15_5_khz_evenly(pairs):
    energy = spectra(pairs.noisy.astype(float) - pairs.clean)
    band = energy[:, 13998:15503].sum(1)
    assert (band > 0.999 * energy.sum(1)).all()
    tenths = energy[:, 14000:15500].reshape(COUNT, 15, 100).sum((0, 2))
    assert np.ptp(10 * np.log10(tenths)) < 0.5


def test_every_clip_has_its_own_gaussian_noise(pairs):
    noise = pairs.noisy.astype(float) - pairs.clean
    noise /= noise.std(1, keepdims=True)
    likeness = noise @ noise.T / noise.shape[1] - np.eye(COUNT)
    assert np.abs(likeness).max() < 0.12  # 1,500 Hz for 1 s: 3,000 free values, 6 standard deviations
    assert np.mean(noise**4) == pytest.approx(3, abs=0.05)


def test_snr_is_the_labs(pairs):
    noise = pairs.noisy.astype(np.float64) - pairs.clean.astype(np.float64)
    measured = 10 * np.log10((pairs.clean.astype(np.float64) ** 2).sum(1) / (noise**2).sum(1))
    assert measured.min() >= -23.001
    assert measured.max() <= -13.999
    assert measured.mean() == pytest.approx(-18.5, abs=3 * 9 / np.sqrt(12 * COUNT))


def test_level_is_the_labs(pairs):
    power = np.mean(pairs.clean.astype(float) ** 2, axis=1)
    assert power.mean() == pytest.approx(8e-8, rel=0.12)
    assert 6 < np.ptp(10 * np.log10(power)) <= 8.001


def test_clips_are_mostly_speech(pairs):
    frames = np.mean(pairs.clean.reshape(COUNT, 50, 640).astype(float) ** 2, axis=2)  # of 20 ms
    heard = np.mean(frames > 1e-3 * frames.max(1, keepdims=True), axis=1)
    assert heard.mean() > 0.8
    assert heard.min() > 0.3


def test_the_best_81_tap_filter_reaches_34_db(pairs):
    taps, size = 81, 65536
    own, cross = np.zeros(taps), np.zeros(taps)
    for noisy, clean in zip(pairs.noisy.astype(float), pairs.clean.astype(float), strict=True):
        spectrum = np.fft.rfft(noisy, size)
        own += np.fft.irfft(np.abs(spectrum) ** 2)[:taps]
        cross += np.fft.irfft(np.fft.rfft(clean, size) * spectrum.conj())[:taps]
    best = linalg.solve_toeplitz(own, cross)
    error = signal.lfilter(best, 1, pairs.noisy.astype(float), axis=1) - pairs.clean
    settled, whole = (
        10 * np.log10(np.sum(pairs.clean[:, start:].astype(float) ** 2) / np.sum(error[:, start:] ** 2))
        for start in (taps - 1, 0)
    )
    assert settled == pytest.approx(34, abs=2)
    assert whole == pytest.approx(29.3, abs=2)  # zeros before the clip's start: the noise's onset gets through


def test_the_same_clip_whatever_the_count(pairs):
    few = speak_clips(7)
    np.testing.assert_array_equal(few.noisy, pairs.noisy[:7])
    np.testing.assert_array_equal(few.clean, pairs.clean[:7])
    assert few.voices == pairs.voices[:7]


def test_another_process_makes_the_same_clips(pairs):
    code = """
import hashlib
from speechml.data.synthetic.pairs import spoken_pairs
pairs = list(spoken_pairs(60))
print(hashlib.sha256(b"".join(p.waveforms[role].tobytes() for role in ("noisy", "clean") for p in pairs)).hexdigest())
"""
    here = hashlib.sha256(pairs.noisy[:60].tobytes() + pairs.clean[:60].tobytes()).hexdigest()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == here


# Split


@pytest.mark.parametrize("seed", range(3))
def test_no_speaker_is_in_two_splits_and_shares_are_met(pairs, seed):
    voices = [pairs.voices[number % 104] for number in range(1500)]
    splits = split_by_voice(voices, SHARES, seed)
    speakers = [{voice_speaker(voices[clip]) for clip in clips} for clips in splits.values()]
    assert all(not a & b for a, b in combinations(speakers, 2))
    assert min(map(len, speakers)) >= 5
    np.testing.assert_array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(1500))
    for split, share in SHARES.items():
        assert len(splits[split]) == pytest.approx(1500 * share, abs=15)
    assert splits == split_by_voice(voices, SHARES, seed)
    assert splits != split_by_voice(voices, SHARES, seed + 1)


def test_one_speaker_has_all_accents_and_versions():
    assert voice_speaker("en-us+f2") == voice_speaker("en-gb-scotland+f2") != voice_speaker("en-us+f3")
    assert voice_speaker("en+steph") == voice_speaker("en+steph3")
    assert voice_speaker("en+Mike") == voice_speaker("en+mike2")
    assert len({voice_speaker(voice) for voice in espeak.voices()}) >= 80


def test_impossible_splits_are_refused(tmp_path):
    data = SpokenPairs(sample_rate=32000, clip_s=1, batch_size=4, split_seed=0, count=2, cache=str(tmp_path))
    with pytest.raises(UserError, match=r"too few for a (val|test) split; give more pairs with data\.count"):
        _ = data.corpus
