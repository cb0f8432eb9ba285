"""Nodes within nodes: those of classes of others are built, those in somebody else's file are checked."""

from __future__ import annotations

import functools
from types import NoneType

from speechml.config.instantiate import MOST_ITEMS, MOST_NUMBER, SEED, build, import_class
from speechml.config.schema import check_node
from speechml.contracts import Config
from speechml.errors import UserError
from speechml.storage.plain_files import check_tree, inner_items


def _inner_kinds() -> tuple[type, ...]:
    import torch

    return torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler  # metrics are modules


def build_inner(node: Config, where: str) -> Config:
    """A node with the nodes within it built, as Hydra does it: networks, or with `_partial_: true` what makes one later.

    For classes of others, which take objects; ours build what they are given.

    Raises:
        UserError: as `build`.
    """
    import torch

    built: Config = {}
    for name, value in node.items():
        if isinstance(value, dict):
            value = build_inner(value, f"{where}.{name}")
            if value.pop("_partial_", False):
                cls = import_class(value.pop("_target_", None), f"{where}.{name}.")
                if not issubclass(cls, _inner_kinds()):
                    raise UserError(f"{where}.{name} is no network, optimiser, schedule or metric", fix="leave it out")
                value = functools.partial(cls, **value)
            elif "_target_" in value:
                value = build(value, where=f"{where}.{name}", kind=torch.nn.Module)
        built[name] = value
    return built


def check_foreign_node(node: object, where: str) -> None:
    """Refuse what a config in somebody else's file may not build, before anything is built of it.

    Classes of ours have schemas, whose bounds hold; of others numbers are bounded, so that none is built for ever.

    Raises:
        UserError: the first such key.
    """
    try:
        check_tree(node, inner_items)
    except ValueError as error:
        raise UserError(f"{where.rstrip('.')} is refused", str(error)) from error
    todo = [(where, node)]
    while todo:
        name, value = todo.pop()
        most = SEED if name.endswith("seed.") else MOST_NUMBER
        if isinstance(value, list) and len(value) > MOST_ITEMS:
            raise UserError(f"{name.rstrip('.')} has {len(value):,} items", fix=f"in a file it may have {MOST_ITEMS:,}")
        if name.endswith("_target_.") and not isinstance(value, str):
            raise UserError(f"{name.rstrip('.')} names no class")
        if isinstance(value, (dict, list)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            todo += [(f"{name}{key}.", item) for key, item in items]
        elif not isinstance(value, (str, int, float, bool, NoneType)):
            raise UserError(f"{name.rstrip('.')} is {type(value).__name__}, which no config holds")
        elif isinstance(value, (int, float)) and not abs(value) <= most:
            raise UserError(f"{name.rstrip('.')} is {value!r:.30}", fix=f"in a file it may be {most:,} at most")
    check_node(node, where)
