"""The doors: they open fast, and say in a sentence what is missing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from conftest import command, run_of, speechml, tone
from speechml import __version__

ROOT = Path(__file__).parents[2]


PLUGINS = [f"hydra_plugins.speechml_{name}" for name in ("searchpath", "optuna", "sweeps")]


@pytest.mark.parametrize("module", ["speechml", "speechml.cli.main", "speechml.train", "speechml.evaluate", *PLUGINS])
def test_an_entry_point_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "lightning", "numpy", "librosa", "matplotlib", "optuna")
    program = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_printed_without_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speechml(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "extra", "line"),
    [
        ("optuna", "search", "speechml-train -m hydra/sweeper=optuna +data.count=40 optimizer.lr=choice(0.1,0.2)"),
        ("pyloudnorm", "music", "speechml-train experiment=genre_mlp data.root=my-music"),
        ("safetensors", "export", "speechml export {run} exported"),
    ],
)
def test_a_missing_extra_is_one_sentence(package: str, extra: str, line: str, runs: Path) -> None:
    (runs.parent / "my-music").mkdir()
    for genre in range(3):
        soundfile.write(runs.parent / "my-music" / f"song_{genre}.wav", tone(4), 16000)
    words = line.format(run=run_of(runs)).split()
    module = {"speechml": "cli", "speechml-train": "train"}[words[0]]
    program = f"import sys; sys.modules[{package!r}] = None; sys.argv = {words}\n"
    program += f"from speechml.{module} import {'app' if module == 'cli' else 'main'} as run; run()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"error: this needs {package}; pip install 'speechml[{extra}]'\n")


def test_a_users_own_config_folder_wins(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "mine" / "experiment").mkdir(parents=True)
    (workplace / "mine" / "experiment" / "my_own.yaml").write_text("# @package _global_\nseed: 7\n")
    monkeypatch.setenv("SPEECHML_CONF", "mine")
    done = command("speechml-train", "experiment=my_own", "--cfg", "job")
    assert "seed: 7" in done.stdout, done.stderr


def test_the_wheel_carries_the_configs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("hatchling cannot be installed here")
    assert done.returncode == 0, done.stderr
    import zipfile

    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    packages = {
        str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.*") if "__pycache__" not in path.parts
    }
    wanted = packages | {f"speechml/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert wanted <= set(names)


def test_make_alone_prints_help() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("train", "test", "lint", "tensorboard", "docs", "bench"):
        assert re.search(rf"^{target}\s", done.stdout, re.MULTILINE)
