"""Trained networks that runs begin with: a run, a checkpoint or an exported folder, read as data and known by a checksum."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from speechml import __version__
from speechml.contracts import Config
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.trained import find_checkpoint
from speechml.errors import UserError, explain_missing_extras
from speechml.runs.card import Record, load_card
from speechml.storage.files import write_text
from speechml.storage.plain_files import most_checkpoint, read_json, read_plain

FORMAT = 1  # raise it when what model.json holds changes
WEIGHTS, MODEL = "weights.safetensors", "model.json"
AGAIN = "export the run again"
ANCESTORS = 100  # that a lineage names at most
ENTRY = ("experiment", "id", "weights", "data", "loaded", "skipped", "new", "frozen")  # of a lineage


class Parent(NamedTuple):
    """A trained network, as a file describes it. Nothing of it is built.

    place: where it was read.
    model: the model of its config.
    weights: by name.
    checksum: of the weights, the same in a run, a checkpoint and an exported folder.
    heard: short checksums of what it was trained or validated on; None where that is not known.
    about: its entry in a lineage, as far as the file tells.
    lineage: of the networks that it began with itself.
    """

    place: Path
    model: Config
    weights: dict[str, torch.Tensor]
    checksum: str
    heard: list[str] | None
    about: Record
    lineage: list[Record]


def weights_checksum(place: str, cache: str) -> str:
    """The checksum of the weights of a trained network; where they are gone, the last one that is remembered of the place.

    A run that has begun with them goes on without them, and still has to be found by its id.

    Args:
        place: of a run, a checkpoint or an exported folder.
        cache: in which checksums are remembered; empty: not at all.

    Raises:
        UserError: there are no such weights, and never were.
    """
    path = Path(place).expanduser().absolute()
    name = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:16]
    mark = Path(cache).expanduser() / "parents" / name
    try:
        checksum = read_parent(path).checksum
    except UserError:
        with suppress(OSError):
            if cache and re.fullmatch("[0-9a-f]{16}", text := mark.read_text().strip()):
                return text
        raise
    with suppress(OSError):
        if cache and (not mark.exists() or mark.read_text() != checksum):
            mark.parent.mkdir(parents=True, exist_ok=True)
            write_text(mark, checksum)
    return checksum


def read_parent(place: Path) -> Parent:
    """The trained network in a folder or file.

    Raises:
        UserError: none is there, or it is damaged, carries code, or was not written by speechml.
    """
    file = place / WEIGHTS if (place / MODEL).is_file() else find_checkpoint(place)
    try:
        status = file.stat()
    except OSError as error:
        raise UserError(f"{file} cannot be read", str(error.strerror), "give another one") from error
    return _read(place, file, status.st_mtime_ns, status.st_size)


@lru_cache(1)  # its id, and then its weights
def _read(place: Path, file: Path, changed: int, size: int) -> Parent:  # noqa: ARG001 (when it was written)
    if file.name == WEIGHTS and (place / MODEL).is_file():
        about = read_about(place / MODEL)
        return _parent(place, about["model"], about.get("classes"), read_weights(file, about), about)
    content = read_checkpoint(file)
    record = content["speechml"]
    config, card = record["config"], load_card(file.resolve().parents[1]) if file.parent.name == "checkpoints" else None
    model = config["model"] if isinstance(config.get("model"), dict) else {}
    known = {"experiment": config.get("name"), "id": card.id if card else "", **record}
    return _parent(place, model, model.get("classes"), content["state_dict"], known)


def _parent(place: Path, model: Config, classes: object, weights: dict[str, torch.Tensor], record: Record) -> Parent:
    model = {**model, "classes": classes if isinstance(classes, list) else None}
    heard, checksum = record.get("heard"), checksum_of(weights)
    is_known = (
        not record.get("heard_unknown")
        and isinstance(heard, list)
        and bool(heard)
        and all(isinstance(one, str) for one in heard)
    )
    about = {**{name: record.get(name) for name in ("experiment", "id", "data")}, "weights": checksum}
    older = record.get("lineage")
    lineage = [entry(one) for one in older[:ANCESTORS]] if isinstance(older, list) else []
    return Parent(place, model, weights, checksum, heard if is_known else None, entry(about), lineage)


def entry(content: Any) -> Record:
    """What a lineage says of a network, of what a file may say."""
    known = content if isinstance(content, dict) else {}
    return {name: known[name] for name in ENTRY if isinstance(known.get(name), str | int)}


def checksum_of(weights: dict[str, torch.Tensor]) -> str:
    """Sixteen hexadecimal digits of names, types, shapes and values, whatever file they lie in."""
    total = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name].detach().contiguous()
        total.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode(errors="surrogateescape"))
        total.update(weight.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def read_about(path: Path) -> Config:
    """What model.json says, in a format that is known.

    Raises:
        UserError: it cannot be read, or was not written by speechml.
    """
    try:
        about = read_json(path.parent, path.name)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read", type(error).__name__, AGAIN) from error
    if not isinstance(about, dict) or type(about.get("format")) is not int or not isinstance(about.get("model"), dict):
        raise UserError(f"{path} was not written by speechml export", fix="give a folder that it wrote")
    if about["format"] != FORMAT:
        other = f"{path} was written by speechml {about.get('version')} in format {about['format']}"
        raise UserError(other, f"this is {__version__}, which reads format {FORMAT}", AGAIN)
    return about


def read_weights(path: Path, about: Config) -> dict[str, torch.Tensor]:
    """The weights that belong to model.json, whole.

    Raises:
        UserError: they cannot be read, or are others.
    """
    with explain_missing_extras():
        import safetensors.torch
    try:
        content = read_plain(path.parent, path.name, most_checkpoint())
        if hashlib.sha256(content).hexdigest() != about.get("weights_sha256"):
            raise UserError(f"{path} is damaged", f"its checksum is not the one in {MODEL}", AGAIN)
        weights = safetensors.torch.load(content)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read", str(error.strerror), AGAIN) from error
    except Exception as error:  # readers of hostile bytes raise whatever comes up: the refusal is the same
        raise UserError(f"{path} cannot be read as safetensors", type(error).__name__, AGAIN) from error
    return weights
