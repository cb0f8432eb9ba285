"""The keys of data: recordings, how they are split into training, validation and test, and how many make a batch.

Each data module inherits from the schema of its name: its constructor takes these keys, and checks them by it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from speechml.config.schema import Schema, key, refuse_value
from speechml.contracts import HIGHEST_RATE, Config
from speechml.errors import UserError
from speechml.lazy import import_on_use

SPOKEN_RECIPE = 2
"""Of the embedded recordings; raised when their samples become others, and with it the ids of the runs on them. The
first gave other bits with other versions of numpy and scipy."""
LOWEST_RATE = 100  # Hz
CACHE = "~/.cache/speechml"
SEED = 2**63 - 1  # largest, and with a minus smallest, that torch takes


class Data(Schema):
    """What all data have in common."""

    batch_size: int = key("items of a step, over all processes together; more makes steps smoother, fewer and larger in memory",
                          32, unit="clips, windows or runs", least=1)  # fmt: skip
    split_seed: int = key("decides what is test and what validates; apart from seed, so that runs which differ by seed share "
                          "a test set", 0, least=-SEED, most=SEED)  # fmt: skip
    seed: int = key("order of the training items (and of mixing, where data are mixed)", 0, least=-SEED, most=SEED)
    cache: str = key("folder of packed recordings", CACHE)


class Recordings(Data):
    """Recordings, brought to one rate."""

    sample_rate: int = key("rate that recordings are brought to and the network works at; a higher one keeps higher sounds "
                           "and costs time", 16000, unit="Hz", least=LOWEST_RATE, most=HIGHEST_RATE)  # fmt: skip


class Pairs(Recordings):
    """Noisy recordings and the clean ones."""

    clip_s: float = key("length of a training clip of waveform networks; longer ones show more context, in fewer clips",
                        1.0, unit="s", above=0, most=3600)  # fmt: skip


class Files(Schema):
    """Audio files of any kind."""

    stereo: Literal["mix", "refuse"] = key(
        "mix averages the channels of a recording; refuse takes mono files only", "mix"
    )


class Speakers(Schema):
    """Recordings whose names say who speaks."""

    speaker: str | int | None = key("where the speaker stands in file names; null: as in published corpora, or names all like "
        "george_0; none: as in these corpora alone", None, later=True,
        allowed="none, a regular expression with one group, or the level of a folder, as 0 or -1")  # fmt: skip


class PairFiles(Files):
    """Pairs of audio files."""

    align: bool = key("true shifts each noisy recording by the constant delay found, up to 0.5 s, and cuts what one alone has",
                      False, later=True)  # fmt: skip


class SpokenPairs(Pairs):
    """Pairs of 1 s at 32 kHz, spoken by espeak-ng's voices."""

    sample_rate: Literal[32000] = key("the embedded pairs are made at this rate", 32000, unit="Hz")
    clip_s: Literal[1] = key("the embedded pairs are made of this length", 1, unit="s")
    count: int = key("how many pairs", 1500, unit="pairs", least=1, most=20_000)

    @classmethod
    def recipe(cls, node: Config) -> int:  # noqa: ARG003 (all of it is spoken)
        return SPOKEN_RECIPE


class SpokenMixtures(Pairs):
    """Sentences of espeak-ng's voices in noise of many kinds, at 16 kHz."""

    sample_rate: Literal[16000] = key("the embedded sentences are made at this rate", 16000, unit="Hz")
    count: int = key("how many sentences of 3 s", 900, unit="recordings", least=1, most=20_000)
    snr_db: list[float] = key("signal-to-noise ratios of the mixtures, uniform in dB; lower is noisier and harder",
                              [0.0, 15.0], unit="dB", allowed="[lowest, highest]")  # fmt: skip

    @classmethod
    def recipe(cls, node: Config) -> int:  # noqa: ARG003 (all of it is spoken)
        return SPOKEN_RECIPE

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        check_snr(node, where)


class WavPairs(Speakers, Pairs, PairFiles):
    """A folder with noisy/ and clean/, files of equal names in both."""

    split: Literal["folders", "all"] = key("folders: train/, val/ and test/ where they are there, else 60/20/20 by file or "
        "speaker; all: every pair is test, for speechml-evaluate", "folders", later=True)  # fmt: skip

    root: Path = key(
        "where the recordings lie; kept as typed in the identity of the run", allowed="a folder that exists"
    )


