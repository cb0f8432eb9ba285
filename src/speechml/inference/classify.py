"""Naming what recordings hold: words, in clips of a second or in windows along longer ones; or the genre of music."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, cast

import torch
from tqdm import tqdm

from speechml.contracts import FileClassifier, Stretch, WaveformTask, missing_members
from speechml.errors import UserError, echo
from speechml.inference.denoise import card_around
from speechml.inference.export import load_model
from speechml.report.level import level_remark
from speechml.runs.tables import check_choice, csv_text, table
from speechml.signal.level import decibels
from speechml.storage.audio_folders import list_recordings

TOP = 3  # classes that are named
BATCH = 128  # stretches that are computed together
FORMATS = ("table", "csv", "json")


class Answer(NamedTuple):
    """The likeliest classes of a stretch, with their probabilities."""

    file: str
    start_s: float
    end_s: float
    words: list[tuple[str, float]]


def classify_files(run: Path, recordings: list[Path], form: str) -> None:
    """Print the likeliest classes of files and folders of files, with times where a recording is longer than a clip.

    Recordings that cannot be read keep no other from being named.

    Raises:
        UserError: an unusable run, a run that is no classifier, or, after the rest is printed, unusable recordings.
    """
    check_choice("--format", form, FORMATS)
    task = load_model(run)
    if missing_members(task, FileClassifier):
        raise UserError(f"{run} is no classifier", fix="speechml denoise uses it")
    classifier = cast("FileClassifier", task)
    files = [file for given in recordings for file in list_recordings(given)]
    errors: list[UserError] = []
    levels_db: dict[str, float] = {}
    is_waveform = not missing_members(task, WaveformTask)

    def usable() -> Iterator[tuple[Path, Stretch]]:
        for file in tqdm(files, "classifying", leave=False, disable=None):
            try:
                for stretch in classifier.stretches(file):
                    if is_waveform:
                        level_db = decibels(float(stretch.inputs.square().mean(-1).sqrt().max()))
                        levels_db[str(file)] = max(levels_db.get(str(file), -math.inf), level_db)
                    yield file, stretch
            except UserError as error:
                errors.append(error)

    answers = list(classify(classifier.classes, task, usable()))
    if answers:
        echo({"table": as_table, "csv": as_csv, "json": as_json}[form](answers), end="", exact=form == "csv")
    if remark := level_remark(card_around(run), task, levels_db):
        echo(remark, file=sys.stderr)
    if errors:
        others = f"; and {len(errors) - 1} more of {len(files)} files" if len(errors) > 1 else ""
        raise UserError(f"{errors[0]}{others}")


def classify(
    classes: list[str], network: Callable[[torch.Tensor], torch.Tensor], stretches: Iterator[tuple[Path, Stretch]]
) -> Iterator[Answer]:
    """The likeliest classes of each stretch of a file, in order."""
    while batch := list(islice(stretches, BATCH)):
        inputs = [stretch.inputs for _, stretch in batch]
        with torch.no_grad():
            shares = network(torch.cat(inputs)).softmax(1).split([len(some) for some in inputs])
        for (file, _), of_stretch in zip(batch, shares, strict=True):
            if not torch.isfinite(of_stretch).all():
                fix = "it is not usable: train again with a lower optimizer.lr"
                raise UserError(f"the model gives values that are NaN or infinite for {file}", fix=fix)
        for (file, stretch), of_stretch in zip(batch, shares, strict=True):
            top = of_stretch.mean(0).topk(min(TOP, len(classes)))
            words = [(classes[n], share) for n, share in zip(top.indices.tolist(), top.values.tolist(), strict=True)]
            yield Answer(str(file), stretch.start_s, stretch.end_s, words)


def as_table(answers: list[Answer]) -> str:
    """One line a stretch."""
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
