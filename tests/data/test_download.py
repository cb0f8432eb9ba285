"""Fetching the data set: from a file's address, checked, unpacked inside its folder or not at all."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from conftest import make_words
from speechml.data import SpeechCommands
from speechml.data import download as download_module
from speechml.data.download import archive_of, download
from speechml.errors import UserError


def packed(path: Path, source: Path, extra: str | None = None) -> str:
    """Write a tar.gz of a folder's content, with a further member of any name; gives its SHA-256."""
    with tarfile.open(path, "w:gz") as tar:
        for item in sorted(source.iterdir()):
            tar.add(item, item.name)
        if extra:
            member = tarfile.TarInfo(extra)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_archive_is_fetched_once_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = packed(tmp_path / "a.tar.gz", make_words(tmp_path / "words"))
    monkeypatch.setattr(download_module, "archive_of", lambda _: ((tmp_path / "a.tar.gz").as_uri(), total))
    keys = {"sample_rate": 16000, "batch_size": 8, "split_seed": 0, "cache": str(tmp_path / "cache")}
    data = SpeechCommands(root=str(tmp_path / "root"), download="v0.02", **keys)
    assert data.classes == ["high", "low", "middle"]
    (tmp_path / "a.tar.gz").unlink()
    assert SpeechCommands(root=str(tmp_path / "root"), download="v0.02", **keys).classes == data.classes
    assert download("v0.02", tmp_path / "root") == tmp_path / "root" / "speech_commands_v0.02"


def test_clips_that_are_there_are_not_fetched_and_nothing_else_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_words(tmp_path / "root", speakers=2)
    root.chmod(0o555)
    assert download("v0.02", root) == root
    root.chmod(0o755)
    total = packed(tmp_path / "a.tar.gz", make_words(tmp_path / "words"), "README.md")
    monkeypatch.setattr(download_module, "archive_of", lambda _: ((tmp_path / "a.tar.gz").as_uri(), total))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    assert download("v0.01", tmp_path / "mine") == tmp_path / "mine" / "speech_commands_v0.01"
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "extra", "says"),
    [
        ("wrong sum", None, "has a wrong checksum"),
        ("climbs out", "../outside.txt", "cannot be unpacked safely"),
        ("absolute", "/tmp/../outside.txt", "cannot be unpacked safely"),
        ("no archive", None, "cannot be unpacked safely"),
        ("absent", None, "cannot be downloaded"),
    ],
)
def test_a_bad_archive_leaves_nothing(
    name: str, extra: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = packed(tmp_path / "a.tar.gz", make_words(tmp_path / "words", speakers=2), extra)
    if name == "wrong sum":
        total = "0" * 64
    if name == "no archive":
        (tmp_path / "a.tar.gz").write_bytes(b"this is no archive")
        total = hashlib.sha256(b"this is no archive").hexdigest()
    if name == "absent":
        (tmp_path / "a.tar.gz").unlink()
    monkeypatch.setattr(download_module, "archive_of", lambda _: ((tmp_path / "a.tar.gz").as_uri(), total))
    with pytest.raises(UserError, match=says):
        download("v0.01", tmp_path / "root")
    assert [p.name for p in (tmp_path / "root").iterdir()] == [".download.lock"]  # others may be waiting for it
    assert not (tmp_path / "outside.txt").exists()


def test_torchaudio_lists_address_and_sum_of_each_version() -> None:
    """Its table is no public name: where it is gone, write the two addresses and sums into `archive_of`."""
    for version in ("v0.01", "v0.02"):
        url, checksum = archive_of(version)
        assert url.endswith(f"speech_commands_{version}.tar.gz")
        assert len(checksum) == 64
