"""Models for other programs: weights as safetensors, everything else as JSON, and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import lightning.pytorch as pl
import safetensors.torch
import torch

from speechml import __version__
from speechml.contracts import Config
from speechml.engine.checkpoint import build_trained, find_checkpoint, load_task
from speechml.errors import UserError
from speechml.runs.catalogue import is_run
from speechml.storage.files import make_folder, remove_leftovers, write_bytes, write_text
from speechml.storage.plain_files import most_checkpoint, read_json, read_plain

FORMAT = 1  # raise it when what model.json holds changes
WEIGHTS, MODEL = "weights.safetensors", "model.json"
AGAIN = "export the run again"


def load_model(run: Path) -> pl.LightningModule:
    """The trained task of a run, a checkpoint file or an exported folder, in evaluation mode. Nothing in it is executed.

    Raises:
        UserError: none of them, or damaged, or of another format or model.
    """
    if not (run / MODEL).is_file():
        return load_task(find_checkpoint(run))[0]
    about = _read_about(run / MODEL)
    weights = _read_weights(run / WEIGHTS, about)
    task = build_trained({"model": about["model"]}, weights, run / MODEL)
    for key in ("sample_rate", "classes"):
        own = getattr(task, key, None)
        if own != about.get(key):
            raise UserError(f"{run / MODEL} contradicts itself", f"its {key} is {about.get(key)}, its model's {own}")
    return task


def export(run: Path, folder: Path, overwrite: bool = False) -> None:
    """Write the model of a run or a checkpoint file into `folder`, for programs that know safetensors and JSON.

    Whole or not at all: a folder without model.json is no model, and it is written last.

    Raises:
        UserError: no usable model, or a folder that cannot be written to or has a model already.
    """
    if is_run(folder):
        raise UserError(f"{folder} is a run, and stays as it was made", fix="export into another folder")
    present = [name for name in (MODEL, WEIGHTS) if (folder / name).exists()]
    if present and not overwrite:
        raise UserError(f"{folder / present[0]} is there already", fix="add --overwrite, or export into another folder")
    checkpoint = find_checkpoint(run)
    task, record = load_task(checkpoint)
    weights = {name: weight.contiguous().clone() for name, weight in task.state_dict().items()}
    content = safetensors.torch.save(weights)
    about = {
        "format": FORMAT, "version": __version__, "model": record["config"]["model"],
        "sample_rate": getattr(task, "sample_rate", None), "classes": getattr(task, "classes", None),
        "data": record.get("data"), "heard": record.get("heard", []), "weights_sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    try:
        text = json.dumps(about, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        what = f"{checkpoint} describes a model that JSON cannot hold"
        raise UserError(what, str(error), "use the run itself") from error
    make_folder(folder)
    remove_leftovers(folder)
    try:
        (folder / MODEL).unlink(missing_ok=True)
        write_bytes(folder / WEIGHTS, content)
        write_text(folder / MODEL, text)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to", str(error.strerror), "give another folder") from error


def _read_about(path: Path) -> Config:
    """What model.json says, in a format that is known."""
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


def _read_weights(path: Path, about: Config) -> dict[str, torch.Tensor]:
    """The weights that belong to model.json, whole."""
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
