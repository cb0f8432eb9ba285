"""The keys of tasks: how a network is trained and scored, and in `net` the network itself."""

from __future__ import annotations

from typing import ClassVar, Literal

from speechml.config.schema import Schema, key, refuse_value
from speechml.config.third_party import Schedule
from speechml.contracts import HIGHEST_RATE, Config
from speechml.data.schema import LOWEST_RATE
from speechml.lazy import import_on_use

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
    loss: Literal["mse", "l1", "compressed"] | Config = key("what training lowers, of magnitudes over the clean RMS; l1 "
        "minds rare large errors less, compressed (of roots) soft sounds more", "mse")  # fmt: skip
    target: Literal["magnitude", "phase_sensitive"] = key("what the network is to give: the clean magnitude, or the one that "
                                                          "goes best with the noisy phase", "magnitude")  # fmt: skip
    sampling: Literal["windows", "runs"] = key("windows: single frames, shuffled; runs: consecutive ones computed together, "
                                               "faster, and they can be augmented", "windows")  # fmt: skip
    run: int = key("length of a run (sampling=runs); longer ones are cheaper a frame, but frames of one run are alike", 64,
                   unit="frames", least=1)  # fmt: skip
    passes: int | None = key("how often an epoch goes over the recordings, with other runs each time; 1 for hours of them; null: "
        "few of them more often", 1, unit="times an epoch", least=1)  # fmt: skip
    padding: Literal["silent", "none"] = key("silent: silence stands before a recording, so every frame is cleaned; none: its "
                                             "first frames stay noisy", "silent")  # fmt: skip
    normalize: Literal[False, "recording", "runs"] = key("recording: each is brought to the RMS of the noisy training "
        "recordings first, and back; runs: so is each run of the training", False, later=True)  # fmt: skip
    augment: Remixing | None = key("how far runs are varied; null: not at all", None)
    seed: int = key("decides the tiny random frames that stand for silence before a recording; follows seed", 0)

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        n_fft, hop, rate = node.get("n_fft", 1024), node.get("hop", 512), node.get("sample_rate", LOWEST_RATE)
        check_values(f"{where}hop", hop, n_fft * rate / hop / 2)


class WarmupCosine(Schedule):
    """The learning rate rises to that of the optimizer, then falls along half a cosine, over the whole training."""

    FURTHER: ClassVar = {"last_epoch": Literal[-1]}
    warmup: float = key("how long the learning rate rises; a longer rise is gentler, and leaves less time to settle", 0.1,
                        unit="share of the steps", least=0, below=1)  # fmt: skip
    total_steps: int | None = key("steps until the end; null: those of the whole training", None, unit="steps", least=1)
    eta_min: float = key("the learning rate at the end", 0.0, least=0)


# Few runs need these.
__getattr__ = import_on_use(
    __name__, dict.fromkeys(("Augmentation", "Classifier", "FrontEnd"), "speechml.tasks.word_schema")
)
