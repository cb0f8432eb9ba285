"""Denoising of whole files with a trained model, in blocks, so that a file may be longer than memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechml.errors import UserError
from speechml.inference.export import load_model
from speechml.storage import audio
from speechml.storage.files import make_folder
from speechml.tasks.denoising import DenoisingTask

BLOCK_S = 10.0  # seconds denoised at a time: long against any receptive field, small against any memory


def denoise_files(run: Path, recordings: list[Path], output: Path, overwrite: bool = False) -> list[Path]:
    """Denoise files and folders of files into `output`, keeping length, rate, channels and names.

    Names and headers are checked before anything is written; each file appears whole or not at all.

    Raises:
        UserError: an unusable run or recording, two results of one name, or a result that is there already.
    """
    task = load_model(run)
    if not isinstance(task, DenoisingTask):
        raise UserError(f"{run} is no denoiser", fix="speechml classify uses it")
    jobs = plan_results(recordings, output, overwrite)
    make_folder(output)
    seconds = {source: header.frames / header.rate for source in jobs if (header := audio.info(source))}
    if rates := sorted({audio.info(source).rate for source in jobs} - {task.sample_rate}):
        others = ", ".join(map(str, rates))
        print(f"The model works at {task.sample_rate} Hz: recordings at {others} Hz are resampled to it and back.")
    from tqdm import tqdm

    total = sum(seconds.values())
    with tqdm(total=round(total), unit="s", desc="denoising", disable=not sys.stderr.isatty(), leave=False) as bar:
        for source, result in jobs.items():
            denoise_file(task, source, result)
            bar.update(seconds[source])
    print(f"{len(jobs)} recording{'s' * (len(jobs) != 1)}, {total:.1f} s of sound, denoised into {output}")
    return list(jobs.values())


def plan_results(recordings: list[Path], output: Path, overwrite: bool) -> dict[Path, Path]:
    """Source -> result for every recording; files keep their name, those of a folder their place below it.

    Raises:
        UserError: see `denoise_files`.
    """
    jobs: dict[Path, Path] = {}
    sources: dict[Path, Path] = {}  # of each result
    for given in recordings:
        for source in audio.find(given) if given.is_dir() else [given]:
            audio.info(source)
            result = output / (source.relative_to(given) if given.is_dir() else source.name)
            if result.suffix.lower() not in audio.EXTENSIONS:
                raise UserError(f"{source} has no known extension", ", ".join(audio.EXTENSIONS), "rename it")
            if (other := sources.setdefault(result, source)) != source:
                raise UserError(f"{other} and {source} would both become {result}", fix="denoise them into two folders")
            if result.resolve() == source.resolve():
                raise UserError(f"{result} would replace the recording itself", fix="give another folder with -o")
            if result.exists() and not overwrite:
                fix = "add --overwrite to replace it, or give another folder with -o"
                raise UserError(f"{result} exists already", fix=fix)
            jobs[source] = result
    if (output.exists() and not output.is_dir()) or output.suffix.lower() in audio.EXTENSIONS:
        raise UserError(f"{output} is no folder", fix="give a folder with -o; the recordings keep their names in it")
    return jobs


def denoise_file(task: DenoisingTask, source: Path, result: Path) -> None:
    """Denoise every channel of one file block by block."""
    header, target = audio.info(source), task.sample_rate
    kind = {".mp3": "MP3", ".ogg": "OGG", ".flac": "FLAC", ".wav": "WAV"}[result.suffix.lower()]
    subtype = header.subtype if soundfile.check_format(kind, header.subtype) else None
    result.parent.mkdir(parents=True, exist_ok=True)
    part = result.with_name(f".{result.name}.part")
    stream = task.stream(header.channels)
    there = soxr.ResampleStream(header.rate, target, header.channels) if header.rate != target else None
    back = soxr.ResampleStream(target, header.rate, header.channels) if header.rate != target else None
    left = header.frames
    try:
        with soundfile.SoundFile(str(part), "w", header.rate, header.channels, subtype, format=kind) as out:
            for block, last in read_blocks(source, round(BLOCK_S * header.rate)):
                waveform = block if there is None else there.resample_chunk(block, last)
                waveform = stream.next(waveform, last)
                waveform = waveform if back is None else back.resample_chunk(waveform, last)
                if last:  # resampling there and back may be a sample or two longer or shorter
                    waveform = np.pad(waveform, ((0, max(0, left - len(waveform))), (0, 0)))
                waveform = waveform[:left]
                audio.append(out, waveform if subtype in ("FLOAT", "DOUBLE") else np.clip(waveform, -1, 1))
                left -= len(waveform)
        part.replace(result)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(f"{source} cannot be denoised into {result}", why=str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def read_blocks(source: Path, frames: int) -> Iterator[tuple[np.ndarray, bool]]:
    """A file's samples (time, channel) in blocks of `frames`, each with whether it is the last.

    Raises:
        UserError: the file ends, or cannot be decoded, before the length its header gives, or holds NaN or infinities.
    """
    total = audio.info(source).frames
    read = 0
    with soundfile.SoundFile(str(source)) as file:
        while read < total:
            try:
                block = file.read(frames, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise UserError(
                    f"{source} cannot be decoded beyond {read} of {total} samples", why=str(error)
                ) from error
            if len(block) == 0:
                raise UserError(f"{source} is cut short", f"{read} of {total} samples decode", "copy it again")
            if not np.isfinite(block).all():
                raise UserError(f"{source} holds NaN or infinite samples", fix="export it again")
            read += len(block)
            yield block, read >= total
