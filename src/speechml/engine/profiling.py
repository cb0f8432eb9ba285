"""`trainer.profiler`: where the time of a run goes, as a short table and in profile.txt."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from speechml.runs.tables import table
from speechml.storage.files import write_text

PROFILERS: dict[str, Callable[..., Profiler]] = {
    "simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler,
}  # fmt: skip
STAGES = ("fit", "validate", "test")  # of which Lightning writes a file each
# What a person asks after, by Lightning's names of it; none lies within another.
WORK = {
    "training: choosing items": r".*_TrainingEpochLoop\]\.train_dataloader_next",
    "training: network and loss": r".*\.training_step",
    "training: gradients": r".*\.backward",
    "loading batches": r".*\.batch_to_device",
    "validation: network": r".*\.validation_step",
    "test: network": r".*\.test_step",
    "scores": r"\[LightningModule\].*\.on_(validation|test)_epoch_(start|end)",
    "figures, recordings, progress": r"\[Callback\](?!Best|Saving).*",
    "checkpoints": r"save_checkpoint",
}


def build_profiler(name: str, folder: Path) -> Profiler | str:
    """The profiler of that name, which writes into the folder of a run; a name that is not ours is left to Lightning."""
    return PROFILERS[name](dirpath=folder, filename="profile") if name in PROFILERS else name


def write_profile(profiler: Profiler, folder: Path) -> str:
    """Write profile.txt of a run that has ended, and give what is said of it: a short table and the places of the files."""
    files = [file for stage in STAGES for file in folder.glob(f"{stage}-profile*.txt")]
    texts = [file.read_text() for file in files]
    short = ""
    if isinstance(profiler, SimpleProfiler):
        texts, short = texts[-1:], time_table(profiler)  # each has all that was before
    write_text(folder / "profile.txt", "\n\n".join([short, *texts]).strip() + "\n")
    for file in files:
        file.unlink()
    traces = sorted(folder.glob("*-profile*.json"))
    shown = [f"Profile: {folder / 'profile.txt'}", *(f"Trace (chrome://tracing): {trace}" for trace in traces)]
    return "\n".join([*filter(None, [short]), *shown])


def time_table(profiler: SimpleProfiler) -> str:
    """Seconds, share and calls of what a run has done, of the whole from its beginning."""
    whole = time.perf_counter() - profiler.start_time
    spent = {name: _spent(profiler, pattern) for name, pattern in WORK.items()}
    step, steps = _spent(profiler, r".*\.optimizer_step")  # within which loss and gradients are computed
    inside = sum(spent[name][0] for name in ("training: network and loss", "training: gradients"))
    spent["training: optimiser"] = max(0.0, step - inside), steps
    spent["everything else"] = whole - sum(seconds for seconds, _ in spent.values()), 0
    rows = sorted(((seconds, name, calls) for name, (seconds, calls) in spent.items()), reverse=True)
    lines = [[name, f"{s:.2f}", f"{100 * s / whole:.0f} %", str(calls or "")] for s, name, calls in rows]
    return table(["where the time goes", "s", "share", "calls"], [*lines, ["all", f"{whole:.2f}", "100 %", ""]])


def _spent(profiler: SimpleProfiler, pattern: str) -> tuple[float, int]:
    """Seconds and calls of the actions whose whole names are of a pattern."""
    actions = [times for name, times in profiler.recorded_durations.items() if re.fullmatch(pattern, name)]
    return math.fsum(map(math.fsum, actions)), sum(map(len, actions))
