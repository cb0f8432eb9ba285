"""An error of one system call while a run saves itself: a warning where it can be made up for, else a sentence."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import composed
from resuming import GENRE, run_in
from speechml.cli import explain_refusals
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.restore import find_latest
from speechml.errors import FAILURES, MachineError, UserError, machine_failure
from speechml.runs.card import load_card
from speechml.runs.identity import run_id
from speechml.storage import plain_files
from speechml.storage.files import Repeated, make_durable, new_version, write_bytes
from speechml.sweep.jobs import describe_error
from stress_resume import differences

CUT = (*GENRE, "checkpoint.every_n_steps=3")  # 20 steps: six savings, and one at the end


def failing(
    whole: Callable[..., Any], error: int, calls: set[int], concerns: Callable[..., bool]
) -> Callable[..., Any]:
    """A function of which these calls fail, counted from 1 among those that concern us."""
    count = [0]

    def fail(*args: Any, **options: Any) -> Any:
        if concerns(*args):
            count[0] += 1
            if count[0] in calls:
                raise OSError(error, os.strerror(error))
        return whole(*args, **options)

    return fail


def saves(part: Path, path: object) -> bool:
    """Whether a renaming puts a new `last.ckpt` into its place."""
    return Path(str(path)).name == "last.ckpt" and part.name.endswith(".part")


def is_synced(name: str) -> Callable[[int], bool]:
    """Whether a descriptor is of a file that is being written under such a name."""
    return lambda descriptor: f"/.{name}." in str(Path(f"/proc/self/fd/{descriptor}").readlink())


def is_best(part: Path, path: object) -> bool:  # noqa: ARG001 (as Path.replace is called)
    """Whether a renaming puts a new `best.ckpt` into its place."""
    return Path(str(path)).name == "best.ckpt"


CALLS: dict[str, tuple[object, str, Callable[..., bool]]] = {
    "rename of last": (Path, "replace", saves), "rename of best": (Path, "replace", is_best),
    "fsync of last": (os, "fsync", is_synced("last.ckpt")), "fsync of metrics": (os, "fsync", is_synced("metrics.csv")),
}  # fmt: skip


@pytest.mark.usefixtures("genre_features")
@pytest.mark.parametrize(
    ("call", "error"),
    [("rename of last", errno.EIO), ("rename of last", errno.ESTALE), ("rename of best", errno.EMFILE),
     ("fsync of last", errno.EIO), ("fsync of last", errno.EDQUOT), ("fsync of metrics", errno.ENOSPC)],
)  # fmt: skip
def test_one_error_at_a_saving_is_a_warning_and_the_run_goes_on_to_the_same_bits(
    call: str,
    error: int,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place, name, concerns = CALLS[call]
    which = 2 if "last" in call else 1
    monkeypatch.setattr(place, name, failing(getattr(place, name), error, {which}, concerns))
    run = run_in(tmp_path, *CUT)
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1
    assert f"({os.strerror(error)}): the run goes on, and the next saving tries it again" in said
    assert differences(undisturbed, run) == []


@pytest.mark.usefixtures("genre_features")
@pytest.mark.parametrize(("calls", "step"), [({2, 3}, 3), ({7}, 18)], ids=["two in a row", "the last"])
def test_two_errors_in_a_row_or_one_at_the_end_end_the_run_in_a_sentence_and_it_goes_on(
    calls: set[int], step: int, undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", failing(Path.replace, errno.EIO, calls, saves))
        with pytest.raises(MachineError, match=r"cannot be used \(Input/output error\); see to the disk, and the same"):
            run_in(tmp_path, *CUT)
    run = next(tmp_path.glob("*/*"))
    latest, card = find_latest(run), load_card(run)
    assert latest
    assert latest[1]["global_step"] == step
    assert card
    assert card.state == "failed"
    assert not list(run.glob("**/.*.part"))
    assert differences(undisturbed, run_in(tmp_path, *CUT)) == []


@pytest.mark.parametrize("name", ["last.ckpt", "card.json"])
def test_what_cannot_be_read_for_a_moment_is_not_taken_for_damaged(
    name: str, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run would else go on from the saving before, or begin anew."""
    sums = {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()}
    is_read = lambda _, which, *__: which.endswith(name)  # noqa: E731
    monkeypatch.setattr(plain_files, "open_plain", failing(plain_files.open_plain, errno.ESTALE, {1}, is_read))
    read = find_latest if name == "last.ckpt" else load_card
    with pytest.raises(MachineError, match=f"{name} cannot be used"):
        read(undisturbed)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in sums} == sums


