"""Speech Commands from its publisher: fetched, checked by its sum, unpacked without letting it out of its folder."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

from speechml.data import word_folders
from speechml.errors import UserError
from speechml.storage.files import lock_file, make_folder


class Archive(NamedTuple):
    """Where an archive lies, and its SHA-256."""

    url: str
    sha256: str


# Addresses and sums: torchaudio.datasets.SPEECHCOMMANDS.
BASE = "http://download.tensorflow.org/data"
ARCHIVES = {
    "v0.01": Archive(
        f"{BASE}/speech_commands_v0.01.tar.gz", "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d"
    ),
    "v0.02": Archive(
        f"{BASE}/speech_commands_v0.02.tar.gz", "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
    ),
}


def fetch(version: str, root: Path) -> Path:
    """The folder below `root` that holds a version of the data set, fetched unless it is there.

    Clips that lie in `root` itself are taken as they are: nothing says which version they are.

    Raises:
        UserError: unknown version, no connection, a wrong sum, or an archive with anything outside its folder; nothing of it
            is then kept.
    """
    if version not in ARCHIVES:
        raise UserError(f"data.download is {version}; it can be {' or '.join(ARCHIVES)}")
    folder = root / f"speech_commands_{version}"
    for place in (folder, root / "SpeechCommands" / folder.name):  # ours, torchaudio's
        if place.is_dir():
            return place
    if word_folders.holds_words(root):
        return root
    make_folder(root)
    with lock_file(root / ".download.lock"):
        if not folder.is_dir():
            _fetch(ARCHIVES[version], root, folder)
    return folder


def _fetch(archive: Archive, root: Path, folder: Path) -> None:
    from torch.hub import download_url_to_file

    part, unpacked = root / ".download.part", root / ".unpacked.part"
    try:
        try:
            download_url_to_file(archive.url, str(part), progress=sys.stderr.isatty())
        except (OSError, ValueError) as error:
            raise UserError(
                f"{archive.url} cannot be fetched ({error}); fetch it elsewhere, unpack it, and give its folder as data.root"
            ) from error
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != archive.sha256:
            raise UserError(
                f"{archive.url} has SHA-256 {found} instead of {archive.sha256}; it was thrown away: try again"
            )
        _unpack(part, unpacked, archive.url)
        unpacked.rename(folder)  # all of it at once, and nothing else in root is touched
    finally:
        part.unlink(missing_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)


def _unpack(archive: Path, folder: Path, url: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{url} cannot be unpacked safely ({error}); nothing of it was kept") from error
