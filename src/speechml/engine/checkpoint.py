"""Checkpoints: tensors and plain containers only, from which a network can be rebuilt without its run."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from speechml import __version__, contracts
from speechml.config.instantiate import build, import_class
from speechml.contracts import Config, missing_members
from speechml.engine.resume import State
from speechml.errors import UserError, machine_failure
from speechml.runs.folder import LAST, PREVIOUS
from speechml.storage.checkpoint_checksum import is_sealed, is_whole, seal
from speechml.storage.files import Repeated, make_durable, write_bytes
from speechml.storage.plain_files import check_stored, most_checkpoint, read_plain

if TYPE_CHECKING:
    from speechml.tasks.base import Task

ANOTHER = "use another of the run, or train again with redo=true"
TRAINING = (
    "callbacks",
    "loops",
    "optimizer_states",
    "lr_schedulers",
    "resume",
    "MixedPrecision",
)  # what it goes on with
ARGUMENTS = (  # of modules that keep them, which may be anything; the config has them
    "hyper_parameters", "hparams_name", "hparams_type", "datamodule_hyper_parameters", "datamodule_hparams_name",
    "datamodule_hparams_type",
)  # fmt: skip
INHERITED = (
    "heard",
    "lineage",
    "heard_unknown",
)  # of the record: what a run has of the one whose weights it began with, it keeps
Weights = dict[str, torch.Tensor]
SHARED = 4  # times that weights may be used
FORMAT = 2  # raise it when what a checkpoint holds changes; 1 had no seal and could not be continued at a step


class AtomicIO(TorchCheckpointIO):
    """Lightning's checkpoints, written and read as ours.

    Args:
        record: what each says of its run, under "speechml".
    """

    def __init__(self, record: State) -> None:
        self.record = record
        self.is_final = False  # whether a failure cannot be made up for later
        self.unsaved: dict[Path, io.BytesIO] = {}
        self.repeated = Repeated()

    def save_checkpoint(self, checkpoint: State, path: str | Path, storage_options: object = None) -> None:  # noqa: ARG002
        path = Path(path)
        left_out = ARGUMENTS if path.name == LAST else (*ARGUMENTS, *TRAINING)
        checkpoint = {key: value for key, value in checkpoint.items() if key not in left_out}
        self.unsaved[path] = serialize({**checkpoint, "speechml": self.record})
        self.repeated.attempt(self._write_unsaved, self.is_final)

    def _write_unsaved(self) -> None:
        """Write what has yet to be written, `last` last: it goes on from the others."""
        for path in sorted(self.unsaved, key=lambda path: path.name == LAST):
            write_sealed(self.unsaved[path], path)
            del self.unsaved[path]

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None  # noqa: ARG002
    ) -> State:  # fmt: skip
        content = read_checkpoint(Path(path))
        self.record |= {name: content["speechml"][name] for name in INHERITED if name in content["speechml"]}
        return content


def write_checkpoint(content: State, path: Path) -> None:
    """Write a checkpoint that is whole or absent, with a checksum inside; of `last.ckpt` the one before is kept."""
    write_sealed(serialize(content), path)


def serialize(content: State) -> io.BytesIO:
    """The bytes of a checkpoint, with a checksum."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    seal(buffer)
    return buffer