class MixedPairs(Speakers, Pairs, Files):
    """Clean speech and noise, mixed at random signal-to-noise ratios."""

    split: Literal["speaker", "all"] = key("speaker: test speakers are never heard in training; all: every recording is test, "
                                           "for speechml-evaluate", "speaker", later=True)  # fmt: skip

    clean: Path = key("clean speech that is mixed with noise; speakers of the test are never heard in training",
                      allowed="a folder with one folder a speaker, or any with data.speaker")  # fmt: skip
    noise: Path = key("noise that is mixed in; cut in time, so that none heard in training comes back in a score",
                      allowed="a folder of recordings")  # fmt: skip
    snr_db: list[float] = key("signal-to-noise ratios of the mixtures, uniform in dB; lower is noisier and harder",
                              [0.0, 15.0], unit="dB", allowed="[lowest, highest]")  # fmt: skip

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        check_snr(node, where)


def check_snr(node: Config, where: str) -> None:
    """Refuse a range of SNRs that is none."""
    snr_db = node.get("snr_db", [0.0, 15.0])
    if len(snr_db) != 2 or snr_db[0] > snr_db[1]:
        raise refuse_value(f"{where}snr_db", snr_db, "it must be [lowest, highest]")


class LabPairs(Pairs):
    """The labs' own recordings, data_lab_2A.pt or data_lab_2B.pt."""

    split: Literal["random", "all"] = key("random: data.test_pairs pairs are test; all: every pair is, for speechml-evaluate",
                                          "random", later=True)  # fmt: skip

    root: Path = key("the labs' own recordings", allowed="the .pt file, or the folder it lies in")
    sample_rate: int = key("rate that the .pt file was recorded at, which the file does not say; nothing is resampled",
                           32000, unit="Hz", least=LOWEST_RATE, most=HIGHEST_RATE)  # fmt: skip
    test_pairs: int = key("pairs for test; more make scores surer, training poorer; at most a fifth of all", 100, unit="pairs",
                          least=1)  # fmt: skip
    val_pairs: int | None = key("pairs for validation instead of training; 0: none, as in the labs; null: as many as for "
                                "test", None, unit="pairs", least=0, later=True)  # fmt: skip


class RecordingPair(Pairs, PairFiles):
    """One long recording, noisy and clean."""

    split: Literal["time", "all"] = key("time: the end of the recording is test (data.heldout); all: all of it is, for "
                                        "speechml-evaluate", "time", later=True)  # fmt: skip

    root: Path | None = key("the course's files; null (and no files given): a stand-in spoken here", None,
        allowed="a folder with train_clean*.wav and train_dirty*.wav (test_x*.wav to listen to)")  # fmt: skip
    clean_file: Path | None = key("the clean recording of the pair, of the same length as the noisy one", None,
                                  allowed="an audio file, with data.noisy_file; not with data.root")  # fmt: skip
    noisy_file: Path | None = key("the noisy recording of the pair, of the same length as the clean one", None,
                                  allowed="an audio file, with data.clean_file; not with data.root")  # fmt: skip
    heldout: float = key("end of the recording that is only scored; 0 trains on all of it, as homework 2 did: then no score "
                         "is a test", 0.2, unit="share", least=0, below=0.9)  # fmt: skip

    @classmethod
    def recipe(cls, node: Config) -> int:
        given = any(node.get(name) is not None for name in ("root", "clean_file", "noisy_file"))
        return 1 if given else SPOKEN_RECIPE

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        files = [name for name in ("clean_file", "noisy_file") if node.get(name) is not None]
        if len(files) == 1:
            raise UserError("a pair has two files", fix=f"give both {where}clean_file=FILE and {where}noisy_file=FILE")
        if files and node.get("root") is not None:
            raise UserError(f"{where}root and {where}clean_file name two recordings", fix="give one of them")


def as_plain(value: object) -> object:
    """A value as a config holds it: paths as text, tuples as lists, NumPy's numbers as Python's."""
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else getattr(value, "tolist", lambda: value)()


# Few runs need these.
__getattr__ = import_on_use(
    __name__, dict.fromkeys(("SpeechCommands", "SpokenWords", "WORDS", "Words"), "speechml.data.word_schema")
)
