"""`speechml new NAME` lays out a folder that runs at once, and refuses names that could not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY, command, read_card, run_of, speechml


@pytest.mark.slow
def test_a_new_folder_trains_and_passes_its_tests(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = command("speechml", "new", "my_net")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[-2:]
    assert (first, second) == (
        "SPEECHML_CONF=my_net speechml-train experiment=my_net trainer.max_epochs=1",
        "pytest my_net",
    )
    monkeypatch.setenv("SPEECHML_CONF", "my_net")
    trained = command(*first.split()[1:], *TINY, "threads=1", "callbacks.figures=null", "report=false")
    assert trained.returncode == 0, trained.stderr
    card = read_card(run_of(workplace / "runs", "my_net"))
    assert card["state"] == "done"
    assert card["parameters"] == 2 * 41
    tested = subprocess.run(
        [sys.executable, "-m", *second.split(), "-q"], capture_output=True, text=True, env=os.environ
    )
    assert tested.returncode == 0, tested.stdout
    assert "3 passed" in tested.stdout


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("my-net", "'my-net' is no name for a Python module; use letters, digits and _, as in my_network"),
        ("class", "'class' is no name for a Python module; use letters, digits and _, as in my_network"),
        ("../up", "'../up' is no name for a Python module; use letters, digits and _, as in my_network"),
        ("lab2a_fir", "there is experiment=lab2a_fir already; choose another name"),
        ("mlp", "there is model=mlp already; choose another name"),
        ("json", "json is a module of Python or of a package already; choose another name"),
        ("torch", "torch is a module of Python or of a package already; choose another name"),
        ("there", "there is there already; choose another name, or remove it"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    name: str, sentence: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "there").mkdir()
    assert speechml(monkeypatch, "new", name) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
    assert [path.name for path in workplace.iterdir()] == ["there"]
