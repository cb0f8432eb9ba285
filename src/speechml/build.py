"""From a config node with a `_target_` to the object it names, and only objects of the kinds that experiments need."""

from __future__ import annotations

import importlib
from typing import Any

from speechml.errors import BadInput

PACKAGES = ("speechml", "torch", "torchmetrics", "lightning")


def kinds() -> tuple[type, ...]:
    """The base classes of everything a config may build."""
    import lightning.pytorch as pl
    import torch
    import torchmetrics
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.strategies import Strategy

    return (
        torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torchmetrics.Metric,
        pl.LightningDataModule, pl.Callback, Logger, pl.Trainer, Strategy,
    )  # fmt: skip


def target(name: Any, where: str = "") -> type:
    """The class that a `_target_` names.

    Judged by what the name resolves to, not by how it is written: a class of PACKAGES that is one of `kinds()`.

    Args:
        name: dotted name.
        where: key of the node, for the message.

    Raises:
        BadInput: the name resolves to nothing, or to something that configs may not build.
    """
    words = name.split(".") if isinstance(name, str) and len(name) <= 200 and name.isascii() else [""]
    refusal = f"{where}_target_={name} is refused: a config may only build modules, optimisers, schedules, metrics, data modules, callbacks, loggers, trainers and strategies of {', '.join(PACKAGES)}"  # noqa: E501
    if words[0] not in PACKAGES:
        raise BadInput(refusal)
    found: Any = None
    for split in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:split]))
        except Exception:  # whatever it is that a module says at its import
            continue
        for word in words[split:]:
            found = getattr(found, word, None)
        break
    if found is None:
        raise BadInput(f"{where}_target_={name} names nothing that can be imported")
    if not isinstance(found, type) or not issubclass(found, kinds()) or found.__module__.split(".")[0] not in PACKAGES:
        raise BadInput(refusal)
    return found


def build(node: dict[str, Any], *args: Any, where: str = "", **extra: Any) -> Any:
    """The object a config node describes: `_target_(*args, **rest of the node, **extra)`.

    Args:
        node: plain mapping with `_target_`; its values are passed as they are (nested nodes are the class's to build).
        where: key of the node, for messages.

    Raises:
        BadInput: the target may not be built, or refuses its arguments (the class's own words are kept).
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    cls = target(node.get("_target_"), where)
    arguments = {str(k): v for k, v in node.items() if k != "_target_"}
    try:
        return cls(*args, **arguments, **extra)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise BadInput(f"{where or 'config'} {cls.__name__}: {' '.join(str(error).split())}") from error
