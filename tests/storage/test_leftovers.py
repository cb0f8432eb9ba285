"""What processes that were killed have left is removed by the next command; what others are writing is not."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from speechml.data.synthetic import espeak
from speechml.runs.folder import lock
from speechml.storage.building import remove_leftovers
from speechml.storage.files import new_part, this_machine

DEAD = 999999999  # no process here has such a number


def part_of(path: Path, machine: str = "", process: int = DEAD) -> Path:
    """The name of what a process was writing, to become `path`."""
    return path.with_name(f".{path.name}.{machine or this_machine()}.{process}.0123abcd.part")


@pytest.mark.parametrize("name", ["card.json", "report.html", "predictions.npz", "checkpoints/last.ckpt", "audio/a_noisy.wav",
                                  "figures/loss.png", "evaluations/Lab-0.json"])  # fmt: skip
@pytest.mark.parametrize("machine", ["", "elsewhere-01234567"])
def test_who_holds_a_run_removes_what_was_being_written_in_it(name: str, machine: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("whole")
    part_of(tmp_path / name, machine).write_text("half")
    with lock(tmp_path):
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {name, ".lock"}


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        (part_of(Path("a.wav")).name, False),
        (part_of(Path("Müller [1].wav")).name, False),
        (part_of(Path("a.wav"), process=os.getpid()).name, True),
        (part_of(Path("a.wav"), machine="elsewhere-01234567").name, True),
        (".a.wav.part", True),
        ("a.wav.part", True),
        (f".a.wav.{DEAD}.part", True),
    ],
    # Names of processes are others in each process that runs tests, which must agree on the names of tests.
    ids=["dead", "dead, odd name", "living", "elsewhere", "no process", "no part", "older form"],
)
def test_of_a_folder_that_others_use_only_what_a_dead_process_has_left_is_removed(
    name: str, stays: bool, tmp_path: Path
) -> None:
    (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert (tmp_path / name).exists() == stays


def test_another_machines_file_is_removed_when_it_is_a_day_old(tmp_path: Path) -> None:
    part = part_of(tmp_path / "a.wav", "elsewhere-01234567")
    part.touch()
    os.utime(part, (1e9, 1e9))
    remove_leftovers(tmp_path)
    assert not part.exists()


def test_only_leftovers_of_a_name_are_looked_for_where_the_folder_is_somebody_elses(tmp_path: Path) -> None:
    mine, other = part_of(tmp_path / "report.html"), part_of(tmp_path / "other.html")
    mine.touch()
    other.touch()
    remove_leftovers(tmp_path, name="report.html.*")
    assert [mine.exists(), other.exists()] == [False, True]


def test_what_kill_9_leaves_of_a_writing_is_known_by_its_name(tmp_path: Path) -> None:
    program = (
        "import os, pathlib\nfrom speechml.storage.files import new_version\n"
        "with new_version(pathlib.Path('a.wav')) as part:\n    part.touch()\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_beside_a_long_one_is_not_too_long(tmp_path: Path) -> None:
    for name in ("x" * 255, "ä" * 127, "日" * 85):
        part = new_part(tmp_path / name)
        part.touch()
        assert len(os.fsencode(part.name)) <= 255
        part.unlink()


def test_folders_of_dead_speakers_are_removed_and_the_own_one_when_all_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    espeak.release()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whose = f"espeak-{this_machine()[-8:]}"
    dead, alive, other = (tmp_path / name for name in (f"{whose}-{DEAD}-x", f"{whose}-{os.getppid()}-x", "espeak-x"))
    for folder in (dead, alive, other):
        folder.mkdir()
        (folder / "voices").touch()
    assert len(espeak.say("one", "en+m3")) > 1000
    assert [folder.exists() for folder in (dead, alive, other)] == [False, True, True]
    assert len(list(tmp_path.iterdir())) == 3
    espeak.release()
    assert sorted(tmp_path.iterdir()) == sorted([alive, other])
    assert len(espeak.say("one", "en+m3")) > 1000  # it is made anew
    espeak.release()
