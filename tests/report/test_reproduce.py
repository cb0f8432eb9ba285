"""Published figures are judged by stated tolerances, of the same data only, and the page of the labs shows what the cards say."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import TINY, make_features, run_of, speechml
from speechml.cli import reproduce as reproduction
from speechml.cli.reproduce import data_overrides
from speechml.report.published import LABS, figure_rows, judge, missing_row, public_card, readme_table
from speechml.runs.card import RunCard, load_card


@pytest.mark.parametrize(
    ("published", "tolerance", "obtained", "same", "higher", "told"),
    [
        (0.80, 0.05, [0.84], True, True, "reproduced"),
        (0.80, 0.05, [0.76, 0.74], True, True, "reproduced"),  # 0.75 is just within
        (0.80, 0.05, [0.90], True, True, "better"),
        (0.80, 0.05, [0.70], True, True, "missed"),
        (0.042, 0.002, [0.05], True, False, "missed"),
        (0.042, 0.002, [0.03], True, False, "better"),
        (0.80, 0.05, [0.80], False, True, "other data"),
        (0.80, None, [0.80], True, True, "no tolerance stated"),
        (None, None, [0.80], True, True, "none published"),
        (0.80, 0.05, [float("nan")], True, True, "missed"),
        (0.80, 0.05, [], True, True, "not scored"),
    ],
)
def test_a_verdict_follows_from_the_tolerance(published, tolerance, obtained, same, higher, told) -> None:
    assert judge(published, tolerance, obtained, same, higher) == told


def test_every_lab_states_a_tolerance_for_each_figure_that_was_published() -> None:
    from conftest import composed

    for experiment in LABS:
        published = composed("train", f"experiment={experiment}", "++data.root=x").published
        scores = published.get("scores") or {}
        assert set(scores) == set(published.get("tolerance") or {}), experiment


def test_finished_runs_are_read_and_what_is_missing_says_so(runs: Path, workplace: Path, monkeypatch, capsys) -> None:
    words = (*TINY, "callbacks.figures=null", "trainer.max_epochs=2", "model.net.taps=8")
    assert speechml(monkeypatch, "reproduce", "lab2a_fir", *words, "--read") == 0
    told = capsys.readouterr().out
    card = json.loads((run_of(runs) / "card.json").read_text())
    assert f"{card['scores']['test/snr_db']:.2f}" in told
    assert "other data" in told  # the figure is of the lab's own recordings
    assert "speaker" in told
    written = workplace / "runs" / ".sweeps" / "reproduction"
    assert json.loads(next((written / "cards").glob("*.json")).read_text())["id"] == card["id"]
    assert speechml(monkeypatch, "reproduce", "genre_mlp", "--read") == 0
    assert "no data at hand" in capsys.readouterr().out
    assert speechml(monkeypatch, "reproduce", "lab2a_fir", "seed=5", "--read") == 0
    assert "no finished run (not begun)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("states", "read_only", "is_done"),
    [(("new", "done"), False, True), (("new", "failed"), False, False), (("new",), True, True)],
)
def test_it_ends_by_the_cards_of_its_runs(states, read_only: bool, is_done: bool, tmp_path: Path, monkeypatch) -> None:
    """And not by exit codes: a process may be killed after its last card."""
    left = iter(states)
    planned = lambda _: {"lab2a_fir": [SimpleNamespace(state=next(left), folder=tmp_path, swept={})]}  # noqa: E731
    monkeypatch.setattr(reproduction, "plan", planned)
    monkeypatch.setattr(
        reproduction.subprocess, "Popen", lambda *_, **__: SimpleNamespace(wait=lambda: 1, returncode=1)
    )
    assert reproduction.reproduce(["lab2a_fir"], None, "basic", read_only)[1] == is_done


def test_the_command_waits_for_no_torch() -> None:
    code = "import sys, speechml.cli.reproduce; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_what_is_missing_is_run(workplace: Path, monkeypatch, capfd) -> None:
    words = (*TINY, "model.net.taps=4", "trainer.max_epochs=1", "callbacks.figures=null", "report=false", "seed=0,1")
    assert speechml(monkeypatch, "reproduce", "lab2a_fir", *words) == 0
    assert "2 seeds" in capfd.readouterr().out
    assert len(list((workplace / "runs" / "lab2a_fir").iterdir())) == 2


def test_the_labs_own_data_are_found_in_a_folder(workplace: Path) -> None:
    from speechml.data.spoken_words import WORDS

    for word in WORDS:
        (workplace / "all" / "commands" / word).mkdir(parents=True)
    (workplace / "all" / "course").mkdir()
    for name in ("train_clean_male.wav", "train_dirty_male.wav"):
        (workplace / "all" / "course" / name).touch()
    (workplace / "all" / "data_lab_2B.pt").touch()
    make_features(workplace / "all" / "features.npz")
    place = workplace / "all"
    assert data_overrides("lab2b_cnn", place) == ["data=lab_pairs", f"data.root={place}/data_lab_2B.pt"]
    assert data_overrides("lab2a_fir", place) == []  # the stand-in: there is no data_lab_2A.pt
    assert data_overrides("hw2_cnn1d", place) == [f"data.root={place}/course"]
    assert data_overrides("genre_mlp", place) == [f"data.root={place}/features.npz"]
    assert data_overrides("words_mel", place)[0] == f"data.root={place}/commands"
    assert data_overrides("words_mel", None) == ["data=spoken_words", "data.split=random"]
    assert data_overrides("genre_mlp", None) is None
    assert data_overrides("words_tuned", None) == []  # ours, and divided by speaker


def test_bad_input_is_one_sentence(workplace: Path, monkeypatch, capsys) -> None:
    for words, told in (
        (["lab9"], "lab9"),
        (["lab2a_fir", "--launcher", "pbs"], "--launcher is pbs"),
        (["--data", "nowhere"], "nowhere is no folder"),
        (["lab2a_fir", "optimizer.lrr=1"], "optimizer.lrr"),
        (["lab2a_fir", "experiment=lab2b_cnn"], "without experiment="),
        (["lab2a_fir", "optimizer.lr=0.1,0.2"], "only seed may have"),
    ):
        assert speechml(monkeypatch, "reproduce", "--read", *words) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert told in said
        assert said.count("\n") == 1
    assert not (workplace / "runs").exists()


def test_what_is_kept_of_a_card_names_no_place(finished_runs: Path) -> None:
    for folder in finished_runs.glob("*/*"):
        card = load_card(folder)
        kept = json.dumps(public_card(card))
        assert str(finished_runs.parent) not in kept
        assert card.hardware["host"] not in kept
        again = RunCard.from_json({"state": "done", **json.loads(kept)}, "card")
        assert figure_rows(card.experiment, card.published, [again])[0].row[0] == card.experiment


def test_every_lab_has_its_card_and_the_page_shows_what_the_cards_say() -> None:
    import results_table

    assert set(LABS) == {card.experiment for card in results_table.cards()}
    page = results_table.PAGE.read_text()
    assert results_table.with_table(page) == page
    assert "not run" in readme_table(missing_row("lab2a_fir", "no data"))
