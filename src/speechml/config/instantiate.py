"""From a config node with a `_target_` to the object it names, and only objects of the kinds that experiments need."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import os
import sys
from pathlib import Path
from typing import Any

from speechml.errors import UserError

PACKAGES = ("speechml", "torch", "torchmetrics", "lightning")


def user_modules() -> dict[str, Path]:
    """The user's own modules by name: Python files in the folders of $SPEECHML_CONF, which no config can set."""
    folders = [Path(folder).absolute() for folder in os.environ.get("SPEECHML_CONF", "").split(os.pathsep) if folder]
    found = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.py")) if path.is_file()}
    return {name: path for name, path in found.items() if name.isidentifier() and name not in PACKAGES}


def user_code() -> dict[str, str]:
    """A short checksum of each of the user's own modules."""
    found = {}
    for name, path in user_modules().items():
        with contextlib.suppress(OSError):  # what cannot be read cannot be used either, and then says so
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return found


def buildable_types() -> tuple[type, ...]:
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


def import_class(name: Any, where: str = "") -> type:
    """The class that a `_target_` names.

    Judged by what the name resolves to, not by how it is written: a class of PACKAGES, or of a module of the user's own,
    that is one of `buildable_types()`.

    Args:
        name: dotted name.
        where: key of the node, for the message.

    Raises:
        UserError: the name resolves to nothing, or to something that configs may not build.
    """
    words = name.split(".") if isinstance(name, str) and len(name) <= 200 and name.isascii() else [""]
    where = f"{where.rstrip('.')}." if where else ""
    refusal = (
        f"{where}_target_={name} is refused: a config may only build modules, optimisers, schedules, metrics, data modules, "
        f"callbacks, loggers, trainers and strategies of {', '.join(PACKAGES)}; is it your own, "
        "set SPEECHML_CONF to the folder of its file"
    )
    own = user_modules()
    packages = (*PACKAGES, *own)
    if words[0] not in packages:
        raise UserError(refusal)
    if words[0] in own and (folder := str(own[words[0]].parent)) not in sys.path:
        sys.path.append(folder)  # after all else: a file of theirs stands for nothing that others import
    found, failed = None, ""
    for split in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:split]))
        except Exception as error:  # whatever it is that a module says at its import
            failed = f" ({type(error).__name__}: {' '.join(str(error).split())})" if words[0] in own else ""
            continue
        for word in words[split:]:
            found = getattr(found, word, None)
        break
    if found is None:
        raise UserError(f"{where}_target_={name} names nothing that can be imported{failed}")
    if (
        not isinstance(found, type)
        or not issubclass(found, buildable_types())
        or found.__module__.split(".")[0] not in packages
    ):
        raise UserError(refusal)
    return found


def build(node: dict[str, Any], *args: Any, where: str = "", **extra: Any) -> Any:
    """The object a config node describes: `_target_(*args, **rest of the node, **extra)`.

    Args:
        node: plain mapping with `_target_`; its values are passed as they are (nested nodes are the class's to build).
        where: key of the node, for messages.

    Raises:
        UserError: the target may not be built, or refuses its arguments (the class's own words are kept).
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    cls = import_class(node.get("_target_"), where)
    arguments = {str(k): v for k, v in node.items() if k != "_target_"}
    try:
        return cls(*args, **arguments, **extra)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise UserError(f"{where or 'config'} {cls.__name__}: {' '.join(str(error).split())}") from error


def parameters(cls: type) -> set[str]:
    """Names of the arguments that `cls(...)` takes by keyword; `**` where it takes any.

    Where an `__init__` passes its further keywords on, those of the next class in line count as well.
    """
    found: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        kinds = {
            name: p.kind for name, p in inspect.signature(vars(base)["__init__"]).parameters.items() if name != "self"
        }
        found |= {
            n
            for n, kind in kinds.items()
            if kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        }
        if inspect.Parameter.VAR_KEYWORD not in kinds.values():
            return found
        if base.__module__.split(".")[0] != "speechml":
            return found | {"**"}
    return found
