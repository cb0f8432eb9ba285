"""What docs/runs.md promises of runs from strangers: no code of theirs runs, nothing elsewhere is read or written, all ends."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from conftest import composed, run_of
from speechml.errors import UserError
from speechml.report.tensorboard import RunLinks
from speechml.runs.folder import lock
from speechml.storage.checkpoint_checksum import seal_copy
from strangers import FILES, FOLDERS, ODD, SECRET, Place, array_file, link, run_speechml, take_away
from stress_payloads import archive


class Code:
    """What unpickles as a call of a function."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("ran",)


OBJECTS = "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("checkpoints/best.ckpt", pickle.dumps(Code())),
        ("checkpoints/best.ckpt", archive({"archive/data.pkl": pickle.dumps(Code()), "archive/version": b"3"})),
        ("checkpoints/best.ckpt", seal_copy(archive({"a/data.pkl": pickle.dumps(Code()), "a/version": b"3"}))),
        ("predictions.npz", pickle.dumps(Code())),
        ("predictions.npz", archive({"name.npy": array_file(OBJECTS, pickle.dumps(Code()))})),
        ("config.yaml", b"seed: !!python/object/apply:os.mkdir [ran]\n"),
        ("config.yaml", b"seed: !!python/object/new:os.mkdir {args: [ran]}\n"),
        ("card.json", b"__import__('os').mkdir('ran')"),
    ],
)  # fmt: skip
def test_a_strangers_file_runs_no_code(name: str, content: bytes, place: Place, monkeypatch, capsys) -> None:
    (place.run / name).write_bytes(content)
    place.check(monkeypatch, capsys)
    assert not (place.folder / "ran").exists()


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_what_a_link_in_a_strangers_run_leads_to_is_neither_shown_nor_changed(
    name: str, place: Place, monkeypatch, capsys
) -> None:
    link(place.run / name, place.outside / name)
    place.check(monkeypatch, capsys)


@pytest.mark.parametrize(
    "name", [".lock", "train.log", "metrics.csv", "card.json", "checkpoints", "audio", "events.out.tfevents.1"]
)
def test_a_run_with_a_link_in_it_is_not_gone_on_with(name: str, runs: Path, workplace: Path) -> None:
    from speechml.engine.train import train

    run, outside = run_of(runs), workplace / "outside"
    outside.mkdir()
    words = [
        "experiment=lab2a_fir",
        "+data.count=40",
        "callbacks.figures=null",
        "trainer.max_epochs=2",
        "model.net.taps=8",
    ]
    (run / name).rename(outside / name) if (run / name).exists() else (outside / name).write_text(SECRET)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    (run / name).symlink_to(outside / name)
    with pytest.raises(UserError, match=r"no plain file|is a link"):
        train(composed("train", *words, f"paths.runs={runs}", "redo=true"))
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


def test_a_lock_that_shares_its_file_leaves_the_other_as_it_was(place: Place) -> None:
    os.link(place.outside / ".lock", place.run / ".lock")
    with lock(place.run):
        assert (place.run / ".lock").read_text().startswith("process ")
    assert place.state_outside() == place.before


def test_leftovers_are_removed_in_the_run_alone(place: Place) -> None:
    (place.outside / "checkpoints" / ".last.ckpt.1.part").touch()
    link(place.run / "checkpoints", place.outside / "checkpoints")
    with lock(place.run):
        assert (place.outside / "checkpoints" / ".last.ckpt.1.part").exists()


def test_a_part_that_was_a_link_is_not_written_through(place: Place) -> None:
    from speechml.storage.files import write_text

    (place.run / f".report.html.{os.getpid()}.part").symlink_to(place.outside / "train.log")
    write_text(place.run / "report.html", "page")
    assert (place.run / "report.html").read_text() == "page"
    assert place.state_outside() == place.before


def test_links_that_are_the_users_own_are_followed(place: Place, monkeypatch, capsys) -> None:
    """The folder of runs, the folder of a run, and a file that is named; and hard links, which are files."""
    place.runs.rename(place.folder / "scratch")
    place.runs.symlink_to("scratch")
    os.link(place.run / "predictions.npz", place.folder / "kept.npz")
    (place.folder / "mine").symlink_to(place.run)
    (place.folder / "best.ckpt").symlink_to(place.run / "checkpoints" / "best.ckpt")
    assert run_speechml(monkeypatch, "runs", "list", "runs", "--format", "json") == 0
    assert [run["state"] for run in json.loads(capsys.readouterr().out)] == ["done", "done"]
    assert run_speechml(monkeypatch, "compare", "mine", str(place.other)) == 0
    assert run_speechml(monkeypatch, "report", "mine") == 0
    assert (place.run / "report.html").is_file()
    for model in ("mine", "best.ckpt", str(place.run)):
        assert run_speechml(monkeypatch, "denoise", model, "speech.wav", "-o", f"of_{Path(model).name}") == 0


def test_only_event_files_that_lie_in_a_run_are_shown(place: Place) -> None:
    for name in ("1", "2", "3"):
        (place.run / f"events.out.tfevents.{name}").write_bytes(b"")
    link(place.run / "events.out.tfevents.1", place.outside / "train.log")
    take_away(place.run / "events.out.tfevents.2")
    os.mkfifo(place.run / "events.out.tfevents.2")
    RunLinks(place.folder / "shown").update([place.run])
    shown = {path.name for path in (place.folder / "shown").rglob("*") if path.is_symlink()}
    assert shown == {"events.out.tfevents.3"}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["card.json", "config.yaml", "predictions.npz", "checkpoints/best.ckpt"])
def test_whatever_lies_in_place_of_a_file_commands_end(kind: str, name: str, place: Place, monkeypatch, capsys) -> None:
    take_away(place.run / name)
    ODD[kind](place.run / name)
    place.check(monkeypatch, capsys)


@pytest.mark.parametrize("kind", ODD)
def test_whatever_lies_in_place_of_any_other_file_commands_end(kind: str, place: Place, monkeypatch, capsys) -> None:
    for name in (
        "metrics.csv",
        "audio/index.json",
        "audio/a_noisy.wav",
        "figures/loss.png",
        ".lock",
        "train.log",
        "scores.txt",
    ):
        take_away(place.run / name)
        ODD[kind](place.run / name)
    take_away(place.run / "figures" / "levels.png")
    place.check(monkeypatch, capsys)
