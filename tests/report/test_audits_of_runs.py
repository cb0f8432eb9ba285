"""The audit in the card of a run, beside scores, and as a command."""

import json
from pathlib import Path

import pytest

from conftest import TINY, composed, make_features, make_pairs, make_words, read_card, run_of, speechml


def test_a_run_keeps_its_audit_and_shows_it_beside_its_scores(finished_runs: Path) -> None:
    good, bad = (run_of(finished_runs, name) for name in ("lab2a_fir", "genre_mlp"))
    cards = [read_card(run) for run in (good, bad)]
    assert [card["audit"]["verdict"] for card in cards] == ["passes", "flagged"]
    assert "Audit: passes (speakers, noise, identical audio, statistics checked)." in (good / "scores.txt").read_text()
    flagged = [f for f in cards[1]["audit"]["findings"] if f["state"] == "flagged"]
    assert [f["check"] for f in flagged] == ["songs", "moments", "statistics"]
    shown = (bad / "scores.txt").read_text().splitlines()
    assert [line for line in shown if line.startswith("Audit:")] == [
        f"Audit: flagged, {f['check']}: {f['found']}." for f in flagged
    ]


def test_a_run_of_before_the_audit_is_shown_checked_and_scored_as_ever(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from speechml.engine.evaluate import evaluate
    from speechml.storage.files import write_json

    run = run_of(runs)
    write_json(run / "card.json", {k: v for k, v in read_card(run).items() if k != "audit"})
    for words in (["runs", "show", str(run)], ["runs", "list", str(runs)], ["runs", "verify", str(run)]):
        assert speechml(monkeypatch, *words) == 0
    assert "Audit" not in capsys.readouterr().out
    evaluate(composed("evaluate", f"run={run}"))
    assert "Audit: passes" in capsys.readouterr().out


def test_other_data_are_audited_against_what_the_run_has_heard(
    runs: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from speechml.engine.evaluate import evaluate

    run, texts = run_of(runs), []
    make_pairs(workplace / "other", 8, rate=32000)
    for words in (["data=wav_pairs", "data.root=other", "data.sample_rate=32000"], ["data=spoken_pairs", *TINY]):
        for seed in (0, 5):
            evaluate(composed("evaluate", f"run={run}", *words, f"data.split_seed={seed}"))
            texts.append(capsys.readouterr().out)
    audits = [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("WavPairs*.json"))]
    assert {content["audit"]["verdict"] for content in audits} == {"unknown"}
    assert all("Audit: nothing found, but speakers not known" in text for text in texts[:2])
    assert "Audit: passes" in texts[2]
    assert "Not a test: " in texts[3]
    assert "Audit" not in texts[3]


def test_the_command_says_what_it_finds_by_its_exit_code(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def audit(*overrides: str) -> tuple[int, str]:
        code = speechml(monkeypatch, "audit", *overrides)
        streams = capsys.readouterr()
        return code, streams.out + streams.err

    make_words(workplace / "words", speakers=12)
    make_features(workplace / "x.npz")
    make_pairs(workplace / "pairs")
    code, said = audit("experiment=words_spectrogram", "data=spoken_words", "data.split=random", "data.voices=6")
    assert code == 1
    assert (
        "speakers         flagged  6 of 6 test speakers are in the training set as well (36 of 36 test clips)" in said
    )
    assert said.endswith("Verdict: flagged (speakers)\n")
    assert audit("data=speech_commands", "data.root=words")[0] == 0
    assert audit("data=genre_features", "data.root=x.npz")[0] == 1
    code, said = audit("data=wav_pairs", "data.root=pairs")
    assert (code, said.splitlines()[-1]) == (0, "Verdict: unknown")
    assert audit("data=wav_pairs", "data.root=nowhere")[0] == 2
    assert sorted(path.name for path in workplace.iterdir()) == ["pairs", "words", "x.npz"]


def test_the_items_of_each_split_are_listed_on_request(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pairs(workplace / "pairs")
    names = sorted(path.stem for path in (workplace / "pairs" / "noisy").glob("*.wav"))
    assert speechml(monkeypatch, "audit", "data=wav_pairs", "data.root=pairs", "--items") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert sorted(row[-1] for row in rows) == names
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), key=["train", "val", "test"].index)
