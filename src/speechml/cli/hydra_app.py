"""What the Hydra apps have in common: overrides as people write them, and errors as one sentence."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from omegaconf import DictConfig

from speechml.cli import explain_refusals
from speechml.config.compose import adapt_overrides
from speechml.engine.import_compat import defer_imports
from speechml.engine.signals import RESUMABLE, early_signals, interruptible
from speechml.errors import UserError, echo, explain_missing_extras
from speechml.process import adapt_to_environment

Result = TypeVar("Result")

HYDRA_REFUSED = 1  # exit code


def run_app(app: Callable[[], None], config_name: str) -> None:
    """Run a Hydra app; print errors that are the user's to mend as one sentence, without a traceback.

    Exits with 2 where speechml refused and with 1 where Hydra did. Anything else is a fault of ours and keeps its
    traceback.
    """
    adapt_to_environment()
    defer_imports()
    wanted = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise instead of printing, so that the words can be ours
    try:
        with explain_refusals(), interruptible():
            words = adapt_overrides(sys.argv[1:], config_name)
            sys.argv[1:] = sorted(
                words, key=lambda word: word not in ("-m", "--multirun")
            )  # anywhere else it parts the words
            if {"--help", "-h"} & set(sys.argv[1:]):
                from speechml.config.explain import app_help

                echo(app_help(config_name, [word for word in sys.argv[1:] if not word.startswith("-")]))
            else:
                app()
    except BrokenPipeError:  # the reader of our output has gone, as in `speechml-train --help | head`
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        sys.exit(128 + signal.SIGPIPE)  # as a shell has it; what was computed may not have come to its end
    except Exception as error:
        from speechml.config.refusals import hydra_sentence, is_of_composing

        if early_signals and is_of_composing(error):  # it came between two lines of Hydra, which made this of it
            sys.exit(RESUMABLE)
        if wanted == "1" or not is_of_composing(error):
            raise
        echo(f"error: {hydra_sentence(error, sys.argv[1:])}", file=sys.stderr)
        sys.exit(HYDRA_REFUSED)
    finally:
        early_signals.clear()  # they were for this command
        if wanted is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = wanted


def run_job(function: Callable[[DictConfig], Result], cfg: DictConfig) -> Result:
    """`function(cfg)` inside a Hydra job: in a single run a refusal ends the process before Hydra adds words of its own.

    In a sweep it is passed on, so that the other jobs are run.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    is_single = hydra.mode == RunMode.RUN
    with explain_refusals() if is_single else explain_missing_extras():
        if is_single:
            _check_single(hydra.overrides.hydra, "add -m" if hydra.job.config_name == "train" else "leave it out")
        return function(cfg)


def _check_single(words: Sequence[str], fix: str) -> None:
    """Raise UserError where a launcher or sweeper was chosen, and Hydra would pass over it without a word."""
    groups = ("hydra/launcher=", "hydra/sweeper=")
    for word in words:
        if word.startswith(groups) and not word.endswith(("=local", "=basic", "=grid")):
            raise UserError(f"{word} is of sweeps, and this is one run, which would be computed here", fix=fix)
