"""`speechml tensorboard`: what its tabs show of a small sweep, and how it begins and ends."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import soundfile

from browser import until
from conftest import TINY, composed, edit_card, read_card, run_of, speechml
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.train import train
from speechml.report import tensorboard
from speechml.runs.identity import overridden_keys, run_id
from speechml.runs.labels import label_runs, shorten_keys

RATES, SEEDS = (0.02, 0.5), (0, 1)  # the second is too high: its best epoch is not its last
NAMES = [f"lr={rate} seed={seed}" for rate in RATES for seed in SEEDS]
LAST = "~hp/test/snr_db"  # among what a run tells TensorBoard at its end
PAGE = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text()
COMMANDS = [line.split("  ")[0] for line in PAGE.splitlines() if line.startswith("speechml tensorboard")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:  # noqa: ARG001
    """A folder with the runs of a sweep over learning rate and seed, one of which draws, and the sweep's record."""
    place = tmp_path_factory.mktemp("sweep")
    base = ("experiment=lab2a_fir", *TINY, "model.net.taps=8", "trainer.max_epochs=3", f"paths.runs={place / 'runs'}")
    runs = []
    for name in NAMES:
        rate, seed = (word.partition("=")[2] for word in name.split())
        figures = () if name == NAMES[0] else ("callbacks.figures=null",)
        words = [*base, "callbacks.listening.recordings=1", *figures, f"optimizer.lr={rate}", f"seed={seed}"]
        cfg = composed("train", *words)
        train(cfg)
        runs.append({"folder": str(place / "runs" / cfg.name / run_id(cfg)), "overrides": words, "swept": {}})
    (place / "runs" / ".sweeps" / "lab2a_fir" / "ID").mkdir(parents=True)
    (place / "runs" / ".sweeps" / "lab2a_fir" / "ID" / "sweep.json").write_text(json.dumps({"runs": runs}))
    return place


