"""What a denoiser made of each test recording: a table, and its gain against the SNR of its input, the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from speechml.report.charts import Chart, Series
from speechml.report.summary import WAVEFORM_TITLES, score_name
from speechml.runs.tables import format_score

WORST = 3  # recordings that are marked, where there are more
LISTED = 2000  # recordings
OWNERS = ("speaker", "song", "recording")  # columns of predictions.npz


class Recordings(NamedTuple):
    """The recordings of a test, those that gained least first."""

    columns: list[str]
    rows: list[list[str]]
    chart: Chart
    labels: dict[str, str]  # by the name of each, those that gained least first: what is said where it can be heard
    worst: list[str]  # names of those that gained least; none where these would be all
    omitted: int  # of many


def list_recordings(columns: Mapping[str, np.ndarray] | None) -> Recordings | None:
    """The recordings of predictions.npz; None where there is none with an SNR before and behind the network."""
    if columns is None or not {"snr_db", "snr_input_db"} <= columns.keys():
        return None
    given, snr = columns["snr_input_db"].astype(float), columns["snr_db"].astype(float)
    gain, names = snr - given, columns["name"].tolist()
    order = [int(item) for item in np.argsort(gain, kind="stable") if np.isfinite(gain[item])]
    if not order:
        return None
    scores = [score for score in WAVEFORM_TITLES if score in columns and score != "snr_db"]
    owner = next((name for name in OWNERS if name in columns and any(columns[name])), None)
    owners = [owner] if owner else []
    header = ["recording", "gain (dB)", "input SNR (dB)", "output SNR (dB)"]
    rows = []
    for item in order[:LISTED]:
        cells = [names[item], *[f"{value[item]:.2f}" for value in (gain, given, snr)]]
        cells += [format_score(_finite(columns[score][item]), score.endswith("_db")) for score in scores]
        rows.append([*cells, *[str(columns[name][item]) for name in owners]])
    titles = [f"{names[item]}: {gain[item]:+.1f} dB" for item in order[:LISTED]]
    points = [(float(given[item]), float(gain[item])) for item in order[:LISTED]]
    few = WORST if len(order) > WORST else 0
    series = [Series("test recordings", "test", points[few:], "dots", titles[few:])]
    series += [Series("the three worst", "bad", points[:few], "dots", titles[:few])] if few else []
    chart = Chart("gain against the SNR of the input", "SNR of the noisy input (dB)", "gain in SNR (dB)", series)
    labels = {names[item]: _label(names[item], place, given[item], snr[item], _perceived(columns, item), few)
              for place, item in enumerate(order)}  # fmt: skip
    header += [*[WAVEFORM_TITLES[score] for score in scores], *owners]
    return Recordings(header, rows, chart, labels, list(labels)[:few], len(order) - len(rows))


def _label(name: str, place: int, given: float, snr: float, perceived: str, few: int) -> str:
    """The recording's name, its SNR before and behind the network, and whether few gained less."""
    worst = f"; {('the worst', 'the second worst', 'the third worst')[place]} of the test" if place < few else ""
    return f"{name}: SNR {given:.1f} to {snr:.1f} dB ({snr - given:+.1f} dB){perceived}{worst}"


def _perceived(columns: Mapping[str, np.ndarray], item: int) -> str:
    """PESQ before and behind the network."""
    before, after = (columns.get(score_name("pesq", what)) for what in ("_input", ""))
    if before is None or after is None or not np.isfinite([before[item], after[item]]).all():
        return ""
    return f", PESQ {before[item]:.2f} to {after[item]:.2f}"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
