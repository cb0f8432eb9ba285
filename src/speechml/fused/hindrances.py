"""What keeps a run from being trained together with others: said of its config, before anything of it is built."""

from __future__ import annotations

import json
from functools import cache

from speechml.config.instantiate import import_class
from speechml.contracts import Config, missing_members
from speechml.fused.contracts import FixedInputs, OrderedData

OPTIMIZERS = ("torch.optim.SGD", "torch.optim.Adam", "torch.optim.AdamW")
OPTIONS = {"maximize", "foreach", "fused", "differentiable", "capturable", "amsgrad"}  # of them, that no stack has
CALLBACKS = ("Progress", "EarlyStopping", "Figures", "GenreFigures", "WordFigures", "Listening")  # of ours
# Keys of the trainer that a stack follows; others act within Lightning's loop.
TRAINER = {
    "_target_", "accelerator", "devices", "num_nodes", "precision", "max_epochs", "max_steps", "deterministic",
    "gradient_clip_val", "check_val_every_n_epoch", "logger", "enable_progress_bar", "min_epochs", "strategy",
}  # fmt: skip


def hindrance(config: Config) -> str:
    """Why a run is trained by itself, by Lightning's loop; empty where a stack can train it.

    Args:
        config: resolved, of a run.
    """
    trainer, optimizer = config["trainer"], config.get("optimizer") or {}
    further = sorted(key for key, value in trainer.items() if key not in TRAINER and value not in (None, False))
    if further:
        return f"trainer.{further[0]} acts within Lightning's loop"
    if trainer.get("accelerator") not in ("cpu", None) or trainer.get("devices") not in (1, "1", "auto", None):
        return "stacks are computed by one process on a CPU"
    if str(trainer.get("precision")) not in ("32-true", "32"):
        return f"stacks compute in float32, not {trainer.get('precision')}"
    if optimizer.get("_target_") not in OPTIMIZERS:
        return f"no stack has the optimizer {str(optimizer.get('_target_')).rpartition('.')[2]}"
    if unknown := sorted(key for key in OPTIONS & optimizer.keys() if optimizer[key]):
        return f"no stack has optimizer.{unknown[0]}"
    if optimizer.get("eps") == 0:
        return "optimizer.eps is 0"
    if any(config["init"].get(key) for key in ("from", "freeze")):
        return "it begins with the weights of another"
    for name, node in (config.get("callbacks") or {}).items():
        cls = str((node or {}).get("_target_", ""))
        if node and cls not in [f"speechml.callbacks.{ours}" for ours in CALLBACKS]:
            return f"callbacks.{name} may act within Lightning's loop"
    if isinstance(config["model"].get("loss"), dict):
        return "it has a loss of its own"
    if why := _hindrance_of_model(json.dumps(config["model"], sort_keys=True, default=str)):
        return why
    data = import_class(config["data"].get("_target_"), "data.")
    return f"{data.__name__} gives its items in no order" if missing_members(data, OrderedData) else ""


@cache
def _hindrance_of_model(node: str) -> str:
    """The same of a model, by its config node as text: it is built, once, to see what its layers are."""
    from speechml.engine.checkpoint import build_task
    from speechml.fused.network import NotStackableError, StackedNetwork

    model = json.loads(node)
    if missing_members(import_class(model.get("_target_"), "model."), FixedInputs):
        return f"{str(model.get('_target_')).rpartition('.')[2]} computes its inputs anew at every step"
    try:
        task = build_task({"model": model}, "the config")
        network = StackedNetwork(task.net)
    except NotStackableError as error:
        return str(error)
    own = {f"net.{name}" for name in network.places}
    outside = sorted(name for name, _ in task.named_parameters() if name not in own)
    return f"{outside[0]} is outside of its network" if outside else ""
