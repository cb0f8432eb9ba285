"""What the tests share: small recordings made here, and experiments run in this process."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from forked import LIMIT_S, run_forked

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: a thread each, or they wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, what the tests start would be deaf to it, too

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real recordings of ../shared/data are not here")


# Seconds since 1970, after which no test begins any more: where a run of the tests has to end, as that of a landing.
UNTIL = float(os.environ.get("SPEECHML_TESTS_UNTIL", "inf"))


def pytest_configure(config: pytest.Config) -> None:
    """List what was left out, where there may be no time for all."""
    if os.environ.get("SPEECHML_TESTS_UNTIL"):
        config.option.reportchars += "s"


def pytest_runtest_setup(item: pytest.Item) -> None:  # noqa: ARG001 (as pytest calls it)
    """Leave out what there is no time for, and say so."""
    if time.time() > UNTIL:
        pytest.skip("there was no time left for it; make test-slow runs it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests begin first, so that the other processes take the rest beside them.

    Where there may be no time for all, the others come in an order that is another each time: in the end all are run.
    """
    if os.environ.get("SPEECHML_TESTS_UNTIL"):
        files = list(dict.fromkeys(item.path for item in items))  # whole ones, for the sake of what their tests share
        random.Random(UNTIL).shuffle(files)
        items.sort(key=lambda item: files.index(item.path))
    items.sort(key=lambda item: not item.name.startswith("test_the_commands_of_a_page_run"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same draws in every run of the tests, whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of packed recordings for all tests, apart from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["SPEECHML_CACHE"] = str(folder)
    return folder


@pytest.fixture
def workplace(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def genre_features(workplace: Path) -> None:
    """Data of the genre runs of `resuming`, in an empty folder to work in."""
    from stress_resume import make_features

    make_features(workplace / "features.npz")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:  # noqa: ARG001
    """A genre run of `resuming` that nothing has stopped."""
    from resuming import GENRE, run_in
    from stress_resume import make_features

    place = tmp_path_factory.mktemp("undisturbed")
    make_features(place / "features.npz")
    with contextlib.chdir(place):
        return run_in(place, *GENRE)


TINY = ("+data.count=40",)  # of the embedded corpus: three speakers and more, made in half a second


@pytest.fixture
def train(workplace: Path) -> Callable[..., Path]:
    """train("experiment=...", ...) composes and launches as speechml-train does, and gives the folder of the run."""

    def launch_with(*overrides: str) -> Path:
        from speechml.engine import train as engine
        from speechml.runs.identity import run_id

        cfg = composed("train", *overrides)
        engine.train(cfg)
        return workplace / "runs" / cfg.name / run_id(cfg)

    return launch_with


def composed(config_name: str, *overrides: str, keep_hydra: bool = False):
    """The config of an app as Hydra hands it over, fully resolved; with Hydra's own part where that is asked for."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from speechml.config.compose import conf_dir
    from speechml.config.hydra_compat import compose_with_sources

    cfg = compose_with_sources(conf_dir(), config_name, list(overrides)).cfg
    HydraConfig.instance().set_config(cfg)
    if not keep_hydra:
        with open_dict(cfg):
            del cfg["hydra"]
    return cfg


def command(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `speechml-train`, `speechml-evaluate` or `speechml` of this environment in a process of its own.

    Without options of `subprocess.run` it is forked from one that has loaded the packages, which takes most of the time.
    """
    if options:
        program = Path(sys.executable).with_name(words[0])
        return subprocess.run([str(program), *words[1:]], capture_output=True, text=True, timeout=LIMIT_S, **options)
    with tempfile.TemporaryDirectory() as folder:
        texts = [Path(folder) / name for name in ("out", "err")]
        code = run_forked(words, Path.cwd(), os.environ, *texts)
        said = [text.read_text() for text in texts]
    if code is None:
        raise subprocess.TimeoutExpired(list(words), LIMIT_S, *said)
    return subprocess.CompletedProcess(words, code, *said)


def succeed(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """As `command`, which must end with exit code 0."""
    done = command(*words, **options)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium for all tests of a process; `browser.opened` opens pages in it."""
    from playwright.sync_api import sync_playwright

    from browser import OPTIONS, PROGRAMS

    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium is installed here (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        yield browser
        browser.close()


def tone(seconds: float = 1.0, rate: int = 16000, hz: float = 440.0, level: float = 0.3) -> np.ndarray:
    """A sine (time,), float32."""
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def make_pairs(root: Path, count: int = 6, rate: int = 16000, seconds: float = 1.5) -> Path:
    """Folders noisy/ and clean/ with `count` pairs of tones, noise added."""
    random = np.random.default_rng(0)
    for i in range(count):
        clean = tone(seconds, rate, 200.0 + 50 * i)
        noisy = clean + 0.1 * random.standard_normal(len(clean)).astype(np.float32)
        for side, waveform in (("clean", clean), ("noisy", noisy)):
            (root / side).mkdir(parents=True, exist_ok=True)
            soundfile.write(root / side / f"item{i}.wav", waveform, rate)
    return root


@pytest.fixture
def common(tmp_path: Path) -> dict[str, Any]:
    """What every data module of pairs is given, with short clips and small batches."""
    return {"sample_rate": 16000, "clip_s": 0.5, "batch_size": 4, "split_seed": 0, "cache": str(tmp_path / "cache")}


def mixed_folders(root: Path, speakers: int = 4, each: int = 3) -> dict[str, str]:
    """Folders clean/ with tones of some speakers and noise/ with two stretches of noise, as MixedPairs takes them."""
    for speaker in range(speakers):
        for i in range(each):
            path = root / "clean" / f"speaker{speaker}" / f"{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(1.2, hz=200 + 90 * speaker + 10 * i), 16000)
    random = np.random.default_rng(0)
    (root / "noise").mkdir(exist_ok=True)
    for i in range(2):
        soundfile.write(root / "noise" / f"noise{i}.wav", 0.1 * random.standard_normal(40000), 16000)
    return {"clean": str(root / "clean"), "noise": str(root / "noise")}


WORD_HZ = {"high": 2000.0, "low": 300.0, "middle": 900.0}  # the words of make_words are tones


def make_words(
    root: Path, words: tuple[str, ...] = ("high", "low", "middle"), speakers: int = 30, takes: int = 1
) -> Path:
    """A folder for each word with clips named as in Speech Commands; speakers fall into all three parts by their hash."""
    random = np.random.default_rng(0)
    for word in words:
        (root / word).mkdir(parents=True, exist_ok=True)
        for speaker in range(speakers):
            for take in range(takes):
                clip = tone(1.0, hz=WORD_HZ.get(word, 500.0) * (1 + 0.01 * speaker)) * random.uniform(0.2, 1)
                clip += 0.01 * random.standard_normal(len(clip)).astype(np.float32)
                soundfile.write(root / word / f"{speaker:08x}_nohash_{take}.wav", clip, 16000)
    return root


def add_background(root: Path, seconds: float = 20.0) -> Path:
    """Two recordings of noise, as the data set has them."""
    random = np.random.default_rng(1)
    (root / "_background_noise_").mkdir(exist_ok=True)
    for i in range(2):
        noise = 0.1 * random.standard_normal(round(seconds * 16000))
        soundfile.write(root / "_background_noise_" / f"noise{i}.wav", noise, 16000)
    return root


def feature_rows(blocks: int, level: float, random: np.random.Generator) -> np.ndarray:
    """Rows of a made-up song (blocks, 12) that wanders slowly about a level of its own."""
    steps = np.cumsum(0.2 * random.standard_normal((blocks, 12)), axis=0)
    rows = level + steps - steps.mean(0) + 0.1 * random.standard_normal((blocks, 12))
    rows[:, 11] = np.exp(rows[:, 11])  # the ratio of low to high energy
    return rows


def make_features(
    path: Path, blocks: tuple[int, ...] = (60, 50, 40, 44), genres: tuple[int, ...] = (0, 1, 2, 2)
) -> Path:
    """A .npz in the format of DDASP exercise 12: songs in two channels that are nearly alike."""
    random = np.random.default_rng(0)
    rows, labels = [], []
    for count, genre in zip(blocks, genres, strict=True):
        left = feature_rows(count, 1.5 * genre, random)
        right = left * (1 + 0.01 * random.standard_normal(left.shape))
        rows += [left, right]
        labels += [genre] * 2 * count
    np.savez(path, Xdata=np.concatenate(rows), Ydata=np.array(labels)[:, None])
    return path


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:  # noqa: ARG001
    """A folder with two runs that are done, a denoiser and a classifier; not to be changed."""
    from speechml.engine.train import train

    place = tmp_path_factory.mktemp("made")
    base = (f"paths.runs={place / 'runs'}", "callbacks.figures=null", "trainer.max_epochs=2")
    train(composed("train", *base, *TINY, "experiment=lab2a_fir", "model.net.taps=8"))
    train(composed("train", *base, "experiment=genre_mlp", f"data.root={make_features(place / 'features.npz')}"))
    return place / "runs"


@pytest.fixture(scope="session")
def trained(finished_runs: Path) -> dict[str, Path]:
    """Runs of a denoiser and of classifiers of features and of words, not to be changed; the words' clips lie in `words`."""
    from speechml.engine.train import train

    place = finished_runs.with_name("of_words")
    words = (
        f"data.root={make_words(place / 'words')}",
        "model.net.width=8",
        "trainer.precision=32",
        "data.batch_size=16",
    )
    fast = (f"paths.runs={place}", "callbacks.figures=null", "trainer.max_epochs=2", "trainer.max_steps=-1")
    train(composed("train", "experiment=words_tuned", *fast, *words))
    return {
        "lab2a_fir": run_of(finished_runs), "genre_mlp": run_of(finished_runs, "genre_mlp"),
        "words_tuned": run_of(place, "words_tuned"), "words": place / "words",
    }  # fmt: skip


@pytest.fixture
def runs(finished_runs: Path, workplace: Path) -> Path:
    """A copy of `finished_runs`, to be spoilt; its cards have no checksums, so that each other check is seen by itself."""
    shutil.copytree(finished_runs, workplace / "runs")
    for card in workplace.glob("runs/*/*/card.json"):
        write_card(card.parent, {k: v for k, v in read_card(card.parent).items() if k != "files"})
    return workplace / "runs"


@pytest.fixture
def place(workplace: Path, finished_runs: Path) -> Any:
    """A stranger's run in the working folder, beside files that are nobody's business (tests/strangers.py)."""
    from strangers import Place

    return Place(workplace, finished_runs)


def run_of(runs: Path, experiment: str = "lab2a_fir") -> Path:
    """The one run of an experiment."""
    return next((runs / experiment).iterdir())


def read_card(run: Path) -> dict[str, Any]:
    """What card.json holds, as other programs read it."""
    return dict(json.loads((run / "card.json").read_text()))


def write_card(run: Path, content: dict[str, Any]) -> None:
    """Replace card.json, whatever it then says."""
    (run / "card.json").write_text(json.dumps(content))


# What every card has, for tests that need no more of one.
SMALL_CARD: dict[str, Any] = {
    "id": "0", "experiment": "lab", "state": "running", "scores": {}, "overrides": [],
    "data": {"data": "Lab", "protocol": "random", "fingerprint": "a", "test_fingerprint": "b", "recordings": {}},
}  # fmt: skip


def edit_card(run: Path, **keys: Any) -> None:
    """Write other values into the card of a run."""
    write_card(run, {**read_card(run), **keys})


def speechml(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `speechml ...`, run in this process."""
    from speechml.cli import main as cli

    monkeypatch.setattr(sys, "argv", ["speechml", *words])
    with pytest.raises(SystemExit) as end:
        cli.app()
    return int(end.value.code or 0)