@contextmanager
def served(place: Path, words: list[str], temporary: Path, end: signal.Signals = signal.SIGTERM) -> Iterator[str]:
    """The address that a command serves at inside; it must end with code 0 and leave nothing behind."""
    temporary.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(Path(sys.executable).with_name(words[0]))
    process = subprocess.Popen(
        [program, *words[1:], "--port", str(port)], cwd=place, env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        address = re.search(r"http://\S+/", told)
        assert address, told
        yield address[0]
    finally:
        process.send_signal(end)
        assert process.wait(20) == 0
        process.stdout.close()
    assert list(temporary.iterdir()) == []
    with pytest.raises(OSError):  # noqa: PT011 (refused, or reset)
        urllib.request.urlopen(address[0], timeout=5)


@pytest.fixture(scope="module")
def address(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the first command of the page on comparing serves."""
    with served(place, shlex.split(COMMANDS[0]), tmp_path_factory.mktemp("served") / "tmp", signal.SIGINT) as address:
        until(
            lambda: {run for run, tags in asked(address, "plugin/scalars/tags").items() if LAST in tags} == set(NAMES)
        )
        yield address


def asked(address: str, what: str) -> Any:
    """An answer of TensorBoard's to its own page."""
    return json.load(urllib.request.urlopen(f"{address}data/{what}"))


def scores_of(place: Path, name: str = "test/snr_db") -> dict[str, float]:
    """The score of each run in its card, by the name that it is to be shown under."""
    cards = [read_card(path.parent) for path in place.glob("runs/lab2a_fir/*/card.json")]
    given = [dict(word.split("=") for word in card["overrides"]) for card in cards]
    return {
        f"lr={words['optimizer.lr']} seed={words['seed']}": card["scores"][name]
        for words, card in zip(given, cards, strict=True)
    }


def hparams(address: str, what: str, **request: object) -> dict[str, Any]:
    """An answer of the tab HPARAMS."""
    content = json.dumps({"experimentName": "", **request}).encode()
    post = urllib.request.Request(
        f"{address}data/plugin/hparams/{what}", data=content, headers={"Content-Type": "application/json"}
    )
    return dict(json.load(urllib.request.urlopen(post)))


def test_hparams_lists_every_run_with_swept_keys_and_test_scores_and_sorts(address: str, place: Path) -> None:
    columns, scores = hparams(address, "experiment"), scores_of(place)
    assert [info["name"] for info in columns["hparamInfos"]] == ["optimizer.lr", "seed"]  # nothing else can be ticked
    names = [info["displayName"] for info in columns["metricInfos"]]
    assert names[:2] == ["test/snr_db", "val/loss"]
    assert {"test/si_sdr_db", "test/mse", "test/l1"} <= set(names[2:])
    for order in ("ORDER_ASC", "ORDER_DESC"):
        groups = hparams(
            address, "session_groups", allowedStatuses=["STATUS_SUCCESS"], startIndex=0, sliceSize=10,
            colParams=[{"metric": {"tag": LAST, "group": ""}, "order": order}],
        )["sessionGroups"]  # fmt: skip
        sessions = {group["name"]: group for group in groups}
        assert list(sessions) == sorted(scores, key=lambda name: scores[name], reverse=order == "ORDER_DESC")
        for name, group in sessions.items():
            assert name == f"lr={group['hparams']['optimizer.lr']:g} seed={group['hparams']['seed']:g}"
            values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
            assert values[LAST] == pytest.approx(scores[name], rel=1e-4)


def test_scalars_and_images_are_there_under_short_names(address: str) -> None:
    scalars, images = (asked(address, f"plugin/{kind}/tags") for kind in ("scalars", "images"))
    for tags in (scalars[name] for name in NAMES):
        assert {"val/loss", LAST} <= tags.keys()
        assert sorted(tags)[0].startswith("train/")  # it opens on curves: single points are sorted behind them
        assert not [tag for tag in tags if tag.startswith(("hp/", "test/"))]
        assert "epoch" not in tags
    figures = {f"~figures/{name}" for name in ("filters", "response", "spectra", "waveforms", "loss")}
    assert figures <= images[NAMES[0]].keys()
    assert any(tag.startswith("~figures/spectrogram_") for tag in images[NAMES[0]])


def test_audio_has_the_first_the_last_and_the_best_of_each_run(address: str, place: Path) -> None:
    differing = 0
    for name, run in label_runs(place.glob("runs/lab2a_fir/*")).items():
        best, last = (
            read_checkpoint(run.folder / "checkpoints" / f"{which}.ckpt")["global_step"] for which in ("best", "last")
        )
        differing += best != last
        tags = [tag for tag in asked(address, "plugin/audio/tags")[name] if tag.startswith("val/")]
        sounds = {}
        for tag in tags:
            query = urlencode({"run": name, "tag": tag, "sample": 0})
            sounds[tag.rpartition("/")[2]] = asked(address, f"plugin/audio/audio?{query}")
        steps = {version: [sound["step"] for sound in entries] for version, entries in sounds.items()}
        assert steps["clean"] == [last // 3]  # the first of three epochs
        assert (steps["denoised"][-1], steps["denoised_best"][-1]) == (last, best)
        content = urllib.request.urlopen(
            f"{address}data/plugin/audio/individualAudio?{sounds['denoised'][-1]['query']}"
        ).read()
        assert soundfile.info(io.BytesIO(content)).duration == pytest.approx(1, abs=0.01)
    assert differing


@pytest.mark.parametrize("line", COMMANDS[1:])
def test_the_readmes_other_commands_show_the_sweep(line: str, place: Path, tmp_path: Path) -> None:
    with served(place, shlex.split(line), tmp_path / "tmp") as address:
        until(lambda: set(asked(address, "runs")) == set(NAMES))


def test_what_cannot_be_shown_is_a_sentence(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(place)
    (place / "empty").mkdir(exist_ok=True)
    for folder, told in (("nowhere", "there is no folder nowhere"), ("empty", "there is no run in empty")):
        assert speechml(monkeypatch, "tensorboard", folder) == 2
        assert told in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert speechml(monkeypatch, "tensorboard", "--port", str(port)) == 2
        assert "already in use" in capsys.readouterr().err


def test_a_signal_while_it_starts_ends_it_and_leaves_no_folder(place: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tensorboard, "_start_server", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    tensorboard.serve([place], None)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_runs_and_files_that_begin_meanwhile_are_linked_under_names_that_stay(place: Path, tmp_path: Path) -> None:
    runs = [run.folder for _, run in sorted(label_runs(place.glob("runs/lab2a_fir/*")).items())]
    links = tensorboard.RunLinks(tmp_path / "links")
    links.update(runs[:1])
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["lab2a_fir"]
    links.update(runs)
    assert {path.name for path in (tmp_path / "links").iterdir()} == {"lab2a_fir", *NAMES[1:]}
    further = runs[0] / "events.out.tfevents.9.further"
    further.touch()
    links.update(runs)
    further.unlink()
    assert (tmp_path / "links" / "lab2a_fir" / further.name).is_symlink()


def test_names_say_what_differs_and_nothing_else(place: Path, finished_runs: Path) -> None:
    runs = [path.parent for path in sorted(place.glob("runs/lab2a_fir/*/card.json"))]
    assert set(label_runs(runs)) == set(NAMES)
    assert set(label_runs(runs[:1])) == {"lab2a_fir"}
    genre = next(path.parent for path in finished_runs.glob("genre_mlp/*/card.json"))
    mixed = label_runs([*runs, genre])
    assert set(mixed) == {f"lab2a_fir/{name}" for name in NAMES} | {"genre_mlp"}
    rate = composed("train", "experiment=genre_mlp", "data.root=x").optimizer.lr
    assert mixed["genre_mlp"].settings == {"experiment": "genre_mlp", "optimizer.lr": rate, "seed": 0}
    again = label_runs([runs[0], runs[0]])  # as two runs whose difference is in no override
    assert set(again) == {runs[0].name}


def test_overrides_that_change_no_number_are_in_no_name() -> None:
    words = ["experiment=x", "+data.count=4", "paths.runs=a", "callbacks.figures=null", "model=cnn", "redo=true", "~a"]
    assert overridden_keys({}, words) == {"data.count": "4", "model": "cnn"}
    assert shorten_keys(["optimizer.lr", "model.net.taps", "data.net.taps"]) == {
        "optimizer.lr": "lr", "model.net.taps": "model.net.taps", "data.net.taps": "data.net.taps",
    }  # fmt: skip


def test_a_strangers_card_makes_no_folder_elsewhere_and_keeps_no_other_run_from_being_shown(
    runs: Path, tmp_path: Path
) -> None:
    edit_card(run_of(runs), experiment="../../up")
    for number, damage in enumerate(({"headlines": 5}, {"scores": 5}, {"scores": {"test/snr_db": "x"}})):
        copy = runs / "lab2a_fir" / f"copy{number}"
        shutil.copytree(run_of(runs, "genre_mlp"), copy)
        edit_card(copy, **damage)
    found = label_runs(sorted(runs.glob("*/*")))
    assert len(found) == 2
    tensorboard.RunLinks(tmp_path / "shown" / "runs").update(sorted(runs.glob("*/*")))
    inside = {path.resolve() for path in (tmp_path / "shown" / "runs").rglob("*") if not path.is_symlink()}
    assert all(path.is_relative_to(tmp_path / "shown" / "runs") for path in inside)
    assert {path.name for path in (tmp_path / "shown").iterdir()} == {"runs"}
