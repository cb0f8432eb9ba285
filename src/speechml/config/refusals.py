"""What Hydra and OmegaConf refuse of a config, in one sentence with a remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from speechml.config.compose import WHOLE, conf_dir, flatten, plain
from speechml.config.hydra_compat import find_sweep
from speechml.config.quoting import quote_for_shell
from speechml.config.schema import keys_of, schema_of
from speechml.config.words import explain_merge
from speechml.errors import UserError, closest, did_you_mean

ELSEWHERE = {"learning_rate": "lr"}  # what other tools call a key, where the names are not near
COMPOSERS = ("hydra", "omegaconf", "yaml", "antlr4")  # packages that make configs of files and words


@contextmanager
def translate_hydra_errors(words: Sequence[str] = (), is_single: bool = False) -> Iterator[None]:
    """Inside, what Hydra refuses of a config that is made with some overrides becomes one sentence.

    Args:
        words: the overrides.
        is_single: whether they are to describe one config.

    Raises:
        UserError: that sentence.
    """
    try:
        if is_single and (several := find_sweep(words)):
            key, _, value = several.partition("=")
            raise UserError(
                f"{several} describes several configs", fix=f"give one value, or text as {quote_for_shell(key, value)}"
            )
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_of_composing(error):
            raise
        raise UserError(hydra_sentence(error, words)) from error


def is_of_composing(error: Exception) -> bool:
    """Whether an error is what Hydra, OmegaConf or YAML make of a config."""
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return True
    packages = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    return next((name for name in reversed(packages) if name in (*COMPOSERS, "speechml")), "") in COMPOSERS


def hydra_sentence(error: Exception, words: Sequence[str]) -> str:
    """What Hydra refuses of a config, with the nearest valid key where it speaks of an unknown one."""
    if isinstance(error, OverrideParseException):
        sweeps = "sweeps key=choice(a, b), key=range(1, 4) or key=interval(0, 1)"
        key, equals, value = str(error.override).partition("=")
        text = f", text with signs as {quote_for_shell(key, value)}" if equals else ""
        return f"{error.override!r} is not understood; overrides are written key=value{text}, {sweeps} (see --help)"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        name = error.missing_cfg_file
        # Of a name in a list Hydra does not say what there is.
        options = error.options or sorted(path.stem for path in (Path(conf_dir()) / name).parent.glob("*.yaml"))
        near = did_you_mean(name.rpartition("/")[2], options)
        own = "" if os.environ.get("SPEECHML_CONF") else "; files of yours are looked for where $SPEECHML_CONF says"
        return f"there is no {name}{near} (there are: {', '.join(options)}){own}"
    if isinstance(error.__cause__, (ConfigAttributeError, ConfigKeyError)) and error.__cause__.full_key:
        return _unknown_key(str(error.__cause__.full_key), error.__cause__.parent_node, words)
    if isinstance(error, HydraException) and not {"-m", "--multirun"} & set(words) and (several := find_sweep(words)):
        key, _, value = several.partition("=")
        return f"{several} describes several runs; add -m, or write a list as key=[a,b], or text as {quote_for_shell(key, value)}"
    lines = (line.strip() for line in str(error).splitlines())
    text = " ".join(line for line in lines if line and not line.startswith(("full_key", "object_type")))
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return text
    kind = "YAML" if isinstance(error, YAMLError) else type(error).__name__
    return f"the config cannot be read ({kind}: {text})"


def _unknown_key(name: str, section: object, words: Sequence[str]) -> str:
    """What to say of a key that a section does not have; other choices of its group may."""
    if remedy := explain_merge(name.rpartition(".")[0], words):
        return f"there is no key {name}; {remedy}"
    group, _, rest = name.partition(".")
    if name.startswith("hydra.launcher.") and not any(word.startswith("hydra/launcher=") for word in words):
        return f"there is no key {name} in the chosen launcher; name the launcher as well, as hydra/launcher=slurm"
    files = sorted((Path(conf_dir()) / group).glob("*.yaml"))
    # A set, since `in` of a DictConfig passes over ???.
    owners = [f"{group}={file.stem}" for file in files if rest in set(OmegaConf.load(file))]
    if rest and owners:
        return f"there is no key {name} in the chosen {group}; it belongs to {' or '.join(owners)}"
    if name == "data":
        return "there is no data section to set a key in; name the data as well, as data=wav_pairs data.root=FOLDER"
    names = plain(section) if isinstance(section, DictConfig) else {}
    target = str(names.get("_target_", ""))
    if rest and "." not in rest and target and not target.startswith(("speechml.", "torch.", "lightning.")):
        return (
            f"there is no key {name} in the config of {target}; write +{name}=VALUE if it is an argument of the class"
        )
    if (schema := schema_of(target)) and rest in keys_of(schema):
        return f"no file sets {name}; write +{name}=VALUE"
    if rest:
        above = name.rpartition(".")[0]
        return f"there is no key {name}{did_you_mean(name, [f'{above}.{key}' for key in names])}"
    parts = {part: node for part, node in names.items() if isinstance(node, dict) and part != "hydra"}
    inner = {key: f"{part}.{key}" for part, node in parts.items() for key in node}
    places = inner | {key: key for key in (*names, *WHOLE)}
    word = ELSEWHERE.get(name, name)
    near = inner.get(word) or places.get(closest(word, places))
    return f"there is no key {name}" + (f"; did you mean {near}?" if near else "")


def unresolved(name: str, cfg: DictConfig) -> UserError:
    """The refusal of a value that is taken from another key which is not there."""
    text = str(flatten(plain(cfg)).get(name, ""))
    for wanted in re.findall(r"\$\{([a-z]\w*(?:\.\w+)*)\}", text):
        group = wanted.partition(".")[0]
        if group not in cfg:
            return UserError(f"there is no {group}, from which {name} is taken", fix=f"choose {group}=NAME")
        if OmegaConf.select(cfg, wanted) is None:
            what = f"{name} is taken from {wanted}, which this {group} does not have"
            return UserError(what, fix=f"choose {group}=... of another kind")
    return UserError(f"{name} must be given", why=f"it is taken from {text}", fix=f"add {name}=VALUE to the command")
