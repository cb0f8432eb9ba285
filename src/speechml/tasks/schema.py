"""The keys of tasks: how a network is trained and scored, and in `net` the network itself."""

from __future__ import annotations

from typing import ClassVar, Literal

from speechml.config.schema import Schema, key, refuse_value
from speechml.config.third_party import Schedule
from speechml.contracts import HIGHEST_RATE, Config
from speechml.data.schema import LOWEST_RATE

MOST_VALUES = 10_000_000  # of a spectrogram, a second: more take the memory of a whole machine


def check_values(name: str, hop: float, count: float) -> None:
    """Refuse a hop by which a second of sound becomes `count` values of its spectrogram, where they are too many."""
    if count > MOST_VALUES:
        raise refuse_value(
            name, hop, "with this n_fft it must be larger: a second would become more values than fit in memory"
        )


class Task(Schema):
    """What all tasks have in common."""

    net: Config = key("the network and its size")


class Classification(Task):
    """Clips or rows, with a class each."""

    classes: list[str] | None = key("names in the order of the outputs; null: those of the data", None)
    label_smoothing: float = key("share of the target that all classes have in common; a little keeps the network from being "
                                 "too sure", 0.0, unit="share", least=0, below=1)  # fmt: skip
    loss: Config | None = key("a module of yours that training lowers, of logits and targets; null: cross entropy", None,
                              later=True)  # fmt: skip


class WaveformDenoiser(Task):
    """Noisy waveforms in, clean ones out."""

    sample_rate: int = key(
        "rate that the network works at: that of the data", unit="Hz", least=LOWEST_RATE, most=HIGHEST_RATE
    )
    loss: Literal["l1", "mse", "mse_sum", "snr", "si_sdr", "mr_stft"] | Config = key(
        "what training lowers: l1, mse per sample, mse_sum of a batch; snr, si_sdr: minus dB; mr_stft: of magnitudes",
        "l1",
    )
    normalize: Literal[False, True, "recording"] = key("recording: each is divided by its own RMS first, so no level is too "
        "high or too low; true: by that of the noisy training waveforms", False)  # fmt: skip


class Remixing(Schema):
    """How far runs of frames are varied. More variation reduces overfitting."""

    remix: float = key("runs that get the noise of another run, so that new mixtures are heard; needs sampling=runs", 0.0,
                       unit="share of runs", least=0, most=1)  # fmt: skip
    noise_db: float = key("remixed noise is louder or softer by up to this", 0.0, unit="dB", least=0)
    gain_db: float = key("an item is louder or softer by up to this", 0.0, unit="dB", least=0)


class MagnitudeDenoiser(Task):
    """Magnitudes of noisy spectra in, clean ones out."""

    sample_rate: int = key(
        "rate that the network works at: that of the data", unit="Hz", least=LOWEST_RATE, most=HIGHEST_RATE
    )
    n_fft: int = key("frame of the STFT; longer frames tell frequencies apart better and moments worse; gives n_fft / 2 + 1 "
                     "bins", 1024, unit="samples", above=0, most=2**16, allowed="even")  # fmt: skip
    hop: int = key("distance of two frames; a smaller one gives more frames and costs time", 512, unit="samples", above=0,
                   most=2**15, allowed="half of model.n_fft or less")  # fmt: skip
    loss: Literal["mse", "l1", "compressed"] | Config = key("what training lowers, of magnitudes in units of the clean RMS; l1 "
        "minds rare large errors less, compressed (of their roots) soft sounds more", "mse")  # fmt: skip
    target: Literal["magnitude", "phase_sensitive"] = key("what the network is to give: the clean magnitude, or the one that "
                                                          "goes best with the noisy phase", "magnitude")  # fmt: skip
    sampling: Literal["windows", "runs"] = key("windows: single frames, shuffled; runs: consecutive ones computed together, "
                                               "faster, and they can be augmented", "windows")  # fmt: skip
    run: int = key("length of a run (sampling=runs); longer ones are cheaper a frame, but frames of one run are alike", 64,
                   unit="frames", least=1)  # fmt: skip
    passes: int = key("how often an epoch goes over the recordings, with other runs each time; set 1 for hours of recordings",
                      1, unit="times an epoch", least=1)  # fmt: skip
    padding: Literal["silent", "none"] = key("silent: silence stands before a recording, so every frame is cleaned; none: its "
                                             "first frames stay noisy", "silent")  # fmt: skip
    normalize: Literal[False, "recording"] = key("recording: each is brought to the RMS of the noisy training recordings "
                                                 "first, and back", False, later=True)  # fmt: skip
    augment: Remixing | None = key("how far runs are varied; null: not at all", None)
    seed: int = key("decides the tiny random frames that stand for silence before a recording; follows seed", 0)

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        n_fft, hop, rate = node.get("n_fft", 1024), node.get("hop", 512), node.get("sample_rate", LOWEST_RATE)
        check_values(f"{where}hop", hop, n_fft * rate / hop / 2)


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


class WarmupCosine(Schedule):
    """The learning rate rises to that of the optimizer, then falls along half a cosine, over the whole training."""

    FURTHER: ClassVar = {"last_epoch": Literal[-1]}
    warmup: float = key("how long the learning rate rises; a longer rise is gentler, and leaves less time to settle", 0.1,
                        unit="share of the steps", least=0, below=1)  # fmt: skip
    total_steps: int | None = key("steps until the end; null: those of the whole training", None, unit="steps", least=1)
    eta_min: float = key("the learning rate at the end", 0.0, least=0)
