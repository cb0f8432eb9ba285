"""Names of files, labels and cards are anybody's: none of them steers a terminal."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import soundfile

from conftest import edit_card, read_card, tone, write_card
from strangers import Place, run_speechml

EVIL = "\x1b]0;taken\x07\x1b[2J\x9b31m\r\b\u202ereversed\x7f\ud800\nnext"


@pytest.mark.parametrize(
    "key", ["experiment", "command", "overrides", "started", "stopped", "notes", "scores", "host", "classes"]
)
def test_a_strangers_words_steer_no_terminal(key: str, place: Place, monkeypatch, capsys) -> None:
    card = read_card(place.run)
    edits: dict[str, Any] = {
        "notes": {"data": {**card["data"], "notes": [EVIL], "data": EVIL}}, "overrides": {"overrides": [EVIL, f"a={EVIL}"]},
        "scores": {"scores": {**card["scores"], f"test/{EVIL}": 1.0}}, "host": {"hardware": {"host": EVIL, "processor": EVIL}},
        "classes": {"data": {**card["data"], "called": EVIL, "protocol": EVIL}, "audit": {"findings": [
            {"check": EVIL, "state": "flagged", "found": EVIL}]}},
    }  # fmt: skip
    write_card(place.run, {**card, **edits.get(key, {key: EVIL})})
    steers = 0
    for words in place.commands():
        run_speechml(monkeypatch, *words)
        said = "".join(capsys.readouterr())
        steers += sum(not (letter.isprintable() or letter == "\n") for letter in said)
    assert steers == 0


def test_names_of_files_and_classes_steer_no_terminal(
    trained: dict[str, Path], workplace: Path, monkeypatch, capsys
) -> None:
    clip = workplace / "\x1b[31mred\x07.wav"
    soundfile.write(str(clip), tone(), 16000)
    (workplace / "\x1b[2Jbad.wav").write_bytes(b"no sound")
    for form in ("table", "csv", "json"):
        assert run_speechml(monkeypatch, "classify", str(trained["words_tuned"]), str(workplace), "--format", form) == 2
        said = capsys.readouterr()
        assert "31mred" in said.out
        assert all(letter.isprintable() or letter == "\n" for letter in said.out + said.err)
    for words in (
        ["denoise", str(trained["lab2a_fir"]), str(workplace), "-o", "\x1b[31mout"],
        ["runs", "show", "\x1b[31mx"],
    ):
        run_speechml(monkeypatch, *words)
        said = capsys.readouterr()
        assert all(letter.isprintable() or letter == "\n" for letter in said.out + said.err)


def test_everything_is_printed_by_one_function() -> None:
    """`errors.echo`, but for what other programs read."""
    source = Path(__file__).parents[2] / "src"
    calls = [
        path.name
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert sorted(calls) == ["errors.py", "tracking.py", "tracking.py", "worker.py", "worker.py"]


def test_a_run_is_listed_whose_words_are_no_letters(place: Place, monkeypatch) -> None:
    edit_card(place.run, experiment=EVIL)
    assert run_speechml(monkeypatch, "report", str(place.run)) == 0
    assert "taken" in (place.run / "report.html").read_text()
