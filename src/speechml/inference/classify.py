"""Naming what recordings hold: words, in clips of a second or in windows along longer ones; or the genre of music."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import soxr
import torch

from speechml.data.clips import CLIP_S
from speechml.errors import UserError
from speechml.inference.denoise import read_blocks
from speechml.inference.export import load_model
from speechml.runs.tables import check_choice, csv_text, table
from speechml.storage import audio
from speechml.storage.progress import progress
from speechml.tasks.classification import Classification
from speechml.tasks.word_classification import Classifier

WINDOW_S, HOP_S = CLIP_S, 0.25  # s; a window is as long as the clips that a network learned from
TOP = 3  # classes that are named
BATCH = 128  # windows that are computed together
READ_S = 30.0  # s of a recording that are read at a time
FORMATS = ("table", "csv", "json")
T = TypeVar("T")


class Window(NamedTuple):
    """A stretch of a recording, in seconds, and its samples (time,)."""

    file: Path
    start_s: float
    end_s: float
    samples: np.ndarray


class Answer(NamedTuple):
    """The likeliest classes of a stretch, with their probabilities."""

    file: str
    start_s: float
    end_s: float
    words: list[tuple[str, float]]


def classify_files(run: Path, recordings: list[Path], form: str) -> None:
    """Print the likeliest words of files and folders of files, with times where a recording is longer than a clip.

    A classifier of genres names each file as a whole. Recordings that cannot be read keep no other from being named.

    Raises:
        UserError: an unusable run, a run that is no classifier, or, after the rest is printed, unusable recordings.
    """
    check_choice("--format", form, FORMATS)
    task = load_model(run)
    if not isinstance(task, Classification):
        raise UserError(f"{run} is no classifier", fix="speechml denoise uses it")
    files = [file for given in recordings for file in (audio.find(given) if given.is_dir() else [given])]
    bar = progress(files, len(files), "classifying")
    errors: list[UserError] = []
    if isinstance(task, Classifier):
        rate = task.sample_rate
        answers = list(classify_windows(task, _from_usable(bar, lambda file: read_windows(file, rate), errors)))
    else:
        answers = list(_from_usable(bar, _whole_files(task), errors))
    if answers:
        print({"table": as_table, "csv": as_csv, "json": as_json}[form](answers), end="")
    if errors:
        others = f"; and {len(errors) - 1} more of {len(files)} files" if len(errors) > 1 else ""
        raise UserError(f"{errors[0]}{others}")


def _whole_files(task: Classification) -> Callable[[Path], list[Answer]]:
    """The one answer for a file, of a task that names recordings as a whole."""
    from speechml.music.task import FeatureClassifier

    if not isinstance(task, FeatureClassifier):
        raise UserError(f"{type(task).__name__} names no whole files", fix="give a run of words_tuned or genre_mlp")

    def answer(file: Path) -> list[Answer]:
        probabilities = task.classify_file(file)
        header = audio.info(file)
        return [Answer(str(file), 0.0, header.frames / header.rate, likeliest(task.classes, probabilities))]

    return answer


def _from_usable(files: Iterable[Path], read: Callable[[Path], Iterable[T]], errors: list[UserError]) -> Iterator[T]:
    """What `read` gives of each file; errors of files that cannot be used are put into `errors`."""
    for file in files:
        try:
            yield from read(file)
        except UserError as error:
            errors.append(error)


def likeliest(classes: list[str], probabilities: torch.Tensor) -> list[tuple[str, float]]:
    """The TOP classes with their probabilities. Shape: probabilities (classes,)."""
    top = probabilities.topk(min(TOP, len(probabilities)))
    return [(classes[n], value) for n, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)]


def read_windows(file: Path, rate: int) -> Iterator[Window]:
    """Windows of WINDOW_S every HOP_S until all of a recording is in one; a short recording is one window.

    Args:
        file: the recording.
        rate: Hz that the samples are brought to; channels are mixed down.
    """
    header = audio.info(file)
    size, hop = round(WINDOW_S * rate), round(HOP_S * rate)
    stream = soxr.ResampleStream(header.rate, rate, 1) if header.rate != rate else None
    held, first, none_yet = np.zeros(0, np.float32), 0, True
    for block, last in read_blocks(file, round(READ_S * header.rate)):
        mono = block.mean(1)
        held = np.concatenate([held, mono if stream is None else stream.resample_chunk(mono, last)])
        while len(held) > size or (last and (len(held) > 0 or none_yet)):
            whole, none_yet = held[:size], False
            end = min(first + size, first + len(whole))
            yield Window(file, first / rate, end / rate, np.pad(whole, (0, size - len(whole))))
            if last and len(held) <= size:
                return
            held, first = held[hop:], first + hop


def classify_windows(task: Classification, windows: Iterator[Window]) -> Iterator[Answer]:
    """The likeliest words of each window, in order."""
    for first in windows:
        batch = [first, *islice(windows, BATCH - 1)]
        with torch.no_grad():
            probabilities = task(torch.from_numpy(np.stack([w.samples for w in batch]))[:, None]).softmax(1)
        for window, row in zip(batch, probabilities, strict=True):
            yield Answer(str(window.file), window.start_s, window.end_s, likeliest(task.classes, row))


def as_table(answers: list[Answer]) -> str:
    """One line a window."""
    rows = [
        [a.file, f"{a.start_s:.2f}", f"{a.end_s:.2f}", *(f"{word} {share:.1%}" for word, share in a.words)]
        for a in answers
    ]
    ranks = [f"{rank}." for rank in range(1, len(answers[0].words) + 1)]
    return table(["file", "from (s)", "to (s)", *ranks], rows) + "\n"


def as_csv(answers: list[Answer]) -> str:
    """Columns file, start_s, end_s, word1, probability1, word2, ..."""
    ranks = range(1, len(answers[0].words) + 1)
    header = ["file", "start_s", "end_s", *(f"{what}{rank}" for rank in ranks for what in ("word", "probability"))]
    rows = [
        [a.file, f"{a.start_s:.3f}", f"{a.end_s:.3f}", *chain(*((word, f"{share:.4f}") for word, share in a.words))]
        for a in answers
    ]
    return csv_text(header, rows)


def as_json(answers: list[Answer]) -> str:
    """A list of objects with file, start_s, end_s, and words from the likeliest on."""
    content = [
        {
            "file": a.file, "start_s": round(a.start_s, 3), "end_s": round(a.end_s, 3),
            "words": [{"word": word, "probability": round(share, 4)} for word, share in a.words],
        }
        for a in answers
    ]  # fmt: skip
    return json.dumps(content, indent=1) + "\n"
