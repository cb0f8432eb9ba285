"""Naming what recordings hold: words, in clips of a second or in windows along longer ones; or the genre of music."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import soxr
import torch

from speechml.data.clips import CLIP_S
from speechml.errors import UserError
from speechml.inference.denoise import blocks
from speechml.inference.export import model_of
from speechml.music.recordings import BLOCK_S, rows_of
from speechml.music.task import FeatureClassifier
from speechml.runs.tables import table
from speechml.storage import audio
from speechml.storage.progress import progress
from speechml.tasks import Classifier

WINDOW_S, HOP_S = CLIP_S, 0.25  # s; a window is as long as the clips that a network learned from
TOP = 3  # words that are told
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
    """The likeliest words of a stretch, with their probabilities."""

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
    if form not in FORMATS:
        raise UserError(f"--format is {form}; it can be {', '.join(FORMATS)}")
    task = model_of(run)
    if not isinstance(task, (Classifier, FeatureClassifier)):
        raise UserError(f"{run} is no classifier; speechml denoise uses it")
    files = [file for given in recordings for file in (audio.find(given) if given.is_dir() else [given])]
    shown = progress(files, len(files), "classifying")
    unusable: list[str] = []
    if isinstance(task, FeatureClassifier):
        answers = list(_of_usable(shown, lambda file: [genre(task, file)], unusable))
    else:
        answers = list(classified(task, _of_usable(shown, lambda file: windows(file, task.sample_rate), unusable)))
    if answers:
        print({"table": as_table, "csv": as_csv, "json": as_json}[form](answers), end="")
    if unusable:
        others = f"; and {len(unusable) - 1} more of {len(files)} files" if len(unusable) > 1 else ""
        raise UserError(unusable[0] + others)


def _of_usable(files: Iterable[Path], of: Callable[[Path], Iterable[T]], unusable: list[str]) -> Iterator[T]:
    """What `of` gives for each file; the reasons of files that cannot be used are put into `unusable`."""
    for file in files:
        try:
            yield from of(file)
        except UserError as error:
            unusable.append(str(error))


def genre(task: FeatureClassifier, file: Path) -> Answer:
    """The likeliest genres of a file of music: the mean of the probabilities of its blocks.

    Raises:
        UserError: it cannot be read, or holds no block that is not silent.
    """
    rows = rows_of(file)
    if rows.unreadable or not len(rows.features):
        raise UserError(f"{file} cannot be classified: {rows.unreadable or f'silent, or shorter than {BLOCK_S} s'}")
    with torch.no_grad():
        shares = task(torch.from_numpy(rows.features).float()).softmax(1).mean(0)
    header = audio.info(file)
    return Answer(str(file), 0.0, header.frames / header.rate, likeliest(task.classes, shares))


def likeliest(classes: list[str], shares: torch.Tensor) -> list[tuple[str, float]]:
    """The TOP classes with their probabilities. Shape: shares (classes,)."""
    top = shares.topk(min(TOP, len(shares)))
    return [(classes[n], value) for n, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)]


def windows(file: Path, rate: int) -> Iterator[Window]:
    """Windows of WINDOW_S every HOP_S until all of a recording is in one; a short recording is one window.

    Args:
        rate: Hz that the samples are brought to; channels are mixed down.
    """
    header = audio.info(file)
    size, hop = round(WINDOW_S * rate), round(HOP_S * rate)
    stream = soxr.ResampleStream(header.rate, rate, 1) if header.rate != rate else None
    held, first, none_yet = np.zeros(0, np.float32), 0, True
    for block, last in blocks(file, round(READ_S * header.rate)):
        if not np.isfinite(block).all():
            raise UserError(f"{file} holds NaN or infinite samples; export it again")
        mono = block.mean(1)
        held = np.concatenate([held, mono if stream is None else stream.resample_chunk(mono, last)])
        while len(held) > size or (last and (len(held) > 0 or none_yet)):
            whole, none_yet = held[:size], False
            end = min(first + size, first + len(whole))
            yield Window(file, first / rate, end / rate, np.pad(whole, (0, size - len(whole))))
            if last and len(held) <= size:
                return
            held, first = held[hop:], first + hop


def classified(task: Classifier, found: Iterator[Window]) -> Iterator[Answer]:
    """The likeliest words of each window, in order."""
    batch: list[Window] = []
    for window in found:
        batch.append(window)
        if len(batch) == BATCH:
            yield from _answers(task, batch)
            batch = []
    if batch:
        yield from _answers(task, batch)


def _answers(task: Classifier, batch: list[Window]) -> Iterator[Answer]:
    with torch.no_grad():
        shares = task(torch.from_numpy(np.stack([w.samples for w in batch]))[:, None]).softmax(1)
    for window, row in zip(batch, shares, strict=True):
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(1, len(answers[0].words) + 1)
    writer.writerow(
        ["file", "start_s", "end_s", *(f"{what}{rank}" for rank in ranks for what in ("word", "probability"))]
    )
    for a in answers:
        writer.writerow(
            [a.file, f"{a.start_s:.3f}", f"{a.end_s:.3f}", *(x for w, p in a.words for x in (w, f"{p:.4f}"))]
        )
    return text.getvalue()


def as_json(answers: list[Answer]) -> str:
    """A list of objects with file, start_s, end_s, and words from the likeliest on."""
    content: list[dict[str, Any]] = [
        {
            "file": a.file, "start_s": round(a.start_s, 3), "end_s": round(a.end_s, 3),
            "words": [{"word": word, "probability": round(share, 4)} for word, share in a.words],
        }
        for a in answers
    ]  # fmt: skip
    return json.dumps(content, indent=1) + "\n"
