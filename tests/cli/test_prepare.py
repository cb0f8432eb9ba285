"""Data packed ahead of their runs: nothing is left to build, and processes of one machine share one copy."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from conftest import add_background, make_features, make_pairs, make_words, mixed_folders, read_card, tone
from speechml.cli.main import data as app
from speechml.cli.prepare import prepare
from speechml.config.compose_app import compose_app
from speechml.contracts import SPLITS
from speechml.errors import UserError
from speechml.storage import files

SHORT = ("threads=1", "trainer.max_epochs=1", "callbacks.figures=null", "callbacks.progress=null")
FIR = ("experiment=lab2a_fir", "model.net.taps=4", "data.batch_size=2")
WORDS = ("experiment=words_mel", "trainer.max_steps=2")


def make_course(root: Path) -> Path:
    """The files of homework 2 of ENGR-E 533, shorter."""
    root.mkdir()
    for name in ("train_clean_male", "train_dirty_male", "test_x_01"):
        soundfile.write(root / f"{name}.wav", tone(10.0), 16000)
    return root


def make_music(root: Path) -> Path:
    """Four songs of noise of each of two genres."""
    random = np.random.default_rng(0)
    for i in range(8):
        (root / f"genre{i % 2}").mkdir(parents=True, exist_ok=True)
        soundfile.write(root / f"genre{i % 2}" / f"{i}.wav", 0.1 * random.standard_normal(5 * 16000), 16000)
    return root


# What is packed, and of what: overrides, and how many folders the cache then has.
KINDS: dict[str, tuple[Callable[[Path], tuple[str, ...]], int]] = {
    "wav_pairs": (lambda p: (*FIR, "data=wav_pairs", f"data.root={make_pairs(p / 'pairs')}"), 1),
    "mixed_pairs": (
        lambda p: (*FIR, "data=mixed_pairs", *(f"data.{k}={v}" for k, v in mixed_folders(p / "mixed").items())), 2,
    ),
    "recording_pair": (lambda p: (*FIR, "data=recording_pair", f"data.root={make_course(p / 'course')}"), 1),
    "its stand-in": (lambda _: (*FIR, "data=recording_pair"), 2),
    "spoken_pairs": (lambda _: (*FIR, "+data.count=40"), 1),
    "speech_commands": (
        lambda p: (*WORDS, f"data.root={add_background(make_words(p / 'words'))}", "data.silence=true"), 1,
    ),
    "spoken_words": (lambda _: (*WORDS, "data=spoken_words", "data.voices=6"), 1),
    "music": (lambda p: ("experiment=genre_mlp", f"data.root={make_music(p / 'music')}"), 1),
    "a file of features": (lambda p: ("experiment=genre_mlp", f"data.root={make_features(p / 'features.npz')}"), 0),
}  # fmt: skip


def contents(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What a folder holds: any file or folder that is made, removed, replaced or written to makes it another."""
    found = {path: path.stat() for path in (folder, *folder.rglob("*"))}
    return {str(path): (s.st_ino, s.st_size, s.st_mtime_ns) for path, s in found.items()}


