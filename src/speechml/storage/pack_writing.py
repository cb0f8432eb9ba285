"""Writing a pack of recordings."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from speechml.storage.files import write_json
from speechml.storage.pack import FORMAT, Recording

if TYPE_CHECKING:
    from speechml.storage.audio import Samples


def write_pack(folder: Path, row: int, recordings: Iterable[Recording]) -> None:
    """Write per role one file of int16 samples, and an index of the recordings, which makes the pack whole.

    Every recording begins at a multiple of `row` samples and is padded with zeros to the next, so that training clips
    of `row` samples are rows of one matrix.
    """
    entries: list[tuple[str, str, int, str]] = []
    gains: dict[str, list[float]] = {}
    files: dict[str, BinaryIO] = {}
    remarks: Counter[str | None] = Counter()
    facts: list[Sequence[float | str]] = []
    with ExitStack() as stack:
        for name, waveforms, speaker, remark, own in recordings:
            digest = hashlib.sha256()
            length = len(next(iter(waveforms.values())))
            for role, waveform in waveforms.items():
                if role not in files:
                    files[role] = stack.enter_context((folder / f"{role}.i16").open("wb"))
                samples, gain = quantise(waveform)
                files[role].write(np.pad(samples, (0, -length % row)).tobytes())
                gains.setdefault(role, []).append(gain)
                digest.update(samples.tobytes() + np.float32(gain).tobytes())
            entries.append((name, speaker, length, digest.hexdigest()))
            remarks[remark] += 1
            facts.append(own)
    index = zip(("names", "speakers", "lengths", "sums"), zip(*entries, strict=True), strict=True)
    done = {remark: count for remark, count in remarks.items() if remark is not None}
    notes = [f"of all {sum(done.values())} clips {done[remark]} are {remark}" for remark in sorted(done) if remark]
    content = {"format": FORMAT, "row": row, "notes": notes, **dict(index), "gains": gains}
    write_json(folder / "index.json", {**content, "facts": facts} if any(facts) else content)


def quantise(waveform: Samples) -> tuple[Samples, float]:
    """A waveform as int16 and the factor that brings it back.

    16-bit input is kept as it is (factor 1/32768); anything else uses the whole range for its own peak, so that the
    rounding lies about 98 dB below a full-scale sine whatever the level.
    """
    if waveform.dtype == np.int16:
        return waveform, 1.0 / 32768
    peak = float(np.abs(waveform).max(initial=0.0))
    gain = float(np.float32(peak / 32767)) or 1.0
    return np.round(np.clip(waveform / gain, -32767, 32767)).astype(np.int16), gain
