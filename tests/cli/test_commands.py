"""The doors: they open fast, and the README's commands do what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import TINY, command, make_features, make_pairs, make_words, run_of, speechml, tone
from speechml import __version__

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


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
    for target in ("train", "test", "lint", "tensorboard", "bench"):
        assert re.search(rf"^{target}\s", done.stdout, re.MULTILINE)


def readme_commands(text: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    mine = [line for line in lines if line and not line.startswith(("make", "export SPEECHML_RUNS"))]
    # tests/sweep/test_slurm.py and tests/report/test_tensorboard.py run these.
    return [line for line in mine if "hydra/launcher=slurm" not in line and "speechml tensorboard" not in line]


def files_of_the_readme() -> dict[str, str]:
    """What stands below a file's name: `my-lab/x.py`:"""
    return dict(re.findall(r"`(my-lab/[\w./]+)`:\n\n```\w+\n(.*?)```", README, re.DOTALL))


def expanded(words: list[str]) -> list[str]:
    """As a shell would: folders for `*`, in the order of their names."""
    return [
        found for word in words for found in (sorted(map(str, Path().glob(word))) if word.endswith("/*") else [word])
    ]


def searched(words: list[str]) -> list[str]:
    """Two trials are enough of a search."""
    searches = any(word.startswith(("hparams_search=", "hydra/sweeper=")) for word in words)
    return ["hydra.sweeper.n_trials=2"] if searches else []


OWN = "## Your own recordings"  # what comes after it needs no run from before


@pytest.mark.slow
@pytest.mark.parametrize("part", README.split(OWN), ids=["the labs", "what is one's own"])
def test_the_readmes_commands_run(part: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as it stands, but for short trainings on few spoken pairs, without figures and pages."""
    make_pairs(workplace / "my-recordings")
    random = np.random.default_rng(0)
    for speaker in ("anna", "ben", "cleo"):
        for i in range(2):
            path = workplace / "my-speech" / speaker / f"{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(1.1, hz=200 + 50 * i), 16000)
    (workplace / "my-noise").mkdir()
    soundfile.write(workplace / "my-noise" / "hiss.wav", 0.1 * random.standard_normal(40000), 16000)
    make_words(workplace / "my-words", words=("go", "stop"))
    make_features(workplace / "features.npz")
    (workplace / "my-music").mkdir()
    for genre in range(3):
        noise = np.random.default_rng(genre).standard_normal(16 * 8000) * np.linspace(0.01, 0.1, 16 * 8000)
        soundfile.write(workplace / "my-music" / f"song_{genre}.wav", noise + tone(16, 8000, 200 * 3**genre), 8000)
    for name, text in files_of_the_readme().items():
        (workplace / name).parent.mkdir(parents=True, exist_ok=True)
        (workplace / name).write_text(text)
    for line in readme_commands(part):
        words = shlex.split(line)
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("="))
            continue
        words = expanded(words)
        if words[0] == "speechml-train" and "--help" not in words:
            spoken = not any(w.startswith(("data=", "data.root=")) or "hw2" in w for w in words)
            short = ["trainer.max_epochs=1", "+trainer.limit_train_batches=1", *searched(words)]
            short += ["callbacks.figures=null", "report=false"]  # which take most of so short a run
            few = list(TINY) if spoken else ["data.voices=6"] if "data=spoken_words" in words else []
            words += (["data.batch_size=8"] if "find_lr=true" in words else short) + few
        if words[:2] == ["speechml", "reproduce"] and "--read" not in words:
            words += [*TINY, "trainer.max_epochs=1"]
        if words[:3] == ["speechml", "data", "prepare"]:
            words += TINY
        for experiment, place in (
            ("mimo_cnn_tuned", "my-recordings"),
            ("words_tuned", "my-words"),
            ("genre_mlp_tuned", "my-music"),
        ):
            runs = sorted((workplace / "runs" / experiment).glob("*"))
            own = [r for r in runs if place in (r / "config.yaml").read_text()]
            words = [w.replace(f"runs/{experiment}/ID", str(own[0]) if own else "") for w in words]
        done = command(*words)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert [len(list(out.glob("*.wav"))) for out in workplace.glob("out")] == [6] * ("speechml denoise" in part)


def test_the_readme_names_every_experiment_and_place() -> None:
    for experiment in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert f"`{experiment.stem}`" in README
    places = re.findall(r"`((?:src/speechml|conf|scripts)/[^`]*)`", README)
    assert [place for place in places if not (ROOT / place).exists()] == []
    rooms = {f"src/speechml/{path.parent.name}/" for path in (ROOT / "src" / "speechml").glob("*/__init__.py")}
    assert rooms <= set(places)


def test_a_network_of_ones_own_takes_less_than_forty_lines() -> None:
    assert sum(text.count("\n") for text in files_of_the_readme().values()) < 40
    assert set(files_of_the_readme()) == {"my-lab/gated.py", "my-lab/model/gated.yaml", "my-lab/experiment/gated.yaml"}
