"""Models for other programs: weights as safetensors, everything else as JSON, and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import lightning.pytorch as pl
import safetensors.torch

from speechml import __version__
from speechml.engine.parent import FORMAT, MODEL, WEIGHTS, read_about, read_parent, read_weights
from speechml.engine.trained import build_trained, find_checkpoint, load_task
from speechml.errors import UserError
from speechml.runs.catalogue import is_run
from speechml.storage.building import remove_leftovers
from speechml.storage.files import make_folder, write_bytes, write_text


def load_model(run: Path) -> pl.LightningModule:
    """The trained task of a run, a checkpoint file or an exported folder, in evaluation mode. Nothing in it is executed.

    Raises:
        UserError: none of them, or damaged, or of another format or model.
    """
    if not (run / MODEL).is_file():
        return load_task(find_checkpoint(run))[0]
    about = read_about(run / MODEL)
    weights = read_weights(run / WEIGHTS, about)
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
    origin = read_parent(checkpoint)
    weights = {name: weight.contiguous().clone() for name, weight in task.state_dict().items()}
    content = safetensors.torch.save(weights)
    about = {
        "format": FORMAT, "version": __version__, "model": record["config"]["model"],
        "sample_rate": getattr(task, "sample_rate", None), "classes": getattr(task, "classes", None),
        "data": record.get("data"), "heard": record.get("heard", []), "experiment": origin.about.get("experiment"),
        "id": origin.about.get("id"), "lineage": origin.lineage, "weights_sha256": hashlib.sha256(content).hexdigest(),
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