def write_sealed(content: io.BytesIO, path: Path) -> None:
    """Write the bytes of a checkpoint, not by way of the system's temporary folder, as Lightning does. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name != LAST:  # may be lost in a power cut as long as no `last` goes on from it
        write_bytes(path, content.getbuffer(), durable=False)
        return
    for other in path.parent.glob("best.ckpt"):
        make_durable(other)
    write_bytes(path, content.getbuffer(), before=path.with_name(PREVIOUS))


def read_checkpoint(path: Path) -> State:
    """The content of a checkpoint, read without running anything that it may contain.

    Raises:
        UserError: damaged, carrying code, or not written by speechml.
    """
    try:
        raw = read_plain(path.parent, path.name, most_checkpoint())
    except OSError as error:
        failure = machine_failure(error, path)
        raise failure or UserError(f"{path} cannot be read", str(error.strerror), ANOTHER) from error
    if is_sealed(raw) and not is_whole(raw):
        raise UserError(f"{path} is damaged: its content is not that of its checksum", fix=ANOTHER)
    try:
        if not zipfile.is_zipfile(io.BytesIO(raw)) or raw[:2] != b"PK":  # torch would read other, older formats as well
            raise UserError(f"{path} cannot be read as a checkpoint", why="it may be cut short", fix=ANOTHER)
        try:
            check_stored(zipfile.ZipFile(io.BytesIO(raw)), len(raw))
        except ValueError as error:
            raise UserError(f"{path} is refused: {error}", fix=ANOTHER) from error
        if not is_sealed(raw) and (bad := zipfile.ZipFile(io.BytesIO(raw)).testzip()):
            raise UserError(f"{path} is damaged", why=f"in its part {bad}", fix=ANOTHER)
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it is damaged or holds more than tensors; nothing in it was run"
        ) from error
    except UserError:
        raise
    except Exception as error:  # readers of hostile bytes raise whatever comes up: the refusal is the same
        raise UserError(f"{path} cannot be read as a checkpoint", why=type(error).__name__, fix=ANOTHER) from error
    return _check_content(content, path, is_sealed(raw))


def _check_content(content: object, path: Path, sealed: bool) -> State:
    """`content`, if it is what this version writes or once wrote."""
    record = content.get("speechml") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise UserError(f"{path} was not written by speechml", fix="give a checkpoint of one of its runs")
    number = record.get("format")
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise UserError(
            f"{path} was written by speechml {shorten(record.get('version'))} in format {shorten(number)}; "
            f"this is {__version__}, which reads formats 1 to {FORMAT}"
        )
    if number > 1 and not sealed:
        raise UserError(f"{path} is damaged: its checksum is missing", fix=ANOTHER)
    state = content.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(weight, torch.Tensor) for weight in state.values()):
        raise UserError(f"{path} holds no weights", fix=ANOTHER)
    if any(weight.layout != torch.strided or weight.device.type != "cpu" for weight in state.values()):
        raise UserError(f"{path} holds weights of another kind than numbers in order", fix=ANOTHER)
    storages = {part.data_ptr(): part.nbytes() for part in (weight.untyped_storage() for weight in state.values())}
    # Some may be shared, as tied weights are; by strides of 0 a few numbers could say that they are a billion.
    if sum(weight.numel() * weight.itemsize for weight in state.values()) > SHARED * sum(storages.values()):
        raise UserError(f"{path} is refused: its weights are larger than the file", fix=ANOTHER)
    return content


def shorten(value: object, most: int = 60) -> str:
    """What a file says, on one line and not long."""
    try:
        return (ascii(value)[1:-1] if isinstance(value, str) else ascii(value))[:most]
    except RecursionError:
        return type(value).__name__


def build_task(config: Config, source: str) -> Task:
    """The task that a config describes, untrained. Raises UserError where its `model` is missing, refused, or no task."""
    node = config.get("model")
    if not isinstance(node, dict) or not issubclass(import_class(node.get("_target_"), "model."), pl.LightningModule):
        raise UserError(f"{source} describes no model that speechml can build")
    if missing_members(import_class(node.get("_target_"), "model."), contracts.Task):
        from speechml.config.nodes import build_inner

        module: Task = build(build_inner(node, "model"), where="model")  # an ordinary module of Lightning's
        module.configure_model()  # which may make layers, and does so once
        return module
    task: Task = build(node, where="model", optimizer=config.get("optimizer"), scheduler=config.get("scheduler"))
    return task


def nonfinite_names(weights: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the weights that are NaN or infinite somewhere."""
    return [name for name, weight in weights.items() if not bool(torch.isfinite(weight).all())]


def weights_of(module: torch.nn.Module) -> Weights:
    """Copies of the weights of a module, by name."""
    return {
        name: value.detach().clone() for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)
    }


def changed_weights(module: torch.nn.Module, weights: Weights) -> Weights:
    """Those of some weights that a module has otherwise."""
    own = module.state_dict()
    return {name: value for name, value in weights.items() if name in own and not torch.equal(own[name], value)}


@contextmanager
def other_weights(module: torch.nn.Module, weights: Weights) -> Iterator[None]:
    """Inside, a module has other weights; those that are equal are left alone."""
    changed, own = changed_weights(module, weights), module.state_dict()
    before = {name: own[name].clone() for name in changed}
    try:
        for name, value in changed.items():
            own[name].copy_(value)
        yield
    finally:
        for name, value in before.items():
            own[name].copy_(value)
