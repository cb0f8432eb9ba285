"""From a config node with a `_target_` to the object it names, and only objects of the kinds that experiments need."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import pydoc
from pathlib import Path
from typing import Any

from speechml.config.schema import Schema, keys_of, without_class
from speechml.contracts import Config
from speechml.errors import UserError

SEED = 2**63  # beyond what torch takes
MOST_NUMBER, MOST_ITEMS = 1_000_000, 10_000  # in the config of a file, which another may have written; but for seeds
# What classes of ours raise of arguments that they cannot have, memory that there is not among it.
OF_ARGUMENTS = (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError)
PACKAGES = ("speechml", "torch", "torchmetrics", "lightning")


def user_modules() -> dict[str, Path]:
    """The user's own modules by name, none of which a config can set.

    They are Python files and packages in the folders of $SPEECHML_CONF, and installed packages with an entry point
    `speechml.plugins`.
    """
    paths = [
        path
        for folder in reversed(conf_folders())
        for path in sorted([*folder.glob("*.py"), *folder.glob("*/__init__.py")])
    ]
    files = {(path.parent if path.name == "__init__.py" else path).stem: path for path in paths if path.is_file()}
    files |= plugin_packages()  # which Python would take for a file of the same name
    return {name: path for name, path in files.items() if name.isidentifier() and name not in PACKAGES}


def conf_folders() -> list[Path]:
    """The folders of $SPEECHML_CONF."""
    return [Path(folder).absolute() for folder in os.environ.get("SPEECHML_CONF", "").split(os.pathsep) if folder]


@functools.cache
def plugin_packages() -> dict[str, Path]:
    """The `__init__.py` of each installed package that declares an entry point `speechml.plugins`, by its name."""
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    names = {point.module.partition(".")[0] for point in entry_points(group="speechml.plugins")}
    specs = {name: find_spec(name) for name in sorted(names)}
    return {name: Path(spec.origin) for name, spec in specs.items() if spec and spec.origin}


def user_code() -> dict[str, str]:
    """A short checksum of each of the user's own modules."""
    sums = {}
    for name, path in user_modules().items():
        parts = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
        with contextlib.suppress(OSError):  # what cannot be read cannot be used either, and then says so
            sums[name] = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:12]
    return sums


def import_class(name: object, where: str = "") -> type:
    """The class that a `_target_` names.

    Judged by what the name resolves to, not by how it is written: a class of PACKAGES, or of a module of the user's own or
    imported into one by name, of one of the kinds that experiments need.

    Args:
        name: dotted name.
        where: key of the node, for the message.

    Raises:
        UserError: the name resolves to nothing, or to something that configs may not build.
    """
    package = name.partition(".")[0] if isinstance(name, str) and len(name) <= 200 and name.isascii() else ""
    target = f"{where.rstrip('.')}._target_={name}" if where else f"_target_={name}"
    refusal = UserError(
        f"{target} is refused: a config may only build modules, optimisers, schedules, metrics, data modules, "
        f"callbacks, loggers, trainers and strategies of {', '.join(PACKAGES)}; is it your own, "
        "set SPEECHML_CONF to the folder of its file; is it another package's, import it there by name"
    )
    own = user_modules()
    packages = (*PACKAGES, *own)
    if package not in packages:
        raise refusal
    if package in own:
        from speechml.config import own_modules

        own_modules.find(package, own[package])
    try:
        cls = pydoc.locate(str(name))
    except pydoc.ErrorDuringImport as error:
        if error.value is not None and not isinstance(error.value, Exception):  # a signal asks the run to stop
            raise error.value from None
        why = f"{type(error.value).__name__}: {' '.join(str(error.value).split())}"
        raise UserError(f"{target} names nothing that can be imported", why) from error
    if cls is None:
        raise UserError(f"{target} names nothing that can be imported")
    if package in own:
        own_modules.check_origin(package, own[package], target)
    if not isinstance(cls, type):
        raise refusal
    is_known = (
        cls.__module__.partition(".")[0] in packages
        or (package in own and str(name).count(".") == 1)  # what the user's own file imports by name, of any package
    )
    if not is_known or not _is_buildable(cls):
        raise refusal
    return cls


def _is_buildable(cls: type) -> bool:
    import lightning.pytorch as pl
    import torch
    import torchmetrics
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.strategies import Strategy

    return issubclass(cls, (
        torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torchmetrics.Metric,
        pl.LightningDataModule, pl.Callback, Logger, pl.Trainer, Strategy,
    ))  # fmt: skip


def build(node: Config, *args: object, where: str = "", kind: type = object, **extra: object) -> Any:
    """The object a config node describes: `_target_(*args, **rest of the node, **extra)`.

    Args:
        node: plain mapping with `_target_`; its values are passed as they are (nested nodes are the class's to build).
        where: key of the node, for messages.
        kind: that its class must be of.

    Raises:
        UserError: the target may not be built here, or refuses its arguments (the class's own words are kept).
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    if not node.get("_target_"):
        raise without_class(where)
    cls = import_class(node["_target_"], where)
    if not issubclass(cls, kind):
        raise UserError(f"{where}._target_={node['_target_']} is no {kind.__name__}", fix="choose a class that is one")
    arguments = {str(k): v for k, v in node.items() if k != "_target_"}
    try:
        return cls(*args, **arguments, **extra)
    except (UserError, ImportError):
        raise
    except Exception as error:  # whatever a class makes of strange arguments
        if cls.__module__.startswith("speechml.") and not isinstance(error, OF_ARGUMENTS):
            raise  # a fault of ours
        text = " ".join(str(error).split())[:1000]
        if not isinstance(error, (TypeError, ValueError, MisconfigurationException)):
            text = f"{type(error).__name__}: {text}"
        raise UserError(f"{where or 'config'} {cls.__name__}: {text}") from error


def parameters(cls: type) -> set[str]:
    """Names of the arguments that `cls(...)` takes by keyword; `**` where it takes any.

    Where an `__init__` passes its further keywords on, those of the next class in line count as well.
    """
    names = set(keys_of(cls)) if issubclass(cls, Schema) else set()  # whose constructor takes its keys
    for base in (base for base in cls.__mro__ if "__init__" in vars(base)):
        own = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        names |= {one.name for one in own if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        if not any(one.kind is one.VAR_KEYWORD for one in own):
            return names
        if base.__module__.startswith("lightning.pytorch.core"):  # which pass over what they do not know
            return names
        if base.__module__.partition(".")[0] != "speechml":
            return names | {"**"}
    return names
