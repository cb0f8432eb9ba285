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
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from speechml.storage.checkpoint_checksum import MARK, sealed
from stress_damage import Damage, Originals, nested, saved

GIANT = 5 << 29  # bytes, 2.5 GiB: more than reading any checkpoint may take
PIECE = bytes(1 << 26)


class Call:
    """Unpickled, it is the result of a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Stored:
    """Pickled, it is a reference to a storage of a checkpoint."""

    def __init__(self, key: str, count: int) -> None:
        self.reference = ("storage", torch.FloatStorage, key, "cpu", count)


class Pickler(pickle.Pickler):
    """As torch's, for `Stored`."""

    def persistent_id(self, what: Any) -> Any:
        return what.reference if isinstance(what, Stored) else None


def payload(draws: Random, canary: Path) -> Call:
    """A call that makes the canary, should it be unpickled."""
    text, touch = str(canary), f"touch {canary}"
    legacy = pickle.dumps(Call(os.system, touch), protocol=2)
    calls = [
        Call(os.system, touch),
        Call(builtins.exec, f"open({text!r}, 'w')"),
        Call(builtins.eval, f"open({text!r}, 'w')"),
        Call(builtins.open, text, "w"),
        Call(subprocess.Popen, ["touch", text]),
        Call(subprocess.check_call, ["touch", text]),
        Call(pathlib.Path.write_text, canary, "x"),
        Call(np.save, text, 0),
        Call(np.testing.runstring, f"open({text!r}, 'w')", {}),
        Call(np.memmap, text, "uint8", "w+", 0, 8),
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
    buffer, form = io.BytesIO(), draws.choice(["pickle", "legacy", "tar", "numpy"])
    if form == "pickle":
        buffer.write(pickle.dumps(payload(draws, canary), protocol=draws.randrange(6)))
    elif form == "legacy":
        torch.save(with_code(draws, originals, canary), buffer, _use_new_zipfile_serialization=False)
    elif form == "numpy":
        np.save(buffer, np.array([payload(draws, canary)], dtype=object), allow_pickle=True)
    else:
        code = pickle.dumps(payload(draws, canary), protocol=2)
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name in ("storages", "tensors", "pickle"):
                item = tarfile.TarInfo(name)
                item.size = len(code)
                tar.addfile(item, io.BytesIO(code))
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


def rebuilt(function: Callable[..., Any], *arguments: Any, storage: bytes = bytes(16)) -> bytes:
    """A checkpoint with a weight that is the result of one of torch's functions that readers of checkpoints call."""
    buffer = io.BytesIO()
    content = {"state_dict": {"net.taps": Call(function, *arguments)}, "speechml": {"format": 2, "config": {}}}
    Pickler(buffer, protocol=2).dump(content)
    return archive(
        {"a/data.pkl": buffer.getvalue(), "a/byteorder": b"little", "a/data/0": storage, "a/version": b"3\n"}
    )


def forged_tensors(originals: Originals, draws: Random, path: Path, canary: Path) -> None:  # noqa: ARG001
    """Weights whose sizes lie about the memory that they have."""
    from torch import _utils

    one, count = Stored("0", 4), draws.choice([4, 10**6, 10**13, -4])
    size, stride, offset = draws.choice(
        [((4,), (1,), 4), ((10**9,), (1,), 0), ((4,), (10**12,), 0), ((-1,), (1,), 0), ((4,), (-1,), 3)]
    )
    dense: tuple[Any, ...] = (_utils._rebuild_tensor_v2, one, offset, size, stride, False, {})
    indices = Call(_utils._rebuild_tensor_v2, Stored("0", 4), 0, (1, 4), (4, 1), False, {})
    values = Call(_utils._rebuild_tensor_v2, Stored("0", 4), 0, (4,), (1,), False, {})
    crafted: list[tuple[Any, ...]] = [
        dense,
        (_utils._rebuild_tensor_v2, Stored("0", count), 0, (10**6,), (1,), False, {}),
        (_utils._rebuild_tensor_v2, Stored(draws.choice(["1", "../0", "a/data.pkl"]), 4), 0, (4,), (1,), False, {}),
        (_utils._rebuild_sparse_tensor, torch.sparse_coo, (indices, values, (4,), draws.random() < 0.5)),
        (_utils._rebuild_nested_tensor, values, values, values, values),
        (_utils._rebuild_qtensor, one, offset, size, stride, (torch.per_tensor_affine, 0.1, 0), False, {}),
        (_utils._rebuild_meta_tensor_no_storage, torch.float32, (10**9, 10**9), (1, 1), False),
        (_utils._rebuild_parameter, values, draws.choice([True, "x", values]), {}),
        (torch.Tensor, 10**13),
        (bytearray, 10**11),
    ]
    path.write_bytes(sealed(rebuilt(*draws.choice(crafted))))


@functools.cache
def zeros() -> tuple[bytes, int]:
    """GIANT zeros as a deflated stream, and their checksum."""
    deflate, sum_, found = zlib.compressobj(9, zlib.DEFLATED, -15), 0, []
    for _ in range(GIANT // len(PIECE)):
        found.append(deflate.compress(PIECE))
        sum_ = zlib.crc32(PIECE, sum_)
    return b"".join(found) + deflate.flush(), sum_


def bomb(originals: Originals, draws: Random, path: Path, canary: Path) -> None:  # noqa: ARG001
    """A small file that says, or is, giant; it stands for the content or for a weight."""
    parts = members(draws.choice(originals))
    giant = draws.choice([name for name in parts if name.endswith(("data.pkl", "/0", "version", "byteorder"))])
    squeezed, sum_ = zeros() if draws.random() < 0.5 else (b"\x03\0", 0)
    marked = b"giant" * 4
    raw = archive({**parts, giant: marked})
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        start = file.getinfo(giant).header_offset
    small, large = (zlib.crc32(marked).to_bytes(4, "little") + 2 * len(marked).to_bytes(4, "little")), b""
    large = b"".join(number.to_bytes(4, "little") for number in (sum_, len(squeezed), GIANT))
    content = bytearray(archive({**parts, giant: squeezed}))
    old = zlib.crc32(squeezed).to_bytes(4, "little") + 2 * len(squeezed).to_bytes(4, "little")
    for at in (start + 14, content.rindex(old)):  # in the member's own header, and in the directory
        content[at : at + 12] = large
        method = at - 6
        content[method : method + 2] = (8).to_bytes(2, "little")
    assert len(small) == 12
    path.write_bytes(bytes(content) if draws.random() < 0.3 else sealed(bytes(content)))


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
    path.write_bytes(sealed(content) if draws.random() < 0.5 else content)


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
    "archive with code": archive_with_code, "pickle with code": pickle_with_code, "forged tensor": forged_tensors,
    "bomb": bomb, "strange archive": strange_archive, "no checkpoint": no_checkpoint,
}  # fmt: skip
