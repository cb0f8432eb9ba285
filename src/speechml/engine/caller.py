"""A training within somebody's own process: what it changes there is put back, whatever happens."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig

from speechml import process
from speechml.engine.signals import early_signals

Setting = tuple[Callable[[], Any], Callable[[Any], object]]  # how it is read, and how it is put back


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Inside, a training may seed, set and listen as in a process of its own; afterwards all of that is as before."""
    settings = _settings()
    before = [read() for read, _ in settings]
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for (_, put_back), value in zip(settings, before, strict=True):
                put_back(value)


def _settings() -> list[Setting]:
    """What a training changes of its process: random numbers, arithmetic, logs, signals, environment, Hydra's config."""
    attributes = (
        (torch.utils.deterministic, "fill_uninitialized_memory"), (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cudnn, "benchmark"), (torch.backends.cudnn, "deterministic"), (HydraConfig.instance(), "cfg"),
        (sys, "argv"),
    )  # fmt: skip
    return [
        (random.getstate, random.setstate),
        (partial(np.random.get_state, legacy=False), np.random.set_state),
        (torch.get_rng_state, torch.set_rng_state),
        (_cuda_states, _set_cuda_states),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        *((partial(getattr, owner, name), partial(setattr, owner, name)) for owner, name in attributes),
        *_logger_levels(),
        (_signal_handlers, _set_signal_handlers),
        (lambda: dict(os.environ), _set_environment),
        (process.own_threads.copy, partial(process.own_threads.__setitem__, slice(None))),
        (early_signals.copy, partial(early_signals.__setitem__, slice(None))),
    ]


def _logger_levels() -> Iterator[Setting]:
    for name in ("speechml", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        yield partial(getattr, logger, "level"), logger.setLevel


def _cuda_states() -> tuple[list[torch.Tensor], int]:
    """The generators of the GPUs, where there are some yet, and the seed that they would begin with."""
    states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return states, torch.initial_seed()


def _set_cuda_states(then: tuple[list[torch.Tensor], int]) -> None:
    states, seed = then
    if states:
        torch.cuda.set_rng_state_all(states)
    else:
        torch.cuda.manual_seed_all(seed)


def _signal_handlers() -> dict[signal.Signals, Any]:
    is_main = threading.current_thread() is threading.main_thread()  # no other thread can set them
    return {number: signal.getsignal(number) for number in process.SIGNALS} if is_main else {}


def _set_signal_handlers(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _set_environment(then: dict[str, str]) -> None:
    for name in os.environ.keys() - then.keys():
        del os.environ[name]
    os.environ.update(then)
