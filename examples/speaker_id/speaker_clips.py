"""Who speaks: clips whose class is their speaker, divided so that nothing that is said in the test was heard in training."""

from pathlib import Path
from typing import Literal

from speechml.data import ClipCorpus, Provenance, WordDataModule, find_audio, find_in_names, key, split_evenly

NOTES = [
    "every speaker is in every split, as telling them apart needs: the test is of other words, not of other people",
    "which clips were recorded in one session is not known: room and microphone may be part of what is told apart",
]


class SpeakerClips(WordDataModule):
    """Clips of several speakers, who are the classes; about 60/20/20 of each speaker's, by what is said."""

    root: Path = key("folder of the recordings", allowed="a folder that exists")
    speaker: str | int = key("where the speaker stands in the names of files: a regular expression with one group, or the level "
                             "of a folder", -1)  # fmt: skip
    text: str | int | None = key(
        "where what is said stands in them; null: not known, and clips are divided one by one", None
    )
    split: Literal["text", "all"] = key(
        "text: no text of the test was heard in training; all: every clip is test", "text"
    )

    def read_corpus(self) -> ClipCorpus:
        names = [path.relative_to(self.root).as_posix() for path in find_audio(self.root).paths]
        speakers = find_in_names(self.speaker, names)
        texts = names if self.text is None else find_in_names(self.text, names, "data.text")
        splits = split_evenly(texts, speakers, self.split_seed)
        protocol = "clip" if self.text is None else "text"
        return self.read_clips(self.root, names, speakers, splits, speakers, protocol, NOTES)

    def provenance(self) -> Provenance:
        """The speakers are in all splits by intention, and are what intervals go by; texts are what the audit looks for."""
        c = self.corpus
        texts = [None] * len(c.names) if self.text is None else find_in_names(self.text, c.names, "data.text")
        return super().provenance()._replace(sources={"speaker": c.speakers, "text": texts}, classes_are="speaker")
