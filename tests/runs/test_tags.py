"""Tags and notes: kept in the card, changed when the run is done, and runs are found by them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TINY, composed, read_card, speechml
from speechml.config.compose import adapt_overrides, resolve_config
from speechml.config.train_config import check_config
from speechml.errors import UserError
from speechml.runs.catalogue import format_list

FIR = ("experiment=lab2a_fir", *TINY, "trainer.max_epochs=1", "callbacks.figures=null", "callbacks.listening=null")


def test_the_same_command_with_other_tags_changes_the_card_of_a_run_that_is_done(
    train: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def labels(*words: str) -> tuple[object, object]:
        card = read_card(train(*adapt_overrides((*FIR, *words))))
        return card["tags"], card["note"]

    folder = train(*adapt_overrides((*FIR, "tags=[paper,baseline]", "note=it's <b>fine</b>, really: 5 > 4")))
    before = read_card(folder)
    assert (before["tags"], before["note"]) == (["paper", "baseline"], "it's <b>fine</b>, really: 5 > 4")
    assert "it&#39;s &lt;b&gt;fine" in (folder / "report.html").read_text()
    assert labels() == (before["tags"], before["note"])  # a command that names none leaves them
    assert "new labels" not in capsys.readouterr().out
    assert labels("tags=[final]") == (["final"], before["note"])
    assert f"{folder.name} has new labels: tags final; note it's" in capsys.readouterr().out
    assert "Tags: final" in (folder / "report.html").read_text()
    assert labels("tags=[]", "note=''") == (None, None)
    assert {**read_card(folder), "tags": 0, "note": 0} == {**before, "tags": 0, "note": 0}
    labels("tags=[a]", "note=found it")
    capsys.readouterr()
    assert speechml(monkeypatch, "runs", "show", str(folder)) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith(("tags", "note"))] == ["tags        a", "note        found it"]


def test_runs_are_found_by_tags_and_words_of_their_note(runs: Path) -> None:
    from conftest import edit_card

    fir, genre = (next((runs / name).iterdir()) for name in ("lab2a_fir", "genre_mlp"))
    assert "tags" not in format_list(runs, None, "table").splitlines()[0]
    edit_card(fir, tags=["paper", "first try"], note="The Loss is odd")
    edit_card(genre, tags=["paper"])

    def list_ids(*tags: str, note: str = "") -> list[str]:
        return [line["id"] for line in json.loads(format_list(runs, None, "json", tags, note))]

    assert list_ids("paper") == [genre.name, fir.name]
    assert list_ids("paper", "first try") == list_ids(note="loss is") == [fir.name]
    assert list_ids("pap") == []
    assert format_list(runs, None, "table", ["x"]) == f"no run with the tag x in {runs}\n"
    assert format_list(runs, "done", "table", ["x", "y"]) == f"no run that is done with the tag x and y in {runs}\n"
    assert format_list(runs, None, "table", note="odder") == f"no run with 'odder' in its note in {runs}\n"
    assert "paper,first try" in format_list(runs, None, "table")


@pytest.mark.parametrize(("word", "says"), [
    ("tags=paper", "tags is paper; it must be a list of words"),
    ("tags=['a,b']", "tags has 'a,b'; give words without commas"),
    ("tags=['']", "tags has ''"),
])  # fmt: skip
def test_tags_that_are_none_are_refused(word: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        check_config(resolve_config(composed("train", *adapt_overrides([word]))))
    assert says in str(refused.value)
