"""The commands of the pages in docs/ are commands: their configs compose and are accepted, their options are there."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from conftest import succeed
from speechml.cli import main as cli
from speechml.config.compose import adapt_overrides, resolve_config
from speechml.config.compose_app import compose_app
from speechml.config.train_config import check_config
from speechml.errors import UserError

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def commands() -> list[tuple[str, str]]:
    """Each line of the shell blocks of each page, without its comment."""
    return [
        (page.name, line.split("  #")[0].strip())
        for page in PAGES
        for block in re.findall(r"```(?:ba)?sh\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip()
    ]


TRAININGS = [(page, line) for page, line in commands() if re.search(r"(^| )speechml-train ", line)]
OTHERS = [(page, line) for page, line in commands() if line.startswith("speechml ")]


@pytest.mark.parametrize(("page", "line"), TRAININGS)
def test_the_configs_of_the_pages_are_accepted(
    page: str, line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch  # noqa: ARG001 (for the name of the test)
) -> None:  # fmt: skip
    if "my_net" in line:
        succeed("speechml", "new", "my_net")
    words = shlex.split(line)
    while "=" in words[0]:
        name, value = words.pop(0).split("=", 1)
        monkeypatch.setenv(name, str(ROOT / value) if (ROOT / value).exists() else value)
    words = [word for word in adapt_overrides(words[1:], "train") if word not in ("-m", "--multirun")]
    words = [re.sub(r"=([^,\[({]+),.*", r"=\1", word.replace("range(3)", "0")) for word in words]  # a sweep's first
    check_config(resolve_config(compose_app("train", words)))


@pytest.mark.parametrize(("page", "line"), OTHERS)
def test_the_options_of_the_pages_are_there(page: str, line: str) -> None:  # noqa: ARG001 (for the name of the test)
    words, command = shlex.split(line)[1:], typer.main.get_command(cli.commands)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_page_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES if f"docs/{page.name}" not in readme] == []
    assert {page for page, _ in TRAININGS + OTHERS} >= {page.name for page in PAGES} - {"python.md"}


def test_a_key_that_is_none_would_be_noticed() -> None:
    with pytest.raises(UserError, match="taps"):
        check_config(resolve_config(compose_app("train", ["experiment=lab2a_fir", "model.net.tap=8"])))
