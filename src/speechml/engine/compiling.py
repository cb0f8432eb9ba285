"""`trainer.compile`: torch.compile of the network in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from speechml.errors import UserError

METHODS = ("forward", "all_windows")  # by which tasks let a network compute


def compile_network(task: torch.nn.Module, device: torch.device) -> None:
    """Compile what a network computes in training; names of weights and all evaluation stay as they are.

    Scored uncompiled, a run has the very scores that `speechml-evaluate` computes of it. Each shape is compiled by itself, so
    that a resumed run, which may see them in another order, computes each as it was computed before.

    Args:
        task: whose `net` is the network.
        device: that it will be on.

    Raises:
        UserError: no network, or nothing can be compiled here.
    """
    net = getattr(task, "net", None)
    if not isinstance(net, torch.nn.Module):
        raise UserError(f"trainer.compile compiles model.net, and {type(task).__name__} has none", fix="leave it out")
    try:
        torch.compile(torch.neg)(torch.zeros(8, device=device))
    except Exception as error:  # of Dynamo, of a compiler, of what is missing
        raise refuse("nothing can be compiled here", error) from error
    for name in METHODS:
        if plain := getattr(net, name, None):
            setattr(net, name, _compiled_in_training(net, plain))


def _compiled_in_training(net: torch.nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
    compiled = torch.compile(plain, dynamic=False)

    def compute(*inputs: Any, **options: Any) -> Any:
        if not net.training:
            return plain(*inputs, **options)
        try:
            return compiled(*inputs, **options)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise refuse(f"{type(net).__name__} cannot be compiled", error) from error

    return compute


def refuse(what: str, error: Exception) -> UserError:
    """The refusal of what torch.compile cannot do, with the first line of its reason."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    fix = "leave out trainer.compile; torch.compile needs a C++ compiler (Debian: apt-get install g++)"
    return UserError(f"trainer.compile: {what}", why=lines[0], fix=fix)
