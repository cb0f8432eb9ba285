"""Noisy and clean speech made from nothing: stands in for the recordings of labs 2A and 2B.

The labs' data, measured on excerpts: 1 s at 32 kHz; speech below about 1.9 kHz; noise roughly flat between 14.0 and
15.5 kHz; SNR -14 to -23 dB; clean power about 8.1e-8. Here the speech is espeak-ng's and all numbers are those.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from speechml.data.synthetic import espeak
from speechml.storage.pack import Recording

SAMPLE_RATE = 32000  # Hz, lab 2A's file
SAMPLES = 32000  # of a clip: 1 s
CLEAN_POWER = 8e-8  # mean square of the clean clips, full scale being 1: lab 2A's 8.1e-8
LEVEL_SPREAD_DB = 4.0  # a clip's power is uniform in dB within +- this about the middle: "a few dB", chosen here
SNR_DB = (-23.0, -14.0)  # lab 2A; uniform, mean -18.5
SPEECH_HZ = (1800.0, 1900.0)  # full below the first, nothing above the second: lab 2A's 1.9 kHz, transition chosen here
NOISE_HZ = (14000, 15500)  # lab 2A
FLOOR_POWER = 3e-12
"""Mean square of the white floor under each noisy clip, 44 dB below the speech.

Without one, nothing but the clips' edges keeps the equations of the best filter from being singular, as no recording
is. The level is chosen: with it the best 81-tap filter gives the 34 dB that lab 2A's gives on such data, from the 81st
sample on. Over whole clips it gives 29 dB: before a clip's start the filter sees zeros, and until they have passed the
noise, 18.5 dB above the speech, gets through."""


_CONTEXT_S = 0.1  # speech kept on both sides of a cut while filtering: the response to a 100 Hz transition is shorter
_BATCH = 50  # clips transformed at once: larger is no faster and takes more memory

_OPENINGS = (
    "my neighbour", "the old farmer", "our new teacher", "a tired traveller", "the little girl", "her older brother",
    "the bus driver", "nobody at home", "the captain", "someone upstairs", "the young doctor", "an honest baker",
    "the whole family", "your best friend", "the postman", "every morning he", "this evening she", "last winter we",
    "after dinner they", "on rainy days I", "before the storm we", "the quiet student", "a friendly stranger",
    "the hungry dog", "the grey cat",
)  # fmt: skip
_ENDINGS = (
    "left the kitchen window open again", "walked slowly down to the river", "carried a basket of red apples",
    "waited an hour for the last train", "found seven coins under the table", "painted the garden gate dark green",
    "never answered the ringing phone", "told a long story about the sea", "looked for shelter near the barn",
    "wanted bread and butter for breakfast", "moved the heavy boxes into the hall", "followed the road over the hill",
    "heard music from the house next door", "brought warm blankets and some tea", "learned to row a wooden boat",
    "counted the stars until midnight", "remembered the name of the village", "planted onions along the wall",
    "would rather stay than go away", "opened the letter without a word", "borrowed a ladder from the mill",
    "ran across the yard to the well", "made room for one more guest", "drew a map of the whole island",
)  # fmt: skip


class _Clip(NamedTuple):
    voice: str
    speech: NDArray[np.float32]  # float32 (sample,), 1 s and the context at espeak-ng's rate
    power: float
    snr_db: float
    noise: NDArray[np.complex64]  # complex64 (bin,), white in NOISE_HZ
    floor: NDArray[np.float32]  # float32 (SAMPLES,), standard normal


def spoken_pairs(count: int) -> Iterator[Recording]:
    """Make noisy and clean clips of spoken sentences, the labs' 2A/2B data made anew: 1,500 take about 10 s.

    A clip, float32 (SAMPLES,), depends on its own number alone, whatever the count; its speaker is a voice.
    """
    voices = espeak.one_voice_a_speaker()
    for start in range(0, count, _BATCH):
        clips = [_draw(number, voices) for number in range(start, min(start + _BATCH, count))]
        clean = _clean(clips)
        noisy = clean + _noise(clips, clean)
        for i, clip in enumerate(clips):
            name = f"{start + i:04d}_{clip.voice.replace('+', '_')}"
            yield Recording(name, {"noisy": noisy[i], "clean": clean[i]}, clip.voice)


def sentence(random: np.random.Generator) -> str:
    """Somebody did something: one of 600 sentences."""
    return f"{random.choice(_OPENINGS)} {random.choice(_ENDINGS)}"


def _draw(number: int, voices: list[str]) -> _Clip:
    """Everything that is drawn for one clip, from its own random generator."""
    random = np.random.default_rng([0, number])
    voice = voices[number % len(voices)]
    text = sentence(random)
    # Manner within what sounds natural, chosen here: espeak-ng's defaults are 175 words a minute, 50, 50.
    rate, pitch, pitch_range = (int(random.integers(low, high)) for low, high in ((140, 201), (30, 71), (30, 71)))
    speech = _cut(espeak.say(text, voice, rate, pitch, pitch_range), random)
    spread = np.log(10) / 10 * LEVEL_SPREAD_DB
    middle = CLEAN_POWER * spread / np.sinh(spread)  # the mean of 10^(u/10), u uniform in +-d dB, is sinh(a)/a
    return _Clip(
        voice=voice,
        speech=speech,
        power=middle * 10 ** random.uniform(-LEVEL_SPREAD_DB / 10, LEVEL_SPREAD_DB / 10),
        snr_db=random.uniform(*SNR_DB),
        noise=random.standard_normal(2 * (NOISE_HZ[1] - NOISE_HZ[0] + 1), np.float32).view(np.complex64),
        floor=random.standard_normal(SAMPLES, np.float32),
    )


def _cut(said: NDArray[np.int16], random: np.random.Generator) -> NDArray[np.float32]:
    """One second from anywhere in what was said, with context on both sides; zeros where there is no more."""
    second, context = espeak.SAMPLE_RATE, round(_CONTEXT_S * espeak.SAMPLE_RATE)
    loud = np.flatnonzero(np.abs(said.astype(np.int32)) > 0.02 * np.abs(said.astype(np.int32)).max())
    first, spare = int(loud[0]), int(loud[-1]) + 1 - int(loud[0]) - second
    start = first + int(random.integers(min(spare, 0), max(spare, 0) + 1))
    around = np.pad(said.astype(np.float32), second + context)  # so that no cut reaches past an end
    return around[start + second : start + 2 * second + 2 * context]


def _clean(clips: list[_Clip]) -> NDArray[np.float32]:
    """Band-limited and resampled in one step, each clip at its power: float32 (clip, SAMPLES)."""
    speech = np.stack([clip.speech for clip in clips])
    spectrum = fft.rfft(speech, workers=-1)
    hertz = fft.rfftfreq(speech.shape[1], 1 / espeak.SAMPLE_RATE)
    full, none = SPEECH_HZ
    spectrum *= (0.5 + 0.5 * np.cos(np.pi * np.clip((hertz - full) / (none - full), 0, 1))).astype(np.float32)
    length = speech.shape[1] * SAMPLE_RATE // espeak.SAMPLE_RATE
    at_rate = fft.irfft(spectrum, n=length, workers=-1)  # pads with zeros: resampling without a second filter
    edge = (length - SAMPLES) // 2
    cut = at_rate[:, edge : edge + SAMPLES]
    power = np.array([clip.power for clip in clips])
    return cut * np.sqrt(power / np.mean(np.square(cut, dtype=np.float64), axis=1)).astype(np.float32)[:, None]


def _noise(clips: list[_Clip], clean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Band noise on the white floor, together at the clip's SNR: float32 (clip, SAMPLES)."""
    spectrum = np.zeros((len(clips), SAMPLES // 2 + 1), np.complex64)
    spectrum[:, NOISE_HZ[0] : NOISE_HZ[1] + 1] = [clip.noise for clip in clips]  # a clip of 1 s: bins of 1 Hz
    band = fft.irfft(spectrum, n=SAMPLES, workers=-1).astype(np.float64)
    floor = np.sqrt(FLOOR_POWER) * np.stack([clip.floor for clip in clips]).astype(np.float64)
    wanted = np.sum(np.square(clean, dtype=np.float64), axis=1) / 10 ** (np.array([c.snr_db for c in clips]) / 10)
    # The gain g for which sum (g band + floor)^2 is what is wanted.
    a, b, c = np.sum(band**2, axis=1), np.sum(band * floor, axis=1), np.sum(floor**2, axis=1) - wanted
    gain = (np.sqrt(b**2 - a * c) - b) / a
    return (gain[:, None] * band + floor).astype(np.float32)
