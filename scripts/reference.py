"""The reference pages of docs/, made from the code: every key of the config, every command.

mkdocs makes them while it builds the site (`hooks` in mkdocs.yml), so they cannot say something else than the code.

python scripts/reference.py FOLDER    # writes keys.md and commands.md there, to be looked at
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer.main
import yaml

from speechml.cli import main as cli
from speechml.config.compose import conf_dir
from speechml.config.explain import heading
from speechml.config.schema import REQUIRED, Key, Schema, keys_of, room_targets, schema_of, section_of
from speechml.config.third_party import Trainer
from speechml.config.train_config import SEED, EvaluateConfig, TrainConfig
from speechml.config.words import allowed_text, format_value, type_text

COLUMNS = ("key", "type (unit)", "default", "allowed", "what it is for")
# Groups whose files choose a class, each with what the keys of a class are called.
BUILT = {
    "data": "data", "model": "model", "optimizer": "optimizer", "scheduler": "scheduler", "trainer": "trainer",
    "hydra/sweeper": "hydra.sweeper", "hydra/launcher": "hydra.launcher",
}  # fmt: skip
KEYS = """# Keys

Every key of the config can be set on the command line, as `optimizer.lr=0.01`; `speechml explain KEY` says of one in the
terminal what stands here, and which file or word has set its value. A key of another section or a value of another kind
is refused before anything is loaded. *Default* is what holds where no config sets the key; *set by* names the shipped
configs that set another value.
"""
COMMANDS = """# Commands

Three programs: `speechml-train` trains, `speechml-evaluate` scores a finished run, `speechml` does everything else. Each has
`--help`; `eval "$(speechml completion bash)"` completes all three with Tab.

## speechml-train and speechml-evaluate

They take words `KEY=VALUE` (see [keys](keys.md)) and `GROUP=CHOICE`, where a choice is a file of `conf/GROUP/`:

```text
speechml-train [KEY=VALUE or GROUP=CHOICE]...
speechml-train -m [KEY=VALUE1,VALUE2 or GROUP=CHOICE1,CHOICE2]...
speechml-evaluate run=RUN [KEY=VALUE or GROUP=CHOICE]...
```

| option | what it does |
| --- | --- |
| `-m`, `--multirun` | a sweep: every combination of the values; with `hydra/sweeper=optuna` or `hparams_search=NAME` a search |
| `--help` | the groups with their choices, and every key with its value and what it is for |
| `--cfg job` | prints the config that these words give, and computes nothing; with `--resolve` after interpolation |
| `--info defaults` | which files the config is made of |
| `--hydra-help` | the further options, which are Hydra's |

`+KEY=VALUE` adds a key that the config does not set, and `~KEY` takes one away. A value with commas, brackets or spaces is
quoted for the shell: `'seed=range(3)'`.

| exit code | of `speechml-train` and `speechml-evaluate` |
| --- | --- |
| 0 | done, now or before |
| 75 | stopped by a signal, and saved: the same command goes on |
| 2 | refused or ended, with a sentence that says why and what would be right |
| 1 | Hydra refused the command, or a fault of speechml (with a traceback) |

`speechml` ends with 0, with 2 where it refuses, and with 1 where what was asked for is answered with no: a run that does not
verify, a test set that an audit flags, a sweep that is not done.

