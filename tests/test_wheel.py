"""The wheel holds all that the commands need: installed by itself, away from the checkout, it trains."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from conftest import TINY

ROOT = Path(__file__).parents[1]


def run(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SPEECHML_CONF"))
    }
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, env=environment, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--quiet", "--wheel-dir", place)
    if re.search(r"hatchling|[Cc]onnection|No matching distribution", done.stderr) and done.returncode:
        pytest.skip("no index of packages gives hatchling here, which builds the wheel")
    assert done.returncode == 0, done.stderr
    return next(place.glob("*.whl"))


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of a fresh environment lie: the wheel, and beside it the dependencies that are installed here."""
    place = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", place).returncode == 0
    site = next(place.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files are not read
    done = run(place / "bin" / "python", "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel)
    assert done.returncode == 0, done.stderr
    return place / "bin"


@pytest.mark.slow
def test_the_wheel_holds_every_config_and_template(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"speechml/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*")
               if path.is_file() and path.suffix != ".pyc"}  # fmt: skip
    assert configs | sources <= names


@pytest.mark.slow
def test_an_installed_wheel_shows_composes_lays_out_and_trains(commands: Path, workplace: Path) -> None:
    place = run(commands / "python", "-c", "import speechml; print(speechml.__file__)", cwd=workplace).stdout
    assert place.startswith(str(commands.parent))  # and not the checkout
    for words in (
        ["speechml", "--help"],
        ["speechml", "completion", "bash"],
        ["speechml", "new", "my_net"],
        ["speechml-train", "--cfg", "job"],
        ["speechml-train", "experiment=lab2a_fir", "trainer.max_epochs=1", "threads=1", *TINY],
        ["speechml", "runs", "list"],
    ):
        done = run(commands / words[0], *words[1:], cwd=workplace)
        assert done.returncode == 0, done.stderr
    assert "done" in done.stdout
    assert len(list(workplace.glob("runs/lab2a_fir/*/report.html"))) == 1


def test_the_versions_of_python_that_are_named_are_those_that_are_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert project["requires-python"] == f">={named[0]}"
