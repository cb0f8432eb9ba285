"""Checkpoint files that carry code, and things that are no checkpoint at all."""

from __future__ import annotations

import builtins
import functools
import hashlib
import io
import os
import pathlib
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from speechml.storage.checkpoint_checksum import MARK, seal_copy
from stress_damage import Damage, Originals, nested, saved


class Call:
    """Unpickled, it is the result of a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def payload(draws: Random, canary: Path) -> Call:
    """A call that makes the canary, should it be unpickled."""
    text, touch = str(canary), f"touch {canary}"
    legacy = pickle.dumps(Call(os.system, touch), protocol=2)
    calls = [
        Call(os.system, touch),
        Call(builtins.exec, f"open({text!r}, 'w')"),
        Call(builtins.open, text, "w"),
        Call(subprocess.Popen, ["touch", text]),
        Call(pathlib.Path.write_text, canary, "x"),
        Call(np.save, text, 0),
        Call(torch.save, 0, text),
        Call(torch.storage._load_from_bytes, legacy),
        Call(functools.partial(torch.load, weights_only=False), io.BytesIO(legacy)),
        Call(pickle.loads, legacy),
        Call(torch.hub.download_url_to_file, "file:///etc/hostname", text),
        Call(functools.reduce, os.path.join, [Call(os.system, touch), "x"]),
    ]
    return draws.choice(calls)


def with_code(draws: Random, originals: Originals, canary: Path) -> Any:
    """The content of a checkpoint with a payload somewhere."""
    content = torch.load(io.BytesIO(draws.choice(originals)), weights_only=True)
    call, where = payload(draws, canary), draws.randrange(6)
    if where == 0:
        return call
    if where == 1:
        return {call: content}
    places = (content, content["state_dict"], content["speechml"], content["speechml"]["config"]["model"])
    places[where - 2]["net"] = call
    return content


def archive_with_code(originals: Originals, draws: Random, path: Path, canary: Path) -> None:
    """torch's present format."""
    path.write_bytes(saved(with_code(draws, originals, canary), draws))


def pickle_with_code(originals: Originals, draws: Random, path: Path, canary: Path) -> None:
    """A plain pickle, torch's older formats, numpy's, or one of these inside another; some with a right seal."""
    buffer, form = io.BytesIO(), draws.choice(["pickle", "legacy", "numpy"])
    if form == "pickle":
        hostile, protocol = payload(draws, canary), draws.randrange(6)
        try:
            buffer.write(pickle.dumps(hostile, protocol))
        except TypeError:  # the oldest protocols have no words for a buffer
            buffer.write(pickle.dumps(hostile, 2))
    elif form == "legacy":
        torch.save(with_code(draws, originals, canary), buffer, _use_new_zipfile_serialization=False)
    else:
        np.save(buffer, np.array([payload(draws, canary)], dtype=object), allow_pickle=True)
    content = draws.choice([b"", b"PK", b"PK\x03\x04"]) + buffer.getvalue()
    if draws.random() < 0.5:
        content += MARK
        content += hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(content)


def archive(members: dict[str, bytes], compressed: bool = False) -> bytes:
    """A ZIP archive as torch's, of any content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def members(raw: bytes) -> dict[str, bytes]:
    """What a ZIP archive holds, by name."""
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        return {name: file.read(name) for name in file.namelist()}


@functools.cache
def giant() -> bytes:
    """A small archive with a part of 2.5 GiB: more than reading any checkpoint may take."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("a/data.pkl", "w", force_zip64=True) as part,
    ):
        for _ in range(40):
            part.write(bytes(1 << 26))
    return buffer.getvalue()


def bomb(originals: Originals, draws: Random, path: Path, canary: Path) -> None:  # noqa: ARG001
    """A giant part, or one that is small and says that it is giant; it stands for the content or for a weight."""
    content = bytearray(giant())
    if draws.random() < 0.7:
        parts = members(draws.choice(originals))
        name = draws.choice([name for name in parts if name.endswith(("data.pkl", "/0", "version", "byteorder"))])
        content = bytearray(archive(parts))
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            own = file.getinfo(name).header_offset
        for field in (own + 22, content.rindex(name.encode()) - 22):  # in the part's own header, and in the directory
            content[field : field + 4] = (5 << 29).to_bytes(4, "little")
    path.write_bytes(seal_copy(bytes(content)) if draws.random() < 0.7 else bytes(content))


def strange_archive(originals: Originals, draws: Random, path: Path, canary: Path) -> None:
    """Members that lie outside, an archive inside an archive, code of TorchScript, no member."""
    raw = draws.choice(originals)
    code = pickle.dumps(payload(draws, canary), protocol=2)
    parts = members(raw)
    outside = draws.choice(["../../x", str(canary.parent), "..", "C:\\x"])
    made = {
        "outside": lambda: archive({f"{outside}/{name.partition('/')[2]}": code for name in parts} | {str(canary): b"x"}),
        "nested": lambda: archive({"a/data.pkl": raw, "a/version": b"3\n"}),
        "a checkpoint in a folder": lambda: archive({"run/best.ckpt": raw}, compressed=True),
        "compressed": lambda: archive({"a/data.pkl": code, "a/version": b"3\n"}, compressed=True),
        "script": lambda: archive({"a/code/x.py": b"import os", "a/constants.pkl": code, "a/version": b"3\n"}),
        "empty": lambda: archive({}),
        "empty content": lambda: archive(dict.fromkeys(parts, b"")),
        "no content": lambda: archive({name: part for name, part in parts.items() if not name.endswith("data.pkl")}),
        "endless": lambda: archive({"a/data.pkl": b"\x80\x02" + b"(" * 10**6 + b"t.", "a/version": b"3\n"}),
        "long memo": lambda: archive({"a/data.pkl": b"\x80\x02Nr\xff\xff\xff\x7f.", "a/version": b"3\n"}),
        "deep": lambda: archive({"a/data.pkl": b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", "a/version": b"3\n"}),
        "python's pickle of it": lambda: archive({"a/data.pkl": pickle.dumps(nested(300, code, "list")), "a/version": b"3\n"}),
    }  # fmt: skip
    content = made[draws.choice(sorted(made))]()
    path.write_bytes(seal_copy(content) if draws.random() < 0.5 else content)


def no_checkpoint(originals: Originals, draws: Random, path: Path, canary: Path) -> None:  # noqa: ARG001
    """Text, a page of a server's error, a folder, a link to nowhere, a pipe, a file that may not be read."""
    html = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>\nNot Found\n</body></html>\n"
    texts = [
        html, b"taps: 8\n", "Gr\u00fc\u00dfe\n".encode("utf-16"), b"\0" * 4096, b"PK" + draws.randbytes(3000),
        draws.randbytes(3000), b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4533\n",
    ]  # fmt: skip
    ways: list[Callable[[], object]] = [lambda: path.write_bytes(draws.choice(texts))] * 3
    ways += [
        path.mkdir,
        lambda: path.symlink_to(path.with_name("nowhere")),
        lambda: path.symlink_to(path),
        lambda: os.mkfifo(path),
    ]
    ways += [lambda: path.symlink_to("/dev/zero"), lambda: path.symlink_to("/dev/null")]
    if os.geteuid() != 0:  # root reads everything
        ways.append(lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0)))
    draws.choice(ways)()


KINDS: dict[str, Damage] = {
    "archive with code": archive_with_code, "pickle with code": pickle_with_code,
    "bomb": bomb, "strange archive": strange_archive, "no checkpoint": no_checkpoint,
}  # fmt: skip
