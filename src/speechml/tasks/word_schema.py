"""The keys of training on words: front end, augmentation, classifier; loaded by runs on words only."""

from __future__ import annotations

from typing import Literal

from speechml.config.schema import Schema, key, refuse_value
from speechml.contracts import HIGHEST_RATE, Config
from speechml.data.schema import LOWEST_RATE
from speechml.tasks.schema import Classification, check_values


class FrontEnd(Schema):
    """What the network sees: a spectrogram, or the waveform itself."""

    kind: Literal["power", "mel", "log_mel", "complex", "waveform"] = key(
        "power: |X|^2; mel: bands as the ear has them; log_mel: their logarithms; complex: two channels; waveform: no spectrum",
        "power")  # fmt: skip
    n_fft: int = key("length of the transform; the window is padded with zeros to it; gives n_fft / 2 + 1 bins", 512,
                     unit="samples", above=0, most=2**16, allowed="even, and a window or more")  # fmt: skip
    window_s: float = key("length of a window; longer ones tell frequencies apart better and moments worse", 0.03, unit="s",
                          above=0, most=10)  # fmt: skip
    hop_s: float = key("distance of two windows; a smaller one gives more frames and costs time", 0.01, unit="s", above=0,
                       most=10)  # fmt: skip
    mels: int = key("mel bands (mel and log_mel only); more show finer frequencies, and low ones may then hold no bin", 128,
                    unit="bands", above=0, most=1000)  # fmt: skip
    normalized: bool = key("whether the transform is divided by the length of the window", True)
    floor: float = key("power that log_mel adds to every band: what is far softer is heard as silence, whether a recording "
                       "or the zeros behind it", 1e-10, above=0, later=True)  # fmt: skip

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        hop_s = node.get("hop_s", 0.01)
        check_values(f"{where}hop_s", hop_s, node.get("n_fft", 512) / hop_s / 2)


class Augmentation(Schema):
    """How far clips are varied. More variation reduces overfitting."""

    shift_s: float = key("a clip is moved in time by up to this; zeros follow, so much of it cuts words", 0.0, unit="s",
                         least=0)  # fmt: skip
    speed: float = key("a clip is played faster or slower by up to this share; pitch changes with it", 0.0, unit="share",
                       least=0, below=1)  # fmt: skip
    gain_db: float = key("an item is louder or softer by up to this", 0.0, unit="dB", least=0)
    noise: float = key("clips that background noise is added to", 0.0, unit="share of clips", least=0, most=1)
    snr_db: list[float] = key("signal-to-noise ratios of the added noise", [0.0, 20.0], unit="dB",
                              allowed="[lowest, highest]")  # fmt: skip
    time_masks: int = key("stretches in time of a spectrogram that are set to its mean (SpecAugment)", 0, unit="stretches",
                          least=0)  # fmt: skip
    time_mask: int = key("longest of these stretches", 20, unit="frames", least=0)
    frequency_masks: int = key("stretches of frequencies that are set to the mean (SpecAugment)", 0, unit="stretches",
                               least=0)  # fmt: skip
    frequency_mask: int = key("widest of these stretches", 10, unit="bands", least=0)
    mix: float = key("clips that are mixed with another, labels and all (mixup)", 0.0, unit="share of clips", least=0,
                     most=1)  # fmt: skip
    ramp_epochs: int = key("over these noise, masks and mix rise from nothing, so short trainings hide little; 0: at once", 0,
                           unit="epochs", least=0, later=True)  # fmt: skip

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        snr_db = node.get("snr_db", [0.0, 20.0])
        if len(snr_db) != 2 or snr_db[0] > snr_db[1]:
            raise refuse_value(f"{where}snr_db", snr_db, "it must be [lowest, highest]")


class Classifier(Classification):
    """Words from spectrograms or waveforms."""

    sample_rate: int = key("rate that the network works at: that of the data", unit="Hz", least=LOWEST_RATE,
                           most=HIGHEST_RATE)  # fmt: skip
    front_end: FrontEnd | Config = key("the spectrogram that the network sees, or a module of yours that makes one")
    normalize: Literal[False, "recording"] = key("recording: each clip is brought to one RMS first, so no level is too high "
                                                 "or too low", False, later=True)  # fmt: skip
    augment: Augmentation | None = key("how far clips are varied; null: not at all", None)
    seed: int = key("decides how clips are augmented; follows seed", 0)
