"""A longer training that begins where a shorter one has ended, which differs from it by nothing but its length."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from speechml.contracts import Config
from speechml.engine.restore import find_latest
from speechml.errors import UserError, echo
from speechml.runs.card import RunCard, load_card
from speechml.runs.folder import code_version, kept_files
from speechml.runs.identity import digest, keys_without_effect
from speechml.runs.labels import load_config
from speechml.tasks.optimization import plan_schedule
from speechml.tasks.training_length import count_batches, count_epochs

if TYPE_CHECKING:
    from speechml.engine.parts import Parts


class Shorter(NamedTuple):
    """A run that is done, and how many epochs it was to have."""

    folder: Path
    card: RunCard
    epochs: int


def go_on_from_shorter(parts: Parts, folder: Path) -> RunCard | None:
    """Put into the folder of a run that begins what a shorter one has left, for it to go on from; None where it cannot.

    What comes of it is what a training of that length at once would have given, bit for bit: where the length decides over
    more than the end, a sentence says so.

    Returns:
        The card of the shorter one, as that of a run that goes on.
    """
    lengths = _lengths(parts, parts.config["trainer"])
    found = [one for one in _shorter_runs(parts, folder) if 0 < one.epochs < lengths["max_epochs"]]
    if not found:
        return None
    shorter = max(found, key=lambda one: one.epochs)
    what = f"{shorter.folder} is the same training, done after {shorter.epochs} epochs"
    if why := _depends_on_length(parts, load_config(shorter.folder)):
        echo(f"{what}; this one begins anew, since {why}")
        return None
    for path in kept_files(shorter.folder):
        if path.suffix == ".ckpt":
            (folder / "checkpoints").mkdir(exist_ok=True)
            shutil.copyfile(path, folder / "checkpoints" / path.name)
    latest = find_latest(folder)
    if latest is None or not latest[1]["resume"]["finished"]:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return None
    # TensorBoard's files stay where they are: they say of themselves that they are of the shorter training.
    echo(f"{what}; this one goes on from there")
    step = {"from_epochs": shorter.epochs, "to_epochs": lengths["max_epochs"], "from_run": shorter.folder.name,
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z")}  # fmt: skip
    return replace(shorter.card, state="stopped", extended=[*(shorter.card.extended or []), step])


def _shorter_runs(parts: Parts, folder: Path) -> Iterator[Shorter]:
    """The runs that are done and differ from this one by their length alone."""
    mine, cache = parts.data.card().fingerprint, str(parts.config["paths"]["cache"])
    for other in sorted(folder.parent.iterdir()):
        with suppress(UserError, LookupError, TypeError):  # damaged, which is for `speechml runs verify` to say
            card = None if other == folder else load_card(other)
            seed = parts.config["seed"]  # the rest of the config takes longer to read
            if card and (card.state, card.data.fingerprint, card.seed) == ("done", mine, seed):
                config = load_config(other)
                is_same_code = (card.code.own or {}) == (code_version().own or {})
                if is_same_code and _lengthless_digest(config, cache) == _lengthless_digest(parts.config, cache):
                    yield Shorter(other, card, _lengths(parts, config["trainer"])["max_epochs"])


def _lengthless_digest(config: Config, cache: str) -> str:
    """What configs have in common that differ by nothing but the length of the training, and where their cache lies."""
    trainer = {name: value for name, value in config["trainer"].items() if name not in ("max_epochs", "max_steps")}
    data = {name: value for name, value in config["data"].items() if name != "cache"}
    return digest({**config, "trainer": trainer, "data": data}, cache)


def _lengths(parts: Parts, trainer: Config) -> Config:
    """Epochs, and the distance of two validations, as Lightning is told of them."""
    return {"max_epochs": trainer["max_epochs"]} | count_epochs(trainer, count_batches(parts.data.train_dataloader()))


def _depends_on_length(parts: Parts, other: Config) -> str:
    """Why a training is no part of a longer one; empty where it is. `other` is the config of the shorter one."""
    config = parts.config
    if parts.module is not parts.task or parts.data_module is not parts.data:
        return "its module may go by the length"
    long, short = (_lengths(parts, one["trainer"]) for one in (config, other))
    if config["trainer"].get("max_time"):
        return "trainer.max_time ends it by the clock"
    if long.get("check_val_every_n_epoch") != short.get("check_val_every_n_epoch"):
        return "it is validated after other epochs"
    if node := config["scheduler"]:
        batches = count_batches(parts.data.train_dataloader()) or 0
        arguments = [plan_schedule(node, batches * one["max_epochs"], one["max_epochs"]) for one in (long, short)]
        if arguments[0] != arguments[1]:
            return f"scheduler {str(node['_target_']).rpartition('.')[2]} depends on the length"
    without_effect = keys_without_effect(config)
    for name, node in config["callbacks"].items():
        is_known = not node or f"callbacks.{name}" in without_effect
        if not is_known and (not str(node["_target_"]).endswith("callbacks.EarlyStopping") or node.get("after")):
            return f"callbacks.{name} may depend on the length"
    return ""
