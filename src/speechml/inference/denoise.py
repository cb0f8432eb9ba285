"""Denoising of whole files with a trained model, in blocks, so that a file may be longer than memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from tqdm import tqdm

from speechml.contracts import FileDenoiser, missing_members
from speechml.errors import UserError, echo
from speechml.inference.export import load_model
from speechml.report.level import level_remark
from speechml.runs.card import RunCard, load_card
from speechml.signal.level import decibels
from speechml.storage import audio
from speechml.storage.audio_folders import list_recordings
from speechml.storage.building import remove_leftovers
from speechml.storage.files import make_folder, new_version

LOUDEST = 10.0  # times full scale, or the recording where that is louder: no denoiser makes sound of 20 dB more
BLOCK_S = 10.0  # seconds denoised at a time: long against any receptive field, small against any memory


def denoise_files(run: Path, recordings: list[Path], output: Path, overwrite: bool = False) -> list[Path]:
    """Denoise files and folders of files into `output`, keeping length, rate, channels and names.

    Names are checked before anything is written; each file appears whole or not at all. Recordings that cannot be denoised
    keep no other from it, and results of an earlier call are kept, so that a call can be repeated until all is done.

    Raises:
        UserError: an unusable run, two results of one name, files whose results are there already, or, after the rest
            is written, unusable recordings.
    """
    task = load_model(run)
    if missing_members(task, FileDenoiser):
        raise UserError(f"{run} is no denoiser", fix="speechml classify uses it")
    denoiser = cast("FileDenoiser", task)
    planned = plan_results(recordings, output)
    kept = {} if overwrite else {result: source for result, source in planned.items() if result.exists()}
    if kept and len(kept) == len(planned) and not any(given.is_dir() for given in recordings):
        more = f" (and {len(kept) - 1} more)" if len(kept) > 1 else ""
        fix = "add --overwrite to replace it, or give another folder with -o"
        raise UserError(f"{next(iter(kept))} exists already{more}", fix=fix)
    errors: list[UserError] = []
    headers: dict[Path, audio.Info] = {}
    for result, source in planned.items():
        if result not in kept:
            with collect(errors):
                headers[result] = audio.info(source)
    jobs = {result: source for result, source in planned.items() if result in headers}
    if jobs:
        make_folder(output)
    for folder in {result.parent for result in jobs}:
        remove_leftovers(folder)
    if rates := sorted({header.rate for header in headers.values()} - {denoiser.sample_rate}):
        others = ", ".join(map(str, rates))
        echo(f"The model works at {denoiser.sample_rate} Hz: recordings at {others} Hz are resampled to it and back.")
    levels_db: dict[str, float] = {}
    clipped: dict[Path, float] = {}
    done = []
    for result, source in tqdm(jobs.items(), "denoising", leave=False, disable=None):
        with collect(errors):
            level, peak = denoise_file(denoiser, source, result)
            if peak > 1:
                clipped[result] = peak
            levels_db[str(source)] = decibels(float(level.square().mean().sqrt()))
            done.append(result)
    if remark := level_remark(card_around(run), denoiser, levels_db):
        echo(remark)
    if clipped:
        worst = max(clipped, key=lambda result: clipped[result])
        echo(
            f"note: {len(clipped)} of them are clipped at full scale, most of all {worst} ({clipped[worst]:.2f} times)"
        )
    report(len(planned), errors, [headers[result] for result in done], len(kept), output)
    return done


@contextmanager
def collect(errors: list[UserError]) -> Iterator[None]:
    """Put what a user can be told into a list, and go on."""
    try:
        yield
    except UserError as error:
        errors.append(error)


def report(planned: int, errors: list[UserError], done: list[audio.Info], kept: int, output: Path) -> None:
    """Say what was done, and raise UserError where not all of it was."""
    if done:
        total = sum(header.frames / header.rate for header in done)
        echo(f"{len(done)} recording{'s' * (len(done) != 1)}, {total:.1f} s of sound, denoised into {output}")
    if kept:
        echo(f"{kept} of {planned} are there already and were kept (--overwrite replaces them)")
    if planned == 1 and errors:
        raise errors[0]
    if errors:
        for error in errors:
            echo(str(error), file=sys.stderr)
        fix = "mend or remove them, and give the same command again"
        raise UserError(f"{len(errors)} of {planned} recordings could not be denoised", fix=fix)


def plan_results(recordings: list[Path], output: Path) -> dict[Path, Path]:
    """The source of every result; files keep their name, those of a folder their place below it.

    Raises:
        UserError: see `denoise_files`.
    """
    if (output.exists() and not output.is_dir()) or output.suffix.lower() in audio.EXTENSIONS:
        raise UserError(f"{output} is no folder", fix="give a folder with -o; the recordings keep their names in it")
    jobs: dict[Path, Path] = {}
    for given in recordings:
        if not given.exists():
            raise UserError(f"{given} does not exist")
        for source in list_recordings(given):
            result = output / (source.relative_to(given) if given.is_dir() else source.name)
            if result.suffix.lower() not in audio.EXTENSIONS:
                raise UserError(f"{source} has no known extension", ", ".join(audio.EXTENSIONS), "rename it")
            if (other := jobs.setdefault(result, source)) != source:
                raise UserError(f"{other} and {source} would both become {result}", fix="denoise them into two folders")
            if result.resolve() == source.resolve():
                raise UserError(f"{result} would replace the recording itself", fix="give another folder with -o")
    return jobs


def denoise_file(denoiser: FileDenoiser, source: Path, result: Path) -> tuple[Tensor, float]:
    """Denoise every channel of one file block by block.

    Returns:
        The RMS that each channel had, (channels,), and the largest sample that was clipped, or 1.0 where none was.

    Raises:
        UserError: it cannot be read or is cut short, the network makes no sound of it, or the result cannot be written.
    """
    header, rate = audio.info(source), denoiser.sample_rate
    kind, subtype = audio.format_to_write(result, header)
    level = measure_level(source, rate)
    follows = {"level": level} if getattr(denoiser, "follows_level", False) else {}
    stream = denoiser.stream(header.channels, **follows)
    there = soxr.ResampleStream(header.rate, rate, header.channels) if header.rate != rate else None
    back = soxr.ResampleStream(rate, header.rate, header.channels) if header.rate != rate else None
    loudest = peak = 1.0  # samples of recording and output so far, or full scale
    left = 0  # samples that were read and have not been written
    try:
        result.parent.mkdir(parents=True, exist_ok=True)
        with (
            new_version(result) as part,
            soundfile.SoundFile(os.fsencode(part), "w", header.rate, header.channels, subtype, format=kind) as out,
        ):
            for block, last in audio.read_blocks(source, header.block(BLOCK_S)):
                left += len(block)
                waveform = block if there is None else there.resample_chunk(block, last)
                loudest = max(loudest, float(np.abs(waveform).max(initial=0)))
                waveform = stream.next(waveform, last)
                check_output(waveform, loudest, source)
                waveform = waveform if back is None else back.resample_chunk(waveform, last)
                if last:  # resampling there and back may be a sample or two longer or shorter
                    waveform = np.pad(waveform, ((0, max(0, left - len(waveform))), (0, 0)))[:left]
                if subtype not in ("FLOAT", "DOUBLE"):
                    peak, waveform = max(peak, float(np.abs(waveform).max(initial=0))), np.clip(waveform, -1, 1)
                audio.append(out, waveform)
                left -= len(waveform)
    except audio.DECODER_ERRORS as error:
        raise UserError(f"{source} cannot be denoised into {result}", why=str(error)) from error
    return level, peak


def measure_level(file: Path, rate: int) -> Tensor:
    """The RMS of each channel of a recording that is brought to a rate in Hz. (channels,). Raises as `audio.read_blocks`."""
    header = audio.info(file)
    stream = soxr.ResampleStream(header.rate, rate, header.channels) if header.rate != rate else None
    power, count = np.zeros(header.channels), 0
    for block, last in audio.read_blocks(file, header.block(BLOCK_S)):
        waveform = block if stream is None else stream.resample_chunk(block, last)
        power, count = power + np.square(waveform, dtype=np.float64).sum(0), count + len(waveform)
    return torch.from_numpy(np.sqrt(power / max(1, count))).float()


def card_around(run: Path) -> RunCard | None:
    """The card of a run, given by its folder or by one of its checkpoints; None of a model outside of a run."""
    try:
        return load_card(run if run.is_dir() else run.resolve().parents[1])
    except (UserError, IndexError):
        return None


def check_output(waveform: np.ndarray, loudest: float, source: Path) -> None:
    """Raises UserError where a network gives NaN, infinities or sound far above `loudest`, which would be clipped to noise."""
    peak = float(np.abs(waveform).max(initial=0))  # NaN where one is
    if not peak <= LOUDEST * loudest:
        what = f"{peak:.3g} times full scale" if np.isfinite(peak) else "values that are NaN or infinite"
        raise UserError(
            f"the model makes {what} of {source}", fix="it is not usable: train again with a lower optimizer.lr"
        )
