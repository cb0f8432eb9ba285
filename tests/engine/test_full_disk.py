"""A disk that is full, at whatever moment, ends a run in one sentence and costs nothing that was saved before."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resuming import GENRE, run_in
from stress_resume import differences

# Where the disk is filled: a module, a function of it, the name of a file that is its first argument, the how manyth call.
MOMENTS = {
    "before the run has a folder": ("speechml.engine.train", "make_folder", "", 1),
    "at the first card": ("speechml.engine.train", "save_card", "", 1),
    "within a step": ("speechml.tasks.base:Task", "training_step", "", 12),
    "at the best checkpoint": ("speechml.engine.checkpoint", "write_bytes", "best.ckpt", 1),
    "at the third checkpoint": ("speechml.engine.checkpoint", "write_bytes", "last.ckpt", 3),
    "at the table of epochs": ("speechml.callbacks.epochs", "write_text", "metrics.csv", 2),
    "at the predictions": ("speechml.engine.fit", "write_predictions", "", 1),
    "at the last card": ("speechml.engine.train", "save_card", "", 2),
}
PROGRAM = """
import importlib, sys
from pathlib import Path
disk, module, name, file, times, *words = sys.argv[1:]
sys.argv = ["speechml-train", *words]

def fill():
    with open(Path(disk, "filler"), "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(512))
        except OSError:
            pass

module, _, cls = module.partition(":")
place = importlib.import_module(module)
place = getattr(place, cls) if cls else place
whole, left = getattr(place, name), [int(times)]

def watched(*args, **options):
    if not file or args[0].name == file:
        left[0] -= 1
        if left[0] == 0:
            fill()
    return whole(*args, **options)

setattr(place, name, watched)
from speechml.train import main
main()
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs rights that are missing here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.slow
@pytest.mark.usefixtures("genre_features")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_disk_is_one_sentence_and_after_making_room_the_run_goes_on(
    moment: str, disk: Path, undisturbed: Path
) -> None:
    cut = (*GENRE, "checkpoint.every_n_steps=3")
    arguments = [str(disk), *map(str, MOMENTS[moment]), *cut, f"paths.runs={disk}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, env=environment, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "Logging error" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "make room" in done.stderr or "give another folder" in done.stderr
    assert not list(disk.glob("*/*/checkpoints/.*"))
    (disk / "filler").unlink()
    assert differences(undisturbed, run_in(disk, *cut)) == []
