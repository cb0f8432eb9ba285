"""Tab completion of the three commands: commands and options, and of overrides groups, choices, keys and values."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from speechml.config.compose import adapt_overrides, conf_dir
from speechml.config.explain import find_key
from speechml.config.hydra_compat import Composition, compose_with_sources, pick
from speechml.config.schema import keys_of, schema_of
from speechml.config.words import format_value
from speechml.runs.tables import check_choice

APPS = {"speechml-train": "train", "speechml-evaluate": "evaluate"}
TAKE_OVERRIDES = ("audit", "data prepare", "sweep plan", "explain")  # commands that do as well
OPTIONS = ("--help", "--multirun", "--cfg", "--hydra-help")
# Bash hands over what stands before the cursor; `=` parts words there, so what stands before it is taken off the answers.
BASH = """_speechml() {
    local line="${COMP_LINE:0:$COMP_POINT}" cut="" IFS=$'\\n'
    local word="${line##*[[:space:]]}"
    if [[ "$COMP_WORDBREAKS" == *"="* && "$word" == *"="* ]]; then cut="${word%=*}="; fi
    COMPREPLY=($("${1%speechml*}speechml" _complete "$line" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}
complete -o default -o nospace -F _speechml speechml speechml-train speechml-evaluate
"""
SCRIPTS = {"bash": BASH, "zsh": "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n" + BASH}


def completion_script(shell: str) -> str:
    """What a shell evaluates to complete the three commands. Raises UserError for another shell."""
    check_choice("SHELL", shell, list(SCRIPTS))
    return SCRIPTS[shell]


def answer(line: str) -> None:
    """Print how the last word of a line may go on, one possibility a line; a blank ends what is a whole word."""
    for candidate in sorted(set(candidates(line))):
        sys.stdout.write(f"{candidate}\n")


def candidates(line: str) -> Iterator[str]:
    """How the last word of a line may go on."""
    *words, last = line.split(" ")
    words = [word for word in words if word]
    start = next((i for i, word in enumerate(words) if Path(word).name.startswith("speechml")), None)
    if start is None:
        return
    os.environ |= dict(word.split("=", 1) for word in words[:start] if word.startswith("SPEECHML_") and "=" in word)
    program, before = Path(words[start]).name, words[start + 1 :]
    found = _overrides(APPS[program], before, last) if program in APPS else _commands(before, last)
    yield from (one for one in found if one.startswith(last))


def _commands(before: list[str], last: str) -> Iterator[str]:
    """Of `speechml`: its commands, their options, and overrides where they take them."""
    from typer.main import get_command

    from speechml.cli.main import commands

    node, path = get_command(commands), list[str]()
    for word in before:
        if inner := getattr(node, "commands", {}).get(word):
            node, path = inner, [*path, word]
    yield from (f"{name} " for name, one in getattr(node, "commands", {}).items() if not one.hidden)
    if last.startswith("-"):
        yield from (f"{option} " for one in node.params for option in one.opts if option.startswith("--"))
    if " ".join(path) in TAKE_OVERRIDES:
        yield from _overrides("train", before[len(path) :], last)


def _overrides(app: str, before: list[str], last: str) -> Iterator[str]:
    if last.startswith("-"):
        yield from (f"{option} " for option in OPTIONS)
        return
    made = _compose(app, before)
    mark = last[: len(last) - len(last.lstrip("+~"))]
    key, equals, value = last.removeprefix(mark).partition("=")
    if equals:
        start = value[: value.rfind(",") + 1]  # of a sweep, whose further values follow commas
        yield from (f"{mark}{key}={start}{one} " for one in _values(made, key))
        return
    yield from (f"{mark}{name}" for name in _names(made, key))


def _compose(app: str, before: Iterable[str]) -> Composition:
    """The config that the words before give, or where they give none, that of the app by itself."""
    words = [word for word in before if "=" in word and not word.startswith("-")]
    try:
        return compose_with_sources(conf_dir(), app, adapt_overrides([word for word in words if "," not in word], app))
    except Exception:  # whatever is wrong with a line that is not finished
        return compose_with_sources(conf_dir(), app, [])


def _names(made: Composition, key: str) -> Iterator[str]:
    """Keys, sections and groups beside what is typed of a key."""
    section, dot, _ = key.rpartition(".")
    node = pick(made.raw, section) if dot else made.raw
    if not isinstance(node, dict):
        return
    if not dot:
        groups = [name for name in made.choices if "/" not in name or key.startswith("hydra")]
        yield from (f"{name}=" for name in groups if made.options(name))
    known = find_key(made.raw, section) if dot else None
    schema = schema_of(node.get("_target_")) or (known.section if known else None)
    names = {*node, *(keys_of(schema) if schema else ())} - ({"_target_"} if not key.endswith("_") else set())
    for name in names:
        yield f"{section}{dot}{name}{'.' if isinstance(node.get(name), dict) else '='}"


def _values(made: Composition, key: str) -> list[str]:
    """What a group or a key can be, where that can be listed, else what it is; nothing of files."""
    if key in made.choices:
        return [*made.options(key), "null"]
    known = find_key(made.raw, key)
    if known is None or known.is_path:
        return []
    kinds = [type(choice) for choice in known.choices] + ([bool] if known.accepts(True) else [])
    listed = [*known.choices, *((True, False) if bool in kinds else ())] or [made.value(key)]
    texts = [format_value(value) for value in [*listed, *([None] if known.accepts(None) else [])]]
    return [text for text in texts if " " not in text]
