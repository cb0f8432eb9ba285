"""What the apps do with their config: overrides as people write them, Hydra's composition, and plain values of it."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from speechml.config.schema import keys_of
from speechml.config.third_party import Trainer
from speechml.config.train_config import empty_none
from speechml.contracts import Config
from speechml.errors import UserError
from speechml.storage.files import expand_home

WITH_NONE = ("callbacks", "logger", "metrics", "optimizer", "scheduler")  # groups with a file `none`
TRACKER_KEYS = ("logger.wandb", "logger.mlflow")  # which no shipped config sets but conf/logger/
WHOLE = ("experiment", "debug", "hparams_search")  # groups whose files set keys of any section
PATHS = ("paths.runs", "paths.cache", "run", "init.from")  # keys that are paths, beside those of data
PLACES = ("root", "clean", "noise", "file")  # how names of keys end that are paths, in data
PATTERNS = ("speaker", "word", "text")  # keys of data that hold a regular expression
NEEDED = ("data", "model", "trainer", "checkpoint", "paths", "hydra")
HIDDEN = "<hidden>"
# What is a secret by its name, as in `export HF_TOKEN=...`, `--password ...`, `token: ...`, and by its look; numbers never are.
NAMES = (
    r"(?:(?:token|passwd|password|secret|credential|(?<![a-z])pass(?:wo?r?d|phrase)|(?:api|access|private|secret)[_-]?key)s?"
    r"(?![a-z])[\w-]*|(?<![a-z])(?:pass|key|auth(?:ori[sz]ation)?)(?![\w-]))"
)
NUMBER = r"(?:[-+]?(?:(?:\d[\d_]*)?\.?\d+|\d+\.|inf)(?:e[-+]?\d+)?|true|false|null|none|nan)"
PLAIN = rf"(?:{NUMBER}|[a-z]*[\[(][ \t]*{NUMBER}(?:[ \t]*,[ \t]*{NUMBER})*[ \t]*[\])])(?:(?=[\s\"';,\]}})])|\Z)"
SECRET_KEY = re.compile(rf"{NAMES}\Z", re.IGNORECASE)
PLAIN_VALUE = re.compile(rf"{PLAIN}(?:[ \t]*,[ \t]*{PLAIN})*", re.IGNORECASE)
SECRET = re.compile(
    rf"""({NAMES}["']?[ \t]*[=:][ \t]*(?:bearer |basic )?|--?[\w-]*(?:token|passwd|password|secret|key)[ \t]+)"""
    rf"""(?!{PLAIN})(?:"[^"\n]*"|'[^'\n]*'|\[[^\]\n]*\]|[^\s"',;\]}})]+)""", re.IGNORECASE,
)  # fmt: skip
TOKEN = re.compile(r"\b(?:hf_|gh[opsu]_|github_pat_|glpat-|sk-|xox[abp]-|AKIA)[\w-]{12,}")
ADDRESS = re.compile(r"(\w+://[^/\s:@]*:)[^@\s/]+@")  # of a user with a password
# Words that do not name a sweep: with others of them it is the same one.
NOT_OF_THE_SWEEP = (
    "hydra.sweeper.n_trials=", "hydra.sweeper.n_jobs=", "hydra.sweeper.max_retries=", "hydra.sweeper.figures=",
    "hydra.sweeper.retrain=", "hydra/launcher=basic", "hydra/launcher=local", "hydra/launcher=slurm", "hydra.launcher.",
    "hydra.sweep.", "redo=", "tags=", "note=",
)  # fmt: skip


def conf_dir() -> str:
    """The folder `conf/` of the checkout this module runs from, else the copy inside the wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    if package.parent.name == "src" and (checkout / "conf" / "train.yaml").is_file():
        return str(checkout / "conf")
    return str(package / "conf")


def sweep_folder(chosen: str) -> str:
    """`<experiment>/<sweep>` of a multirun, named by its command: a repeated one is the same.

    So is one that asks for more trials, or for other helpers: what these words set is not part of the name.
    """
    given = [word for word in sys.argv[1:] if word.startswith("experiment=")]
    words = sorted(
        word
        for word in [*sys.argv[1:], *([] if given else [f"experiment={chosen}"])]
        if not word.lstrip("+~").startswith(("-", *NOT_OF_THE_SWEEP))
    )
    named = given[0].removeprefix("experiment=") if given else chosen
    experiment = re.sub(r"[^\w.-]+", "_", named)
    return f"{experiment}/{hashlib.sha256(chr(10).join(words).encode()).hexdigest()[:10]}"


# Functions that configs may call. The sweep's is cached, because its jobs must see the value that the sweep has.
OmegaConf.register_new_resolver("samples", lambda rate, seconds: round(rate * seconds), replace=True)
OmegaConf.register_new_resolver("bins", lambda n_fft: n_fft // 2 + 1, replace=True)
OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)


def adapt_overrides(words: Iterable[str], config_name: str = "train", is_sweep: bool = False) -> list[str]:
    """Overrides as Hydra takes them: `GROUP=null` for none of it, keys of the Trainer that no file sets, further metrics,
    paths with any characters.

    Args:
        words: of a command line.
        config_name: of the app.
        is_sweep: whether they describe a sweep; `-m` among them says so, too.

    Raises:
        UserError: null for a group without which there is nothing to do.
    """
    words = list(words)
    is_sweep = is_sweep or not {"-m", "--multirun"}.isdisjoint(words)
    return [_adapt(_quote(word, is_sweep), config_name) for word in words]


def _quote(word: str, is_sweep: bool) -> str:
    """An override with its value quoted where Hydra would read a path as something else; a run's own place without `~`."""
    key, equals, value = word.partition("=")
    name = key.lstrip("+")
    if name in PATHS and value.startswith("~"):
        word = f"{key}={expand_home(value)}"
    is_data = name.startswith(("data.", "test_sets."))
    is_place = (is_data and name.endswith(PLACES)) or name in PATHS
    if name == "note" and value != "null" and not value.startswith(("'", '"')):  # whatever is written
        from speechml.config.quoting import quote

        return f"{key}={quote(value)}"
    if equals and (
        not value.isascii()
        or (is_data and name.endswith(PATTERNS))
        or (is_place and not re.fullmatch(r"(?!(?:true|false|inf|nan)$)[a-z_./][\w./-]*/?", value, re.ASCII | re.I))
    ):
        from speechml.config.quoting import read_literally

        return read_literally(word, is_sweep)
    return word


def _adapt(word: str, config_name: str) -> str:
    key, _, value = word.partition("=")
    further = key.startswith("trainer.") and key.removeprefix("trainer.") in _further_trainer_keys()
    further |= key in TRACKER_KEYS or (key.startswith("logger.") and value.startswith("{"))
    if further or key.startswith("test_sets.") or (key in ("metrics", "test_sets") and value.startswith("{")):
        return f"++{word}"
    values = value.split(",")
    if key in WITH_NONE and "null" in values:
        return f"{key}={','.join('none' if one == 'null' else one for one in values)}"
    if value == "null" and (key in WHOLE or (key, config_name) == ("data", "evaluate")):
        return f"~{key}"
    if key == "~hydra" or ((key in NEEDED or key.startswith("hydra/")) and "null" in values):
        raise UserError(f"{word} leaves nothing to compute with", fix=f"choose {key.lstrip('~')}=NAME (see --help)")
    return word


def simplify_overrides(words: Iterable[str]) -> list[str]:
    """Overrides as they are typed, without the `++` that `adapt_overrides` adds, and without secrets."""
    added = ("++trainer.", "++logger.", "++test_sets", "++metrics={")
    return [mask_secrets(word.removeprefix("++") if word.startswith(added) else word)
            for word in words]  # fmt: skip


def mask_secrets(text: str) -> str:
    """Text in which what looks like a password or a token is hidden, for files that may be shown to others."""
    return ADDRESS.sub(rf"\1{HIDDEN}@", TOKEN.sub(HIDDEN, SECRET.sub(rf"\1{HIDDEN}", text)))


@cache
def _further_trainer_keys() -> set[str]:
    """What Lightning's Trainer takes and conf/trainer/cpu.yaml, on which the others build, does not set."""
    text = (Path(conf_dir()) / "trainer" / "cpu.yaml").read_text()
    return {*keys_of(Trainer), *Trainer.FURTHER, *Trainer.REPLACED} - set(re.findall(r"^(\w+):", text, re.MULTILINE))


def without_secrets(content: object, key: object = "") -> Any:
    """A copy of plain values, every text in them without secrets: by what it is like, and by the key that it stands under."""
    if isinstance(content, dict):
        return {name: without_secrets(value, name) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_secrets(value, key) for value in content]
    if not isinstance(content, str) or not content:
        return content
    is_secret = SECRET_KEY.search(str(key)) and not PLAIN_VALUE.fullmatch(content)
    return HIDDEN if is_secret else mask_secrets(content)


def in_sweep() -> bool:
    """Whether the run is one of several that a command launches, which prints a line each itself."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def resolve_config(cfg: DictConfig) -> Config:
    """The composed config as plain containers, every interpolation resolved.

    Raises:
        UserError: a mandatory value (`???`) is missing, or a key that another is taken from; the message names it.
    """
    try:
        if missing := sorted(OmegaConf.missing_keys(cfg)):
            raise UserError(f"{missing[0]} must be given", fix=f"add {missing[0]}=VALUE to the command")
        return empty_none(plain(cfg, resolve=True))
    except InterpolationResolutionError as error:
        from speechml.config.refusals import unresolved

        raise unresolved(str(error.full_key), cfg) from error


def plain(cfg: object, resolve: bool = False) -> Config:
    """A config as plain containers, interpolations as they are written, or resolved."""
    content = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def flatten(node: object, prefix: str = "") -> Config:
    """A nested mapping as one level of dotted keys."""
    flat: Config = {}
    for key, value in node.items() if isinstance(node, dict) else ():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