| variable | what it does |
| --- | --- |
| `SPEECHML_RUNS` | where runs are made and looked for (default: `runs/` in the current folder) |
| `SPEECHML_CACHE` | where packed recordings lie (default: `~/.cache/speechml`; can be deleted at any time) |
| `SPEECHML_CONF` | folders of your own configs and modules, with `:` between them; they win over the shipped ones |
"""


def keys_page() -> str:
    """The reference of keys, as Markdown: the keys of the whole config, then those of each group."""
    parts = [KEYS, "## At the top\n", key_table(TrainConfig, "", {}, sections=False)]
    for name, known in keys_of(TrainConfig).items():
        if name in BUILT:
            parts += list(_group(name, known.why))
        elif known.is_section:
            parts += [f"## {name}\n", f"{sentence(known.why)}{f' ({known.allowed})' * bool(known.allowed)}\n"]
            parts += list(_keys_within(name, known))
    for name in ("hydra/sweeper", "hydra/launcher"):
        parts += list(_group(name, "how several runs are computed, with `-m`"))
    parts += ["## speechml-evaluate\n", key_table(EvaluateConfig, "", {}, sections=True)]
    return "\n".join(parts)


def _group(name: str, why: str) -> Iterator[str]:
    """The choices of a group, and the keys of each class that they build."""
    files = _shipped(name)
    yield f"## {name.replace('/', '.')}\n"
    yield f"{sentence(why)} Choose with `{name}=NAME`:\n"
    yield table(
        ("choice", "what it is"),
        [(f"`{name}={choice}`", heading(Path(conf_dir()) / name / f"{choice}.yaml")) for choice in files],
    )
    built: dict[type[Schema], tuple[str, dict[str, Any]]] = {}
    for choice, content in files.items():
        target = _target_of(content, files)
        if schema := schema_of(target):
            built.setdefault(schema, (target.rpartition(".")[2], {}))[1][choice] = content
    for schema, (title, contents) in built.items():
        yield f"### {title}\n"
        yield f"{sentence(schema.__doc__ or '')} Of {', '.join(f'`{name}={choice}`' for choice in contents)}.\n"
        yield key_table(schema, f"{BUILT[name]}.", contents, sections=False)
        if schema is Trainer:
            further = ", ".join(f"`trainer.{word}`" for word in sorted(Trainer.FURTHER))
            yield f"Further arguments of Lightning's Trainer are taken as they are: {further}.\n"
        if schema.FURTHER and schema is not Trainer:
            yield f"The class also takes {', '.join(f'`{word}`' for word in schema.FURTHER)}: see its documentation.\n"
    if name == "model":
        yield from _networks(files)


def _networks(files: Mapping[str, Any]) -> Iterator[str]:
    """The networks that `model.net` can be."""
    yield "### model.net\n"
    yield "The network itself. Its keys depend on its class, which the choice of the model names:\n"
    for target in room_targets("models"):
        if schema := schema_of(target):
            title = target.rpartition(".")[2]
            nets = {choice: content.get("net") or {} for choice, content in files.items()}
            contents = {choice: net for choice, net in nets.items() if net.get("_target_") == target}
            yield f"#### {title}\n"
            of = f" Of {', '.join(f'`model={choice}`' for choice in contents)}." if contents else ""
            yield f"{sentence(schema.__doc__ or '')}{of}\n"
            yield key_table(schema, "model.net.", contents, sections=True)


def _keys_within(name: str, known: Key) -> Iterator[str]:
    """The keys of a section that no choice builds, and of the callbacks that may stand in one."""
    if known.section and keys_of(known.section):
        yield key_table(known.section, f"{name}.", _shipped(name), sections=True)
    for target in room_targets(name) if name == "callbacks" else ():
        schema = schema_of(target)
        if schema and keys_of(schema):
            yield f"### {target.rpartition('.')[2]}\n"
            yield f"{sentence(schema.__doc__ or '')}\n"
            yield key_table(schema, f"{name}.NAME.", {}, sections=True)


def key_table(schema: type[Schema], prefix: str, files: Mapping[str, Any], sections: bool) -> str:
    """The keys of a section as a table, with the values that files set where they are not the default."""
    rows: list[tuple[str, ...]] = []
    for name, known in keys_of(schema).items():
        if known.is_section and not sections and not prefix:
            rows.append((f"[`{name}`](#{name})", "section", "", "", plain(known.why)))
            continue
        rows.append(_row(f"{prefix}{name}", known, {choice: content.get(name) for choice, content in files.items()}))
        inner = section_of(known.kind)
        if inner and (sections or prefix):
            within = {choice: content.get(name) or {} for choice, content in files.items()}
            rows += [
                _row(f"{prefix}{name}.{word}", below, {choice: part.get(word) for choice, part in within.items()
                                                       if isinstance(part, dict)})
                for word, below in keys_of(inner).items()
            ]  # fmt: skip
    return table(COLUMNS, rows) if rows else "It has no keys of its own.\n"


def _row(name: str, known: Key, values: Mapping[str, object]) -> tuple[str, ...]:
    """What there is to say of a key, in the order of COLUMNS."""
    default = "must be given" if known.default is REQUIRED else f"`{format_value(known.default)}`"
    shown: dict[str, list[str]] = {}
    for choice, value in values.items():
        if (
            isinstance(value, (int, float, str, list))
            and value != known.default
            and not str(value).startswith(("?", "$"))
        ):
            shown.setdefault(format_value(value), []).append(choice)
    default += "".join(f"; set by {', '.join(choices)}: `{value}`" for value, choices in shown.items())
    allowed = plain(allowed_text(known)).replace(f"from {-SEED} to {SEED}", "of 64 bits")
    unit = f" ({known.unit})" * bool(known.unit)
    return f"`{name}`", type_text(known.kind) + unit, default, allowed, plain(known.why)


def built_schemas() -> Iterator[tuple[str, type[Schema]]]:
    """What the groups build, each with what its keys begin with."""
    for name, prefix in BUILT.items():
        files = _shipped(name)
        yield from (
            (f"{prefix}.", schema) for content in files.values() if (schema := schema_of(_target_of(content, files)))
        )
    for room, prefix in (("models", "model.net."), ("callbacks", "callbacks.NAME.")):
        yield from ((prefix, schema) for target in room_targets(room) if (schema := schema_of(target)))


def _shipped(group: str) -> dict[str, dict[str, Any]]:
    """The files of a group by their names, each with what it takes from others of the group."""
    folder = Path(conf_dir()) / group
    own = {path.stem: yaml.safe_load(path.read_text()) or {} for path in sorted(folder.glob("*.yaml"))}
    merged: dict[str, dict[str, Any]] = {}
    for name, content in own.items():
        parents = [word for word in content.get("defaults") or [] if isinstance(word, str) and word in own]
        merged[name] = {key: value for parent in parents for key, value in own[parent].items()} | content
    return merged


def _target_of(content: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """The class that a file of a group builds: its own, or of the file that it begins with."""
    parents = [files[word] for word in content.get("defaults") or [] if isinstance(word, str) and word in files]
    return str(content.get("_target_") or next((parent.get("_target_") for parent in parents), ""))


def commands_page() -> str:
    """The reference of commands, as Markdown."""
    parts = [COMMANDS, "## speechml\n"]
    for path, command in walk_commands(typer.main.get_command(cli.commands), ()):
        parts += list(_command(" ".join(("speechml", *path)), command))
    return "\n".join(parts)


def walk_commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands, each with its words after `speechml`."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    for name, below in (inner or {}).items():
        yield from walk_commands(below, (*path, name))


def _command(name: str, command: Any) -> Iterator[str]:
    """A command: what it does, its usage, arguments and options."""
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    words = [_metavar(param) for param in arguments]
    yield f"### {name}\n"
    yield f"{sentence(command.help or '')}\n"
    yield f"```text\n{' '.join([name, *['[OPTION]...'] * bool(options), *words])}\n```\n"
    rows = [(f"`{word}`", plain(param.help or "")) for word, param in zip(words, arguments, strict=True)]
    for option in options:
        default = "" if option.default in (None, False, "") else f" (default: `{option.default}`)"
        must = " (must be given)" * option.required
        rows.append((", ".join(f"`{word}`" for word in option.opts), f"{plain(option.help or '')}{default}{must}"))
    if rows:
        yield table(("argument or option", "what it is"), rows)


def _metavar(argument: Any) -> str:
    """An argument as a usage line has it: in brackets where it may be missing, with dots where it may be several."""
    word = (argument.metavar or argument.name.upper()).strip("[].")
    word += "..." * (argument.nargs == -1)
    return word if argument.required else f"[{word}]"


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table of Markdown, and an empty line."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in (list(header), ["---"] * len(header), *cells)]
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """A text in one line, in which no sign is Markdown's."""
    return re.sub(r"([\[*]|\b_|_\b|(?<!\w)_)", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def sentence(text: str) -> str:
    """A text as a sentence: with a capital letter and a full stop."""
    text = plain(text)
    return text[:1].upper() + text[1:] + "." * (bool(text) and not text.endswith("."))


PAGES = {"keys.md": keys_page, "commands.md": commands_page}


def on_files(files: Any, config: Any) -> Any:
    """Add the reference pages to those of docs/; mkdocs calls this while it builds."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    return files


if __name__ == "__main__":
    for name, page in PAGES.items():
        (Path(sys.argv[1]) / name).write_text(page())
