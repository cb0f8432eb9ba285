"""The keys of data of words; loaded by runs on words only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from speechml.config.schema import key, refuse_value
from speechml.contracts import Config
from speechml.data.schema import SPOKEN_RECIPE, Files, Recordings, Speakers
from speechml.errors import UserError

# Of Speech Commands v0.01.
WORDS = (
    "bed", "bird", "cat", "dog", "down", "eight", "five", "four", "go", "happy", "house", "left", "marvin", "nine", "no",
    "off", "on", "one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "wow", "yes", "zero",
)  # fmt: skip


class Words(Recordings):
    """Clips with a word each."""

    batch_size: int = key("clips of a step, over all processes together; more makes steps smoother, fewer and larger in memory",
                          128, unit="clips", least=2)  # fmt: skip
    words: list[str] | None = key("the classes, in the order of the outputs; null: all words that there are", None,
                                  allowed="two different words at least; yes and no in quotes in a file")  # fmt: skip
    clips_per_word: int | None = key("training clips of each class at most, chosen by split_seed, to see what few are good for; "
                                     "validation and test stay; null: all", None, unit="clips", least=1, later=True)  # fmt: skip

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        words = node.get("words")
        if words is not None and len(set(words)) < max(2, len(words)):
            raise refuse_value(f"{where}words", words, "give at least two different ones")


class SpeechCommands(Speakers, Words, Files):
    """Speech Commands, or any folder that holds a folder of clips for each word."""

    root: Path = key(
        "where the recordings lie; kept as typed in the identity of the run", allowed="a folder that exists"
    )
    split: Literal["official", "speaker", "random", "all"] = key("official keeps every speaker in one split; speaker: "
        "60/20/20 by speaker; random (60/20/20 by clip) mixes speakers; all: test alone", "official")  # fmt: skip
    speaker: str | None = key("where the speaker stands in word/file.wav; null: as in published corpora, or names all like "
        "george_0; none: as in these corpora alone", None, later=True,
        allowed="none, or a regular expression with one group")  # fmt: skip
    word: str | int | None = key("where the class stands in file names, which may then lie in any folders; null: a folder "
        "for each, or names all like 7_george_12", None, later=True,
        allowed="a regular expression with one group, or the level of a folder, as 0 or -1")  # fmt: skip
    unknown: bool = key("true adds a class of all other words; needs data.words", False)
    silence: bool = key("true adds a class of background noise, from the folder _background_noise_", False)
    download: Literal["v0.01", "v0.02"] | None = key("version of Speech Commands that is fetched into a folder below "
        "data.root unless it is there (1 to 2 GB)", None, effect=False)  # fmt: skip

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        super().check(node, where)
        if node.get("unknown") and node.get("words") is None:
            raise UserError(f"{where}unknown is the class of all words but {where}words", fix="set words as well")


class SpokenWords(Words):
    """The 30 words of Speech Commands v0.01, spoken by espeak-ng's voices."""

    split: Literal["official", "random"] = key("official keeps every voice in one split; random (60/20/20 by clip) mixes "
                                               "voices, so its scores are too good", "official", later=True)  # fmt: skip
    voices: int | None = key(
        "how many of espeak-ng's voices speak; null: all; fewer is faster", None, unit="voices", least=3
    )

    @classmethod
    def recipe(cls, node: Config) -> int:  # noqa: ARG003 (all of it is spoken)
        return SPOKEN_RECIPE
