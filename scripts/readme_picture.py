"""The picture at the top of the README: a test recording of a denoiser's run, noisy, denoised and clean, and the run's scores.

speechml-train                                                  # the default run
python scripts/readme_picture.py runs/speech_denoiser/ID        # writes docs/images/first-run.png
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from speechml.errors import UserError
from speechml.report.summary import WAVEFORM_TITLES, score_name
from speechml.runs.catalogue import require_card
from speechml.runs.tables import format_score

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "first-run.png"
VERSIONS = ("noisy", "denoised", "clean")
SCORES = ("snr_db", "si_sdr_db", "pesq", "stoi")  # more of each is better
RANGE_DB = 70.0
WINDOW_S, HOP_S = 0.032, 0.008
SIZE, DPI = (10.0, 4.6), 100  # inches, dots an inch
MOST_BYTES = 200_000


def score_rows(scores: dict[str, float | None]) -> list[list[str]]:
    """Title, noisy input, output and difference of each score of the test set that the run has."""
    rows = []
    for name in SCORES:
        before, after = (scores.get(f"test/{score_name(name, what)}") for what in ("_input", ""))
        if before is not None and after is not None:
            shown = [format_score(value, name.endswith("_db")) for value in (before, after, after - before)]
            rows.append([WAVEFORM_TITLES[name], *shown[:2], ("" if shown[2].startswith("-") else "+") + shown[2]])
    return rows


def read_versions(run: Path) -> tuple[str, dict[str, np.ndarray], int]:
    """The first recording of a run's audio/: its name, waveforms (time,) by version, and the sample rate in Hz.

    Raises:
        UserError: the run wrote none with all three versions.
    """
    for noisy in sorted((run / "audio").glob("*_noisy.wav")):
        name = noisy.name.removesuffix("_noisy.wav")
        paths = {version: noisy.with_name(f"{name}_{version}.wav") for version in VERSIONS}
        if all(path.is_file() for path in paths.values()):
            waves = {version: soundfile.read(path, dtype="float32")[0] for version, path in paths.items()}
            return name, waves, soundfile.info(noisy).samplerate
    raise UserError(f"{run} has no recording that is noisy, denoised and clean in audio/", fix="give a denoiser's run")


def spectrogram_db(wave: np.ndarray, rate: int) -> np.ndarray:
    """Power of Hann frames in dB. Shape: (time,) -> (frequency, frame)."""
    length, hop = round(WINDOW_S * rate), round(HOP_S * rate)
    frames = np.lib.stride_tricks.sliding_window_view(wave, length)[::hop] * np.hanning(length)
    return np.asarray(10 * np.log10(np.abs(np.fft.rfft(frames, axis=1)) ** 2 + 1e-12)).T


def draw(run: Path) -> Figure:
    """Three spectrograms with one scale, and a table of scores below them."""
    name, waves, rate = read_versions(run)
    pictures = {version: spectrogram_db(wave, rate) for version, wave in waves.items()}
    top = max(float(picture.max()) for picture in pictures.values())
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.subplot_mosaic([[*VERSIONS], ["scores"] * len(VERSIONS)], height_ratios=[2.3, 1])
    for version in VERSIONS:
        axis = axes[version]
        extent = (0.0, len(waves[version]) / rate, 0.0, rate / 2000)
        axis.imshow(
            pictures[version], origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - RANGE_DB, vmax=top
        )
        axis.set_title(version)
        axis.set_xlabel("time (s)")
    axes[VERSIONS[0]].set_ylabel("frequency (kHz)")
    add_table(axes["scores"], score_rows(require_card(run).scores))
    figure.suptitle(f"{name.replace('_', ' ')}, a voice of the test set", fontsize="medium")
    return figure


def add_table(axis: Axes, rows: list[list[str]]) -> None:
    """Draw the scores of the test set in the place of some axes."""
    axis.set_axis_off()
    header = ["test set, mean", "noisy input", "output", "difference"]
    table = axis.table([header, *rows], loc="center", cellLoc="right", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(11)
    table.scale(0.75, 1.4)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("lightgray")
        cell.set_text_props(
            weight="bold" if row == 0 or column == 3 else "normal", ha="left" if column == 0 else "right"
        )


def main() -> None:
    """Draw the picture of a run and write it, in few colours so that it is small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a denoiser's run that is done")
    parser.add_argument("--output", type=Path, default=PICTURE, help="file to write")
    options = parser.parse_args()
    memory = io.BytesIO()
    draw(options.run).savefig(memory, format="png")
    picture = Image.open(memory).convert("RGB").quantize(128)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.output, optimize=True)
    size = options.output.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(
            f"{options.output} has {size:,} bytes, and a README's picture should have {MOST_BYTES:,} at most"
        )
    print(f"{options.output}: {size:,} bytes")


if __name__ == "__main__":
    main()