@pytest.fixture
def own(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nobody has used."""
    monkeypatch.setenv("SPEECHML_CACHE", str(workplace / "cache"))
    (workplace / "cache").mkdir()
    return workplace / "cache"


def prepare_again(words: tuple[str, ...], own: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is told of data that are prepared: nothing is built, as on a file system that is for reading only."""
    before = contents(own)
    monkeypatch.setattr(files, "lock_file", lambda *_: pytest.fail("something is to be built"))
    told = prepare(compose_app("train", [*words]))
    assert contents(own) == before
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_prepared_data_are_not_built_again(kind: str, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, count = KINDS[kind][0](own.parent), KINDS[kind][1]
    told = prepare(compose_app("train", [*words]))
    assert not (own.parent / "runs").exists()
    packs = [path for path in own.glob("*/*") if path.is_dir()]
    assert len(packs) == count
    assert all(str(pack) in told for pack in packs)
    assert "was there already" not in told
    assert prepare_again(words, own, monkeypatch).count("was there already") == count


def test_a_run_of_prepared_data_builds_nothing(
    own: Path, train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = KINDS["wav_pairs"][0](own.parent)
    prepare(compose_app("train", [*words]))
    told, before = prepare_again(words, own, monkeypatch), contents(own)
    card = read_card(train(*SHORT, *words))
    assert contents(own) == before
    assert f"fingerprint  {card['data']['fingerprint']}" in told
    assert ", ".join(f"{part} {card['data']['recordings'][part]}" for part in SPLITS) in told


def test_the_command_prints_where_how_large_and_how_long(own: Path) -> None:
    words = ["prepare", "data=wav_pairs", f"data.root={make_pairs(own.parent / 'pairs')}"]
    first, second = (CliRunner().invoke(app, words, catch_exceptions=False).output for _ in range(2))
    lines = dict(line.split(maxsplit=1) for line in first.splitlines() if ":" not in line)
    pack = next(path for path in (own / "packs").iterdir() if path.is_dir())
    assert lines["packed"].startswith(f"{pack} (")
    assert lines["packed"].endswith(" kB)")
    assert lines["recordings"] == "train 4, val 1, test 1"
    assert float(lines["took"].removesuffix(" s")) >= 0
    assert "was there already)" in second
    assert sorted(path.name for path in own.parent.iterdir()) == ["cache", "pairs"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=wav_pairs"], "data.root must be given"),
        (["data=wav_pairs", "data.root=nowhere"], "nowhere is no folder"),
        (["data=wav_pair"], "did you mean wav_pairs"),
        (["data=wav_pairs", "data.rot=x"], "no key data.rot; did you mean data.root"),
        (["+data.cout=3"], "there is no key data.cout; did you mean data.count"),
        (["trainer.max_epoch=3"], "did you mean trainer.max_epochs"),
        (["data.root=a,b"], "data.root=a,b describes several configs"),
        (["seed=range(3)"], r"seed=range\(3\) describes several configs"),
        (["seed=["], "is not understood"),
        (
            ["data.root=["],
            r"there is no key data.root in the chosen data; .* data=wav_pairs",
        ),  # a folder may be named so
        (["data=wav_pairs", "data.root=["], r"\[ is no folder"),
        (["seed=${nothing.here}"], "there is no nothing, from which seed is taken"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(words: list[str], said: str, own: Path) -> None:
    argv = list(sys.argv)
    with pytest.raises(UserError, match=said) as error:
        CliRunner().invoke(app, ["prepare", *words], catch_exceptions=False)
    assert "\n" not in str(error.value)
    assert "-m" not in str(error.value).split()
    assert sys.argv == argv
    assert not list(own.iterdir())


READER = textwrap.dedent(
    """
    import json, os, re, sys, time
    from pathlib import Path
    from speechml.cli.prepare import open_data
    from speechml.config.compose_app import compose_app
    from speechml.contracts import SPLITS, IndexBatch

    place, data = Path(sys.argv[1]), open_data(compose_app("train", sys.argv[2:]))

    def memory(file):  # in kB
        found, inside = {}, False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
                inside = file in line
            elif inside and line.endswith(" kB"):
                name, value = line.split()[:2]
                found[name[:-1]] = found.get(name[:-1], 0) + int(value)
        return found

    def meet(what):
        (place / f"{what}.{os.getpid()}").touch()
        while len(list(place.glob(f"{what}.*"))) < 2:
            time.sleep(0.02)

    for part in SPLITS:  # the first of each: what is made once and kept
        data.load_batch(IndexBatch(part, 0, next(iter(data._scoring_groups(data.splits[part])))[:1]))
    before = memory("")["Anonymous"]
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            del batch
    grown = memory("")["Anonymous"] - before
    meet("read")
    (place / f"memory.{os.getpid()}.json").write_text(json.dumps({**memory(".i16"), "grown": grown}))
    meet("measured")
    """
)
LARGE = 32_000  # kB; a batch of two pairs takes a tenth of it


@pytest.mark.slow
def test_two_processes_share_one_copy_in_memory(own: Path) -> None:
    random = np.random.default_rng(0)
    for side in ("noisy", "clean"):  # of LARGE together
        (own.parent / "large" / side).mkdir(parents=True)
        for i in range(40):
            noise = (1000 * random.standard_normal(LARGE * 1000 // 160)).astype(np.int16)
            soundfile.write(own.parent / "large" / side / f"{i}.wav", noise, 16000)
    words = (
        "experiment=lab2a_fir",
        "data=wav_pairs",
        f"data.root={own.parent / 'large'}",
        "threads=1",
        "data.batch_size=2",
    )
    prepare(compose_app("train", [*words]))
    program = [sys.executable, "-c", READER, str(own.parent), *words]
    begun = [subprocess.Popen(program, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in begun:
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
    for path in own.parent.glob("memory.*.json"):
        used = json.loads(path.read_text())
        assert used["Rss"] > 0.9 * LARGE, "all of it has been read"
        assert used["Private_Dirty"] == used["Anonymous"] == 0, "pages were written to, so they are copies"
        assert used["Pss"] < 0.6 * used["Rss"], "each counts for half"
        assert used["grown"] < 0.5 * LARGE, "the recordings were copied"
