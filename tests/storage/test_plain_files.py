"""Files of a folder that somebody else may have made are opened only where they are plain files in it, and read within bounds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from speechml.storage.plain_files import (
    check_plain,
    is_plain,
    open_plain,
    plain_files,
    read_arrays,
    read_json,
    read_plain,
)
from strangers import ODD


def test_a_plain_file_is_read_also_through_a_link_to_its_folder_and_by_a_hard_link(tmp_path: Path) -> None:
    (tmp_path / "run" / "inner").mkdir(parents=True)
    (tmp_path / "run" / "inner" / "x").write_bytes(b"content")
    os.link(tmp_path / "run" / "inner" / "x", tmp_path / "run" / "y")
    (tmp_path / "mine").symlink_to("run")
    for folder in (tmp_path / "run", tmp_path / "mine"):
        assert read_plain(folder, "inner/x") == read_plain(folder, "y") == b"content"
        assert plain_files(folder, "*", "inner/*") == ["inner/x", "y"]
        check_plain(folder)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["x", "inner/x", "inner"])
def test_what_is_no_plain_file_is_refused_at_once(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    ODD[kind](tmp_path / name)
    with pytest.raises(OSError, match=r"not followed|more than"):
        open_plain(tmp_path, name)
    with pytest.raises(OSError, match=r"not followed|more than"):
        read_json(tmp_path, name)
    assert is_plain(tmp_path, name) == (kind == "terabyte")
    if kind not in ("terabyte", "folder"):
        with pytest.raises(OSError, match=r"is a|no plain file"):
            check_plain(tmp_path)


@pytest.mark.parametrize("name", ["../x", "inner/../../x", "link/x", "link/inner/x", "inner/link/x"])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "inner").mkdir()
    for path in (tmp_path / "x", tmp_path / "inner" / "x"):
        path.write_text("secret")
    (folder / "link").symlink_to(tmp_path)
    (folder / "inner" / "link").symlink_to(tmp_path)
    assert not is_plain(folder, name)
    with pytest.raises(OSError, match="not followed"):
        read_plain(folder, name)


def test_a_file_may_be_as_large_as_is_said_and_no_larger(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(10))
    assert len(read_plain(tmp_path, "x", 10)) == 10
    with pytest.raises(OSError, match="10 bytes, more than the 9"):
        read_plain(tmp_path, "x", 9)
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path, "nowhere")


def test_a_pipe_that_is_written_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    reader = os.open(tmp_path / "x", os.O_RDWR | os.O_NONBLOCK)
    os.write(reader, b"{}")
    with pytest.raises(OSError, match="a pipe"):
        read_json(tmp_path, "x")
    os.close(reader)


COLUMNS = {
    "rows": np.arange(6).reshape(2, 3), "columns": np.asfortranarray(np.ones((2, 3))), "words": np.array(["é", "yes"]),
    "truths": np.array([True, False]), "no rows": np.zeros((0, 3), np.float32), "no words": np.array([], dtype=str),
    "one": np.array(3.0), "bytes": np.array([b"ab"]), "big-endian": np.arange(3, dtype=">i2"), "half": np.ones(3, np.float16),
    "turned": np.array([["a", "bc"], ["d", "e"]]).T, "long": np.zeros((1, 2, 3, 4, 5), np.int8), "int": np.array([-(2**63)]),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_arrays_are_read_as_numpy_reads_them(name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{name: COLUMNS[name]})
    with np.load(tmp_path / "x.npz") as file:
        (own,) = file.values()
    (read,) = read_arrays(tmp_path, "x.npz").values()
    assert (read.dtype, read.shape) == (own.dtype, own.shape)
    assert np.array_equal(read, own)


@pytest.mark.parametrize(
    "array", [np.array([object()]), np.zeros(2, "i4,f4"), np.zeros(2, "c16"), np.zeros(2, "M8[s]"), np.zeros(2, "V4")]
)
def test_arrays_of_anything_but_numbers_and_words_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", allow_pickle=True, x=array)
    with pytest.raises(ValueError, match="no array of numbers or words"):
        read_arrays(tmp_path, "x.npz")
