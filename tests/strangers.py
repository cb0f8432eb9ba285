"""Runs as a stranger may leave them: links, pipes and bombs in place of files, and a folder outside that is to stay as it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import read_card, run_of, tone, write_card
from made_up import make_run

SECRET = "only for the owner of this machine"
FILES = (
    "card.json", "config.yaml", "metrics.csv", "predictions.npz", "checkpoints/best.ckpt", "audio/index.json",
    "audio/a_noisy.wav", "figures/loss.png", "figures/levels.png", ".lock", "train.log",
)  # fmt: skip
FOLDERS = ("checkpoints", "audio", "figures")


class Place:
    """A working folder with a stranger's run, another that is whole, and files outside that nobody is to touch."""

    def __init__(self, folder: Path, finished: Path) -> None:
        import soundfile

        self.folder, self.runs = folder, folder / "runs"
        snr = np.linspace(1, 9, 20)
        self.run, self.other = (make_run(self.runs, seed=seed, snr=snr + seed) for seed in (0, 1))
        (self.run / "checkpoints").mkdir()
        shutil.copy(run_of(finished) / "checkpoints" / "best.ckpt", self.run / "checkpoints" / "best.ckpt")
        for name in ("audio", "figures"):
            (self.run / name).mkdir()
        soundfile.write(self.run / "audio" / "a_noisy.wav", tone(0.2), 16000)
        soundfile.write(folder / "speech.wav", tone(0.2), 32000)
        (self.run / "audio" / "index.json").write_text(
            json.dumps([{"file": "a_noisy.wav", "name": "a", "version": "noisy"}])
        )
        for name in ("loss", "levels"):
            (self.run / "figures" / f"{name}.png").write_bytes(picture(2, 2))
        self.outside = folder / "outside"
        self.outside.mkdir()
        take_away(self.other / "metrics.csv")
        for name in FILES:  # each is good for what it would be read as, and says what is secret
            path = self.outside / name
            path.parent.mkdir(exist_ok=True)
            if (self.run / name).exists():
                shutil.copy(self.run / name, path)
        write_card(self.outside, {**read_card(self.run), "command": SECRET})
        for name, sign in (("config.yaml", "#"), ("metrics.csv", ""), (".lock", ""), ("train.log", "")):
            with (self.outside / name).open("a") as file:
                file.write(f"{sign} {SECRET}\n")
        for name in ("loss", "levels"):
            with (self.outside / "figures" / f"{name}.png").open("ab") as file:
                file.write(SECRET.encode())
        self.before = self.state_outside()

    def state_outside(self) -> dict[str, bytes]:
        """The files outside, with their content."""
        return {str(path): path.read_bytes() for path in self.outside.rglob("*") if path.is_file()}

    def commands(self) -> list[list[str]]:
        """What a person does with a run; the last one removes it."""
        run = str(self.run)
        return [
            ["runs", "list", str(self.runs)], ["runs", "show", run], ["runs", "verify", run], ["report", run],
            ["compare", run, str(self.other)], ["denoise", run, "speech.wav", "-o", "denoised"],
            ["sweep", "status", str(self.runs)], ["runs", "remove", run, "--yes"],
        ]  # fmt: skip

    def check(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
        """Every command ends by itself, with a sentence or well; nothing of what lies outside is shown or changed."""
        said = ""
        for words in self.commands():
            code = run_speechml(monkeypatch, *words)
            out = "".join(capsys.readouterr())
            assert code in (0, 1, 2), words
            assert "\x1b" not in out
            said += out
            pages = [path for path in self.folder.rglob("*.html") if not path.is_symlink()]
            seen = out + "".join(page.read_text() for page in pages)
            assert SECRET not in seen, words
        assert self.state_outside() == self.before
        return said


def run_speechml(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `speechml ...`, in this process, which may also return."""
    import sys

    from speechml.cli import main as cli

    monkeypatch.setattr(sys, "argv", ["speechml", *words])
    try:
        cli.app()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def picture(width: int, height: int, rows: int = 2) -> bytes:
    """A PNG file of some rows whose header may say anything."""

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(min(width, 4))) * rows)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", pixels) + part(b"IEND", b"")


def array_file(header: str, content: bytes = b"") -> bytes:
    """A .npy file whose header may say anything."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def link(path: Path, target: Path) -> None:
    """A link in place of a file or folder."""
    take_away(path)
    path.symlink_to(target)


def take_away(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)


def make_socket(path: Path) -> None:
    """A socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):  # its address has few letters
        server.bind(path.name)


def make_sparse(path: Path) -> None:
    """A file of a terabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


ODD: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo, "socket": make_socket, "folder": Path.mkdir, "terabyte": make_sparse,
    "link to a device": lambda path: path.symlink_to("/dev/zero"), "link to nothing": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
}  # fmt: skip
