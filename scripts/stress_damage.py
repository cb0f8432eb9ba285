"""Checkpoints damaged and forged in every way that we could think of, each the same for equal seeds."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from speechml.storage.checkpoint_checksum import SEAL_BYTES, seal_copy

Originals = list[bytes]
Damage = Callable[[Originals, Random, Path, Path], None]  # originals, draws, where to put the file, the canary's place
DEEP = 2000  # levels of nesting, twice what Python's own recursion bears


def changed(change: Callable[[bytearray, Random], bytes | bytearray]) -> Damage:
    """A damage that changes the bytes of an original."""

    def damage(originals: Originals, draws: Random, path: Path, canary: Path) -> None:  # noqa: ARG001
        original = draws.choice(originals)
        content = original
        while content == original:
            content = bytes(change(bytearray(original), draws))
        path.write_bytes(content)

    return damage


def cut(raw: bytearray, draws: Random) -> bytearray:
    """The beginning: nothing, next to nothing, all but an end as long as the seal at most, or any."""
    ends = [0, 1, 22, len(raw) - 1, len(raw) - 64, len(raw) - draws.randint(1, SEAL_BYTES)]
    return raw[: draws.choice([*ends, *(draws.randrange(len(raw)) for _ in ends)])]


def flip(raw: bytearray, draws: Random) -> bytearray:
    """One bit."""
    raw[draws.randrange(len(raw))] ^= 1 << draws.randrange(8)
    return raw


def flip_in_the_frame(raw: bytearray, draws: Random) -> bytearray:
    """Up to 40 bits of the first header, the directory, the end or the seal."""
    start, end = draws.choice([(0, 64), (len(raw) - 1200, len(raw)), (len(raw) - SEAL_BYTES - 22, len(raw))])
    for _ in range(draws.choice([1, 2, 40])):
        raw[draws.randrange(start, end)] ^= 1 << draws.randrange(8)
    return raw


def insert(raw: bytearray, draws: Random) -> bytes:
    """Up to 512 bytes more."""
    at = draws.choice([0, len(raw), draws.randrange(len(raw))])
    return bytes(raw[:at]) + draws.randbytes(draws.choice([1, 7, 512])) + bytes(raw[at:])


def zero(raw: bytearray, draws: Random) -> bytearray:
    """A block of zeros, as of a disk that lost it."""
    size = draws.choice([64, 512, 4096])
    at = draws.randrange(len(raw)) // size * size
    raw[at : at + size] = bytes(len(raw[at : at + size]))
    return raw


def joined(originals: Originals, draws: Random, path: Path, canary: Path) -> None:  # noqa: ARG001
    """The first part of one file and the last of another."""
    one, other = draws.sample(originals, 2)
    path.write_bytes(one[: draws.randrange(1, len(one))] + other[draws.randrange(1, len(other)) :])


def saved(content: Any, draws: Random | None = None) -> bytes:
    """A checkpoint file with a right seal; with `draws`, half of the time without one."""
    buffer, limit = io.BytesIO(), sys.getrecursionlimit()
    sys.setrecursionlimit(10 * DEEP)  # writing what is nested recurses, reading need not
    try:
        torch.save(content, buffer)
    finally:
        sys.setrecursionlimit(limit)
    return buffer.getvalue() if draws and draws.random() < 0.5 else seal_copy(buffer.getvalue())


def forged(changes: dict[str, Callable[[dict[str, Any], Random], Any]]) -> Damage:
    """A rightly sealed file with one of these changes to its content; a result that is not None replaces it."""

    def damage(originals: Originals, draws: Random, path: Path, canary: Path) -> None:  # noqa: ARG001
        content = torch.load(io.BytesIO(draws.choice(originals)), weights_only=True)
        content = copy.deepcopy(content)
        name = draws.choice(sorted(changes))
        replaced = changes[name](content, draws)
        path.write_bytes(saved(content if replaced is None else replaced[0]))
        path.with_suffix(".what").write_text(name)

    return damage


def weight(content: dict[str, Any], draws: Random) -> str:
    """The name of a weight."""
    return draws.choice(sorted(k for k, v in content["state_dict"].items() if v.numel() > 1 and v.is_floating_point()))


def replace(with_what: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any], Random], None]:
    """A change of one weight."""

    def change(content: dict[str, Any], draws: Random) -> None:
        name = weight(content, draws)
        content["state_dict"][name] = with_what(content["state_dict"][name])

    return change


def put(*keys: Any, values: tuple[Any, ...] = ()) -> Callable[[dict[str, Any], Random], None]:
    """A change of what stands under `keys`, to one of the values; without them it is removed."""

    def change(content: dict[str, Any], draws: Random) -> None:
        for key in keys[:-1]:
            content = content[key]
        content.pop(keys[-1], None)
        if values:
            content[keys[-1]] = draws.choice(values)

    return change


def nested(levels: int, end: Any, kind: str) -> Any:
    """`end` inside so many containers."""
    for _ in range(levels):
        end = {"a": end} if kind == "dict" else [end]
    return end


Changes = dict[str, Callable[[dict[str, Any], Random], Any]]
MODEL = ("speechml", "config", "model")


def model(content: dict[str, Any]) -> dict[str, Any]:
    """The config of the model that a checkpoint describes."""
    found: dict[str, Any] = content["speechml"]["config"]["model"]
    return found


WEIGHTS: Changes = {
    "weight missing": lambda c, d: c["state_dict"].__delitem__(weight(c, d)),
    "weight unknown": put("state_dict", "net.unknown", values=(torch.zeros(3),)),
    "name with a line break": put("state_dict", "net.\nTraceback: x", values=(torch.zeros(3),)),
    "name that is a number": put("state_dict", 3, values=(torch.zeros(3),)),
    "wrong shape": replace(lambda w: torch.cat([w, w])),
    "wrong number of dimensions": replace(lambda w: w.flatten()[None, None, None]),
    "complex": replace(lambda w: w.to(torch.complex64)),
    "whole numbers": replace(lambda w: w.to(torch.int64)),
    "sparse": replace(lambda w: w.to_sparse()),
    "without storage": replace(lambda w: torch.empty(w.shape, device="meta")),
    "list": replace(lambda w: w.tolist()),
    "None": replace(lambda _: None),
    "state_dict a list": lambda c, _: c.update(state_dict=list(c["state_dict"].values())),
    "state_dict empty": put("state_dict", values=({}, None, "x", 3, torch.zeros(3))),
    "no state_dict": put("state_dict"),
}
FORMATS = (999, "2", "two\nlines", -1, 0, True, False, 1.5, None, [2], 10**30, float("nan"))
RECORDS: Changes = {
    "no record": put("speechml"),
    "record of another kind": put("speechml", values=(None, [], "x", 2, torch.zeros(2), {})),
    "no config": put("speechml", "config"),
    "config of another kind": put("speechml", "config", values=(None, [], "x", 2, {}, {1: 2})),
    "no format": put("speechml", "format"),
    "format": put("speechml", "format", values=FORMATS),
    "version of lines": lambda c, _: c["speechml"].update(format=3, version="a\nb" * 999),
    "no dict": lambda c, d: (d.choice([None, [], [c], "x", 3, torch.zeros(3)]),),
    "deep config": lambda c, _: c["speechml"].update(config=nested(DEEP, 1, "dict")),
    "deep model": lambda c, _: c["speechml"]["config"].update(model=nested(DEEP, 1, "dict")),
    "deep net": lambda c, d: model(c).update(net=nested(DEEP, 1, d.choice(["dict", "list"]))),
    "deep target": lambda c, d: model(c).update(_target_=nested(DEEP, 1, d.choice(["dict", "list"]))),
    "config in itself": lambda c, _: c["speechml"]["config"].update(model=c["speechml"]["config"]),
    "no model": put(*MODEL),
    "no net": put(*MODEL, "net"),
    "model of another kind": put(*MODEL, values=(None, [], "x", 2, {}, {1: 2}, {"_target_": ["os"]})),
    "unknown key": put(*MODEL, "unknown", values=(1,)),
    "key of lines": put(*MODEL, "a\nb", values=(1,)),
    "wrong taps": put(*MODEL, "net", "taps", values=(-1, 0, 10**13, "x", None, [1], 2.5)),
    "wrong classes": put(*MODEL, "classes", values=(3, "x", [1, 2], {"a": 1})),
}
OUTSIDE = (
    "os.system", "posix.system", "torch.hub.load", "subprocess.Popen", "builtins.eval", "builtins.exec", "torch.load",
    "torch.os.system", "torch.utils.cpp_extension.load_inline", "torch.jit.load", "speechml.storage.audio.os.system",
    "lightning.pytorch.cli.LightningCLI", "numpy.load", "pickle.loads", "torch._dynamo.config", "torch.nn.Module",
    "speechml.config.instantiate.importlib.import_module", "torch", "torch.", ".", "", "torch..nn", "torch.\0",
    "torch.nn.\nLinear",
    "torch." + 4000 * "a.", "torch." + 5000 * "a", "torch.\ud800", "speechml.nothing.Here", "torch.multiprocessing.Process",
    "torch.distributed.nn.api.remote_module.RemoteModule", "torch.jit.ScriptModule", "lightning.pytorch.Trainer",
    "torch.ao.nn.quantized.Linear",
)  # fmt: skip
WORDS = {"command": "touch canary", "args": ["touch canary"], "github": "x/y", "f": "canary"}
TARGETS: Changes = {
    "model": put(*MODEL, "_target_", values=OUTSIDE),
    "net": put(*MODEL, "net", "_target_", values=OUTSIDE),
    "model of words": lambda c, d: c["speechml"]["config"].update(model={"_target_": d.choice(OUTSIDE), **WORDS}),
    "net of words": lambda c, d: model(c).update(net={"_target_": d.choice(OUTSIDE), **WORDS}),
}
KINDS: dict[str, Damage] = {
    "cut": changed(cut), "bit flipped": changed(flip), "halves joined": joined,
    "bits of the frame flipped": changed(flip_in_the_frame),
    "bytes inserted": changed(insert), "block zeroed": changed(zero), "other weights": forged(WEIGHTS),
    "other record": forged(RECORDS), "other target": forged(TARGETS),
}  # fmt: skip
