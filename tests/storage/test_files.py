"""Folders that are built once, by one process, whatever dies, and without locks too."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from speechml.errors import UserError
from speechml.storage import building, files
from speechml.storage.building import build_once
from speechml.storage.files import builds

BUILDERS = 8
PARTS = [f"{i}.txt" for i in range(20)]
BUILDER = textwrap.dedent(
    """
    import fcntl, os, sys, time
    from pathlib import Path
    from speechml.storage import building

    folder, locks, begin = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    if locks == "reach nobody":  # as between machines
        fcntl.flock = lambda *_: None

    def is_whole(folder):
        return all((folder / f"{i}.txt").is_file() for i in range(20)) and (folder / "by").is_file()

    def build(part):
        (folder.parent / "built" / str(os.getpid())).touch()
        for i in range(20):
            (part / f"{i}.txt").write_text(str(os.getpid()))
            time.sleep(0.01)
        (part / "by").write_text(str(os.getpid()))

    print("here", flush=True)
    time.sleep(max(0.0, begin - time.time()))
    found = building.build_once(folder, is_whole, build)
    by = (found / "by").read_text()
    assert all((found / f"{i}.txt").read_text() == by for i in range(20)), "of two builders"
    """
)


def is_whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in PARTS)


def build(part: Path) -> None:
    for name in PARTS:
        (part / name).write_text("whole")


def builders(folder: Path, locks: str) -> list[subprocess.Popen[str]]:
    """Processes that want one folder at once."""
    (folder.parent / "built").mkdir(exist_ok=True)
    begin = time.time() + 1.5  # when all of them have been loaded
    words = [sys.executable, "-c", BUILDER, str(folder), locks, str(begin)]
    return [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(BUILDERS)]


def others(folder: Path) -> list[str]:
    """What lies beside a folder."""
    return sorted(path.name for path in folder.parent.iterdir() if path != folder and path.name != "built")


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("locks", ["hold", "reach nobody"])
def test_many_builders_at_once_make_one_whole_folder(tmp_path: Path, locks: str, torn: bool) -> None:
    folder = tmp_path / "pack"
    if torn:
        folder.mkdir()
        (folder / PARTS[0]).write_text("all that is left")
    for process in builders(folder, locks):
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
    built = len(list((tmp_path / "built").iterdir()))
    assert built == 1 if locks == "hold" else built >= 1
    assert is_whole(folder)
    assert others(folder) == [".pack.lock"]


def test_of_two_machines_without_common_locks_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    folder = tmp_path / "pack"

    def slowly(part: Path) -> None:
        build(part)
        build_once(folder, is_whole, build)
        (folder / "first").touch()

    build_once(folder, is_whole, slowly)
    assert (folder / "first").is_file()
    assert others(folder) == [".pack.lock"]


def test_of_two_that_replace_a_torn_folder_neither_deletes_the_others(tmp_path: Path) -> None:
    """The other one is done between our look at the torn folder and our taking it aside."""
    folder, looks = tmp_path / "pack", []
    folder.mkdir()
    (folder / "torn").touch()

    def looked(place: Path) -> bool:
        whole = is_whole(place)
        looks.append(place)
        if len(looks) == 3:  # before the lock, within it, and before the renaming
            for path in place.iterdir():
                path.unlink()
            build(place)
            (place / "of the other").touch()
        return whole

    build_once(folder, looked, build)
    assert (folder / "of the other").is_file()
    assert is_whole(folder)
    assert others(folder) == [".pack.lock"]


def test_a_whole_folder_is_not_gone_for_an_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another builder's folder takes the torn one's place between our look and our taking it away: readers have it."""
    folder, looks, renamed, rename = tmp_path / "pack", [], [], Path.rename
    folder.mkdir()
    (folder / "torn").touch()

    def look(place: Path) -> bool:
        whole = is_whole(place)
        looks.append(place)
        if len(looks) == 3:
            shutil.rmtree(folder)
            folder.mkdir()
            build(folder)
        return whole

    def note_renaming(path: Path, target: Path) -> Path:
        renamed.append(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", note_renaming)
    build_once(folder, look, build)
    assert is_whole(folder)
    assert folder not in renamed
    assert sorted(path.name for path in folder.iterdir()) == sorted(PARTS)


def test_a_claim_made_in_a_folder_that_is_being_removed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, removed, rmtree = tmp_path / "pack", [], shutil.rmtree
    folder.mkdir()
    (folder / "torn").touch()

    def remove_but_a_claim(path: Path, ignore_errors: bool) -> None:
        removed.append(path)
        rmtree(path, ignore_errors=ignore_errors)
        if len(removed) == 1:  # as between the last look into a folder and its removal
            path.mkdir()
            (path / building.CLAIM).touch()

    monkeypatch.setattr(shutil, "rmtree", remove_but_a_claim)
    build_once(folder, is_whole, build)
    assert is_whole(folder)
    assert others(folder) == [".pack.lock"]


@pytest.mark.parametrize("age_s", [0, 20, 120])
def test_who_claims_a_torn_folder_takes_it_away_alone_until_it_must_be_dead(tmp_path: Path, age_s: int) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / building.CLAIM).touch()
    then = time.time() - age_s
    os.utime(folder / building.CLAIM, (then, then))
    if age_s < 60:
        with pytest.raises(FileExistsError):
            building._remove_torn(folder, is_whole, time.time())
    else:
        building._remove_torn(folder, is_whole, time.time())
    assert folder.exists() == (age_s < 60)


