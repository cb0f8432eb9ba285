"""What the Hydra apps have in common: errors as one sentence, and a hint where a key is misspelt."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig

from speechml.config.compose import conf_dir, dotted_keys
from speechml.config.schema import did_you_mean
from speechml.engine.signals import interruptible
from speechml.errors import UserError, explain_missing_extras

Result = TypeVar("Result")

HYDRA_SPOKE, OURS = 1, 2  # exit codes: who refused


def run_app(app: Callable[[], None], config_name: str) -> None:
    """Run a Hydra app; print errors that are the user's to mend as one sentence, without a traceback.

    Exits with 2 where speechml refused and with 1 where Hydra did. Anything else is a fault of ours and keeps its
    traceback.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    wanted = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise instead of printing, so that the words can be ours
    try:
        with interruptible(), explain_missing_extras():
            app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(OURS)
    except BrokenPipeError:  # the reader of our output has gone, as in `speechml-train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (HydraException, OmegaConfBaseException) as error:
        if wanted == "1":
            raise
        print(f"error: {_sentence(error, config_name)}", file=sys.stderr)
        sys.exit(HYDRA_SPOKE)


@contextmanager
def translate_hydra_errors(config_name: str) -> Iterator[None]:
    """Inside, what Hydra refuses of a config that is composed by hand is one sentence.

    Raises:
        UserError: that sentence.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_sentence(error, config_name)) from error


def run_job(function: Callable[[DictConfig], Result], cfg: DictConfig) -> Result:
    """`function(cfg)` inside a Hydra job: in a single run a refusal ends the process before Hydra adds words of its own.

    In a sweep it is passed on, so that the other jobs are run.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    try:
        with explain_missing_extras():
            return function(cfg)
    except UserError as error:
        if HydraConfig.get().mode != RunMode.RUN:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(OURS)


def _sentence(error: Exception, config_name: str) -> str:
    """Hydra's message, with the nearest valid key where it speaks of an unknown one."""
    text = str(error).strip()
    if type(error).__name__ == "OverrideParseException":
        word = getattr(error, "override", text)
        sweeps = "sweeps key=choice(a, b), key=range(1, 4) or key=interval(0, 1)"
        return f"{word!r} is not understood; overrides are written key=value, {sweeps} (see --help)"
    if "BasicSweeper does not support" in text:
        return "a plain sweep runs every combination, and an interval has no end of them; add hydra/sweeper=optuna to search it"
    if several := re.search(r"Ambiguous value for argument '(.+?)'", text):
        return f"{several[1]} describes several runs; add -m, or write a list as key=[a,b]"
    if several := re.search(r"Sweep parameters '(.+)' requires --multirun", text):
        return f"{several[1]} describes several runs; add -m"
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        return f"there is no key {unknown[1]}{_elsewhere(unknown[1]) or did_you_mean(unknown[1], _known_keys(config_name))}"
    group = re.search(r"Could not find '([^']+)'(?:\n|.)*?Available options in '([^']+)':\n((?:\t.*\n?)+)", text)
    if group:
        options = group[3].split()
        return (
            f"there is no {group[1]}{did_you_mean(group[1].split('/')[-1], options)} (there are: {', '.join(options)})"
        )
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "full_key" not in line)


def _elsewhere(key: str) -> str:
    """Which other choices of the key's group have it: `data.root` belongs to `data=wav_pairs`, not to every data."""
    from omegaconf import OmegaConf

    group, _, name = key.partition(".")
    choices = sorted((Path(conf_dir()) / group).glob("*.yaml"))
    having = [
        f"{group}={path.stem}" for path in choices if name in set(OmegaConf.load(path))
    ]  # `in` alone passes over ???
    return f" in this {group}; it belongs to {' or '.join(having)}" if having else ""


def _known_keys(config_name: str) -> list[str]:
    """Keys of the config as the command line would compose it without the values it sets."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    known = {folder.name for folder in Path(conf_dir()).iterdir() if folder.is_dir()}
    groups = [a for a in sys.argv[1:] if a.partition("=")[0] in known or a.startswith("hydra/")]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            config = compose(config_name, overrides=groups, return_hydra_config=True)
            keys = list(dotted_keys(OmegaConf.to_container(config)))
            return keys + [folder.name for folder in Path(conf_dir()).iterdir() if folder.is_dir()]
    except Exception:  # the hint is a courtesy: without it the first error still stands
        return []
