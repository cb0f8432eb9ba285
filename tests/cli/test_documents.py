"""README.md and docs/ say what is: commands are commands, links lead somewhere, messages and keys are those of the code."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml

import readme_picture
import reference
from conftest import read_card, run_of, succeed
from documents import ABOUT, DOCUMENTS, PAGES, README, ROOT, anchors, commands, files_of, without_code, write_files
from speechml.cli import main as cli
from speechml.config.compose import adapt_overrides, resolve_config
from speechml.config.compose_app import compose_app
from speechml.config.schema import keys_of, walk
from speechml.config.train_config import TrainConfig, check_config
from speechml.errors import UserError

SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
LINES = [(page, line) for page, path in ABOUT.items() for line in commands(path.read_text())]
TRAININGS = [(page, line) for page, line in LINES if re.search(r"(^| )speechml-train ", line) and "--help" not in line]
OTHERS = [(page, line) for page, line in LINES if line.startswith("speechml ")]


@pytest.mark.parametrize(("page", "line"), TRAININGS)
def test_the_configs_of_the_pages_are_accepted(
    page: str, line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = ABOUT[page].read_text()
    if "my_net" in line:
        succeed("speechml", "new", "my_net")
    if "experiment=gated" in line:
        write_files(text, workplace)
        monkeypatch.setenv("SPEECHML_CONF", "my-lab")
    words = shlex.split(line)
    while "=" in words[0]:
        name, value = words.pop(0).split("=", 1)
        monkeypatch.setenv(name, str(ROOT / value) if (ROOT / value).exists() else value)
    words = [first_of(word) for word in adapt_overrides(words[1:], "train") if word not in ("-m", "--multirun")]
    check_config(resolve_config(compose_app("train", words)))


def first_of(word: str) -> str:
    """An override with the first value of its sweep; of a search, as it is."""
    key, _, value = word.partition("=")
    if found := re.fullmatch(r"range\(\d+\)", value):
        return word.replace(found[0], "0")
    if value.startswith("tag(log, interval("):
        return f"{key}={re.findall(r'[0-9.]+', value)[0]}"
    if found := re.match(r"(\[[^]]*\]),", value):
        return f"{key}={found[1]}"
    return re.sub(r"=([^,\[({]+),.*", r"=\1", word)


@pytest.mark.parametrize(("page", "line"), OTHERS)
def test_the_options_of_the_pages_are_there(page: str, line: str) -> None:  # noqa: ARG001 (for the name of the test)
    words, command = shlex.split(line)[1:], typer.main.get_command(cli.commands)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_a_key_that_is_none_would_be_noticed() -> None:
    with pytest.raises(UserError, match="taps"):
        check_config(resolve_config(compose_app("train", ["experiment=lab2a_fir", "model.net.tap=8"])))


def pages_of(nav: object) -> list[str]:
    """The pages of a part of mkdocs.yml's nav."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(part)]


def test_every_page_is_in_the_nav_and_in_the_readme() -> None:
    written = {str(page.relative_to(ROOT / "docs")) for page in PAGES}
    assert sorted(pages_of(SITE["nav"])) == sorted(written | set(reference.PAGES))
    readme = README.read_text()
    assert [page for page in sorted(written) if f"(docs/{page})" not in readme] == []
    assert readme.count("\n") <= 200


def links() -> list[tuple[str, str]]:
    """Each link to a place of ours, by the page that it stands in."""
    found = [
        (page, link)
        for page, path in ABOUT.items()
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text()))
    ]
    return [(page, link) for page, link in found if "://" not in link]


@pytest.mark.parametrize(("page", "link"), links())
def test_a_link_leads_somewhere(page: str, link: str) -> None:
    place, _, anchor = link.partition("#")
    path = (ABOUT[page].parent / place).resolve() if place else ABOUT[page]
    made = reference.PAGES.get(path.name) if path.parent == ROOT / "docs" and ABOUT[page] != README else None
    assert made or path.exists()
    assert made or path.is_relative_to(ROOT / "docs") or page == "README.md"  # else the site has no such file
    if anchor:
        assert anchor in anchors(made() if made else path.read_text())


@pytest.mark.parametrize("page", ABOUT)
def test_a_page_names_no_place_of_one_machine(page: str) -> None:
    assert (
        re.findall(r"(?<![\w.$}~*-])/(?:home|root|work|tmp|opt|usr|mnt|Users|data)/\S*", ABOUT[page].read_text()) == []
    )


