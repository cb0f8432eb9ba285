"""Speech Commands from its publisher: downloaded, checked by its sum, unpacked without letting it out of its folder."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

from speechml.data.word_folders import list_audio, word_folders
from speechml.errors import UserError
from speechml.storage.files import lock_file, make_folder


def download(version: str, root: Path) -> Path:
    """The folder below `root` that holds a version of the data set (v0.01, v0.02), downloaded unless it is there.

    Clips that lie in `root` itself are taken as they are: nothing says which version they are.

    Raises:
        UserError: no connection, a wrong sum, or an archive with anything outside its folder; nothing of it is then kept.
    """
    folder = root / f"speech_commands_{version}"
    if place := downloaded(version, root):
        return place
    if root.is_dir() and list_audio(root, word_folders(root))[0].names:
        return root
    make_folder(root)
    with lock_file(root / ".download.lock"):
        if not folder.is_dir():
            _download(*archive_of(version), root, folder)
    return folder


def downloaded(version: str, root: Path) -> Path | None:
    """The folder below `root` that holds a version already; None where there is none."""
    folder = root / f"speech_commands_{version}"
    places = (folder, root / "SpeechCommands" / folder.name)  # ours, torchaudio's
    return next((place for place in places if place.is_dir()), None)


def archive_of(version: str) -> tuple[str, str]:
    """Address and SHA-256 of a version's archive, as torchaudio lists them."""
    from torchaudio.datasets import speechcommands

    sums: dict[str, str] = speechcommands._CHECKSUMS
    return next((url, checksum) for url, checksum in sums.items() if version in url)


def _download(url: str, checksum: str, root: Path, folder: Path) -> None:
    # Not torchaudio's own download: it lets an archive write anywhere, and takes a folder that is cut short for whole.
    from torch.hub import download_url_to_file

    archive, unpacked = root / ".download.part", root / ".unpacked.part"
    try:
        shutil.rmtree(unpacked, ignore_errors=True)
        download_url_to_file(url, str(archive), checksum, progress=sys.stderr.isatty())
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise UserError(f"{url} cannot be unpacked safely", why=str(error), fix="nothing of it was kept") from error
        unpacked.rename(folder)  # all of it at once, and nothing else in root is touched
    except RuntimeError as error:
        raise UserError(f"{url} has a wrong checksum", str(error), "nothing of it was kept; try again") from error
    except (OSError, ValueError) as error:
        fix = "download and unpack it elsewhere, and set data.root"
        raise UserError(f"{url} cannot be downloaded", why=str(error), fix=fix) from error
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)