@pytest.mark.parametrize("error", FAILURES)
def test_a_failing_machine_is_a_sentence_with_exit_code_2(error: int, capsys: pytest.CaptureFixture[str]) -> None:
    hidden = RuntimeError("a library hides it")
    hidden.__cause__ = OSError(error, os.strerror(error), "some/file")
    with pytest.raises(SystemExit) as ended, explain_refusals():
        raise hidden
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: some/file cannot be ")
    assert f"({os.strerror(error)})" in said
    assert said.endswith("and the same command goes on\n")


@pytest.mark.parametrize("error", [ValueError("x"), FileNotFoundError(errno.ENOENT, "x"), KeyError("x"), None])
def test_faults_of_our_own_are_no_failures_of_the_machine(error: Exception | None) -> None:
    assert machine_failure(error) is None


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_what_may_not_be_read_is_not_told_to_be_unwritable(number: int) -> None:
    told = str(machine_failure(PermissionError(number, os.strerror(number), "recordings/a.wav")))
    assert told.startswith("recordings/a.wav cannot be used (")
    assert "see to its permissions" in told


def fail_after_a_full_disk(is_from_none: bool) -> None:
    try:
        raise OSError(errno.ENOSPC, "full")
    except OSError:
        if is_from_none:
            raise ValueError("a bug") from None
        raise ValueError("a bug")  # noqa: B904 (as a bug would)


@pytest.mark.parametrize("is_from_none", [True, False])
def test_a_fault_of_ours_after_an_error_of_the_disk_keeps_its_traceback(is_from_none: bool) -> None:
    with pytest.raises(ValueError, match="a bug") as raised, explain_refusals():
        fail_after_a_full_disk(is_from_none)
    assert (machine_failure(raised.value, is_hidden=True) is None) == is_from_none  # a library may hide one


def test_a_run_whose_machine_failed_is_tried_again_and_one_that_was_refused_is_not() -> None:
    assert describe_error(MachineError("x cannot be used"), "run").may_retry
    assert not describe_error(UserError("x is no number"), "run").may_retry


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first `fsync` fails; those that follow go well, whatever became of the data."""
    synced: list[int] = []
    whole = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        if len(synced) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        whole(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    return synced


def test_what_failed_to_reach_the_disk_is_written_anew(lost: list[int], tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"weights")
    before = path.stat().st_ino
    make_durable(path)
    assert path.read_bytes() == b"weights"
    assert path.stat().st_ino != before  # a second fsync of the first would say that all is well
    assert lost[1] == path.stat().st_ino


@pytest.mark.usefixtures("lost")
def test_a_failed_writing_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("old")
    with pytest.raises(OSError, match="Input/output error"):
        write_bytes(tmp_path / "card.json", b"new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"card.json": "old"}


def test_a_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".wav")
    with new_version(path) as part:
        part.write_text("whole")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize(
    ("fails", "is_last", "raised"),
    [
        ("100", "000", "---"),
        ("101", "000", "---"),
        ("11", "00", "-x"),
        ("1", "1", "x"),
        ("1001", "0001", "---x"),
        ("011", "000", "--x"),
    ],
)
def test_the_second_failure_in_a_row_and_one_at_the_end_are_raised(fails: str, is_last: str, raised: str) -> None:
    repeated, seen = Repeated(), ""
    for fail, last in zip(fails, is_last, strict=True):

        def write(error: int = errno.ENOSPC if fail == "1" else 0) -> None:
            if error:
                raise OSError(error, os.strerror(error), "f")

        try:
            repeated.attempt(write, last == "1")
            seen += "-"
        except OSError:
            seen += "x"
    assert seen == raised


@pytest.mark.usefixtures("genre_features")
def test_the_run_folder_of_a_failed_first_card_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, errno.EDQUOT, {1}, is_synced("card.json")))
    cfg = composed("train", *GENRE, f"paths.runs={tmp_path}")
    with pytest.raises(MachineError, match="make room"):
        run_in(tmp_path, *GENRE)
    assert load_card(tmp_path / cfg.name / run_id(cfg)) is None
    assert read_checkpoint(run_in(tmp_path, *GENRE) / "checkpoints" / "last.ckpt")["global_step"] == 20