@cache
def sentences() -> str:
    """All texts of the source, with a sign where a value is put in; one a line."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "src").rglob("*.py")]
    texts = []
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return "\n".join(text.replace("\n", " ") for text in texts)


MESSAGES = re.findall(r"^### `(.*)`$", ABOUT["docs/troubleshooting.md"].read_text(), re.MULTILINE)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_of_errors_is_one_of_the_source(message: str) -> None:
    pieces = [piece for piece in re.split(r"\b(?!LBFGS\b)[A-Z]{2,}\b", message) if piece]
    assert sum(map(len, pieces)) > 8
    assert re.search(".*".join(map(re.escape, pieces)), sentences())


def test_the_page_of_errors_has_what_people_meet_most() -> None:
    assert len(MESSAGES) == len(set(MESSAGES)) >= 40


def test_the_reference_has_every_key_with_its_type_and_purpose() -> None:
    page = reference.keys_page()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name, known in walk(TrainConfig):
        if not known.is_section:
            assert any(row.startswith(f"| `{name}` |") and reference.plain(known.why) in row for row in rows), name
    for prefix, schema in reference.built_schemas():
        for name in keys_of(schema):
            assert any(row.startswith(f"| `{prefix}{name}` |") for row in rows), f"{prefix}{name}"
    (row,) = [row for row in rows if row.startswith("| `optimizer.lr` |") and "0.001" in row and "sgd" in row]
    assert row.count("|") == len(reference.COLUMNS) + 1
    for choice in (ROOT / "conf" / "data").glob("*.yaml"):
        assert f"`data={choice.stem}`" in page


def test_the_reference_has_every_command_with_its_options() -> None:
    page = reference.commands_page()
    for path, command in reference.walk_commands(typer.main.get_command(cli.commands), ()):
        part = page.split(f"### speechml {' '.join(path)}\n")[1].split("\n### ")[0]
        options = [option for param in command.params for option in param.opts if option.startswith("-")]
        assert [option for option in options if f"`{option}`" not in part] == []
        assert reference.plain((command.help or "").splitlines()[0])[1:] in part
    for word in ("75", "SPEECHML_CONF", "--cfg job", "-m"):
        assert f"`{word}" in page or f"| {word} |" in page


def test_the_pages_name_every_experiment_and_place() -> None:
    texts = "\n".join(path.read_text() for path in DOCUMENTS)
    for experiment in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert f"`{experiment.stem}`" in texts
    places = re.findall(r"`((?:src/speechml|conf|scripts|examples)/[^`*]*)`", texts)
    known = [place for place in places if not re.search(r"[A-Z]{3,}|hparams_search/$|launcher/", place)]
    assert [place for place in known if not (ROOT / place).exists()] == []
    rooms = {f"src/speechml/{path.parent.name}/" for path in (ROOT / "src" / "speechml").glob("*/__init__.py")}
    assert rooms <= set(places)


def test_a_network_of_ones_own_takes_less_than_forty_lines() -> None:
    files = files_of(ABOUT["docs/own-network.md"].read_text())
    assert sum(text.count("\n") for text in files.values()) < 40
    assert set(files) == {"my-lab/gated.py", "my-lab/model/gated.yaml", "my-lab/experiment/gated.yaml"}


def test_the_picture_of_the_readme_is_drawn_from_a_run(
    finished_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(finished_runs)
    scores = read_card(run)["scores"]
    rows = {row[0]: row[1:] for row in readme_picture.score_rows(scores)}
    before, after = scores["test/snr_input_db"], scores["test/snr_db"]
    assert rows["SNR (dB)"] == [f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}"]
    monkeypatch.setattr(sys, "argv", ["readme_picture.py", str(run), "--output", str(tmp_path / "picture.png")])
    readme_picture.main()
    for picture in (tmp_path / "picture.png", readme_picture.PICTURE):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 200_000


@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="mkdocs is not installed: `make docs` installs it")
def test_the_site_is_built_and_fetches_nothing(tmp_path: Path) -> None:
    words = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    fetched = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//|<link[^>]+(?:stylesheet|preconnect)[^>]+href="https?:'
    )
    for page in pages_of(SITE["nav"]):
        built = (tmp_path / "site" / page).with_suffix(".html").read_text()
        assert "</html>" in built
        assert fetched.search(built) is None