@pytest.mark.parametrize("locks", ["work", "fail", "reach nobody"])
def test_a_killed_builders_leftover_is_removed_by_the_next(
    tmp_path: Path, locks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        if locks == "fail":
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if locks != "work":
        monkeypatch.setattr(fcntl, "flock", flock)
    program = f"""
        import os, time
        from pathlib import Path
        from speechml.storage.building import build_once
        def build(part):
            (part / "half").touch()
            print(part.name, flush=True)
            time.sleep(60)
        build_once(Path({str(tmp_path / "older pack")!r}), Path.is_dir, build)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    leftover = tmp_path / process.stdout.readline().strip()
    try:
        build_once(tmp_path / "first pack", is_whole, build)
        assert (leftover / "half").is_file(), "its builder lives"
    finally:
        process.kill()
        process.wait()
    build_once(tmp_path / "pack", is_whole, build)
    assert not leftover.exists()


@pytest.mark.parametrize(("hours", "kept"), [(23, True), (25, False)])
def test_another_machines_leftover_is_removed_when_it_is_a_day_old(tmp_path: Path, hours: int, kept: bool) -> None:
    leftover = tmp_path / ".pack.other-01234567.999999999.89abcdef.part"  # no process here has such a number
    leftover.mkdir()
    (leftover / "half").touch()
    then = time.time() - 3600 * hours
    os.utime(leftover / "half", (then, then))
    os.utime(leftover, (then - 1e6, then - 1e6))
    build_once(tmp_path / "pack", is_whole, build)
    assert leftover.exists() == kept


def test_what_is_no_builders_is_left_alone(tmp_path: Path) -> None:
    for name in (".pack.elsewhere.part", ".hidden", "mine.part"):
        (tmp_path / name).mkdir()
    (tmp_path / ".card.json.999999999.part").touch()  # of write_bytes
    os.utime(tmp_path / ".card.json.999999999.part", (0, 0))
    before = sorted(tmp_path.iterdir())
    build_once(tmp_path / "pack", is_whole, build)
    assert set(before) < set(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UserError("item3.wav cannot be read"), "item3"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            r"cannot be written to \(No space left on device\); make room",
        ),
    ],
)
def test_a_build_that_fails_leaves_nothing(tmp_path: Path, error: Exception, says: str) -> None:
    def fail(part: Path) -> None:
        (part / "half").touch()
        raise error

    with pytest.raises(UserError, match=says):
        build_once(tmp_path / "pack", is_whole, fail)
    assert others(tmp_path / "pack") == [".pack.lock"]


def test_a_place_that_cannot_be_written_to_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to"):
        build_once(tmp_path / "file" / "pack", is_whole, build)


def test_a_file_system_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert is_whole(build_once(tmp_path / "pack", is_whole, build))
    with pytest.raises(OSError, match="not implemented"), files.lock_file(tmp_path / "lock"):
        pass


def test_what_was_built_is_told_from_what_was_there(tmp_path: Path) -> None:
    builds.clear()
    for name in ("one", "two", "one"):
        build_once(tmp_path / name, is_whole, build)
    assert builds == {tmp_path / "one": True, tmp_path / "two": True}
    builds.clear()
    build_once(tmp_path / "one", is_whole, build)
    assert builds == {tmp_path / "one": False}
