"""Naming the words of files: windows and their times, three formats, and what is refused."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import speechml, tone
from speechml.errors import UserError, printable
from speechml.inference import classify
from speechml.inference.classify import classify_files
from speechml.inference.denoise import denoise_files
from speechml.storage import audio
from speechml.tasks.word_windows import read_windows


@pytest.mark.parametrize(
    ("seconds", "starts", "end"),
    [(0.3, 1, 0.3), (1.0, 1, 1.0), (1.1, 2, 1.1), (2.0, 5, 2.0), (40.1, 158, 40.1)],
)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_windows_of_a_second_cover_a_recording(
    seconds: float, starts: int, end: float, rate: int, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(seconds, rate), rate)
    found = list(read_windows(tmp_path / "a.wav", 16000))
    assert [round(w.start_s, 3) for w in found] == [0.25 * i for i in range(starts)]
    assert abs(found[-1].end_s - end) < 1e-3
    assert {w.inputs.shape for w in found} == {(1, 1, 16000)}
    if rate == 16000:
        whole = audio.load(tmp_path / "a.wav") / 32768
        for w in found:
            first = round(w.start_s * rate)
            here = whole[first : first + 16000]
            np.testing.assert_allclose(w.inputs[0, 0, : len(here)], here, atol=1e-6)
            assert not w.inputs[0, 0, len(here) :].any()


def classes_printed(capsys: pytest.CaptureFixture[str], run: Path, recordings: list[Path], form: str) -> str:
    """What is printed of the classes of recordings."""
    classify_files(run, recordings, form)
    return capsys.readouterr().out


def test_the_likeliest_words_are_told_in_three_formats(
    trained: dict[str, Path], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(workplace / "long.wav", np.stack([tone(2.1, 44100)] * 2, 1), 44100)
    given = [trained["words"] / "low", workplace / "long.wav"]
    rows = list(csv.DictReader(io.StringIO(classes_printed(capsys, trained["words_tuned"], given, "csv"))))
    assert len(rows) == 30 + 6
    assert [row["start_s"] for row in rows[30:]] == ["0.000", "0.250", "0.500", "0.750", "1.000", "1.250"]
    for row in rows:
        shares = [float(row[f"probability{i}"]) for i in (1, 2, 3)]
        assert shares == sorted(shares, reverse=True)
        assert abs(sum(shares) - 1) < 1e-3
        assert {row[f"word{i}"] for i in (1, 2, 3)} == {"high", "low", "middle"}
    objects = json.loads(classes_printed(capsys, trained["words_tuned"], given, "json"))
    assert [answer["words"][0]["word"] for answer in objects] == [row["word1"] for row in rows]
    assert len(classes_printed(capsys, trained["words_tuned"], given, "table").splitlines()) == len(rows) + 2


def test_what_cannot_be_classified_is_one_sentence(trained: dict[str, Path], workplace: Path) -> None:
    (workplace / "none").mkdir()
    for run, name, form, says in (
        ("words_tuned", "nowhere.wav", "csv", "does not exist"),
        ("words_tuned", "none", "csv", "holds no audio files"),
        ("words_tuned", "words", "xml", "it can be table, csv, json"),
        ("words", "words", "csv", "is no run"),
        ("lab2a_fir", "words", "csv", "is no classifier"),
    ):
        with pytest.raises(UserError, match=says):
            classify_files(trained[run], [Path(name)], form)
    with pytest.raises(UserError, match="no denoiser"):
        denoise_files(trained["words_tuned"], [Path("words")], Path("out"))


def test_a_bad_recording_keeps_no_other_from_being_named(
    trained: dict[str, Path], workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "mixed").mkdir()
    for name in ("a", "c"):
        soundfile.write(workplace / "mixed" / f"{name}.wav", tone(1.0, 16000, 300.0), 16000)
    (workplace / "mixed" / "b.wav").write_bytes(b"junk")
    (workplace / "mixed" / "d.wav").write_bytes(b"")
    assert speechml(monkeypatch, "classify", str(trained["words_tuned"]), "mixed", "--format", "csv") == 2
    out, err = capsys.readouterr()
    assert [row["file"] for row in csv.DictReader(out.splitlines())] == ["mixed/a.wav", "mixed/c.wav"]
    assert err.count("\n") == 1
    assert "b.wav cannot be read as audio" in err
    assert "and 1 more of 4 files" in err


def test_silence_within_a_recording_does_not_make_it_loud(
    trained: dict[str, Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = tone(3.0, level=0.05 * np.sqrt(2))
    wave[16000:32000] = 0
    soundfile.write(workplace / "pause.wav", wave, 16000)
    soundfile.write(workplace / "silent.wav", 0 * wave, 16000)
    levels: dict[str, float] = {}
    monkeypatch.setattr(classify, "level_remark", lambda *known: levels.update(known[-1]))
    classify_files(trained["words_tuned"], [Path("pause.wav"), Path("silent.wav")], "csv")
    assert levels == {"pause.wav": pytest.approx(-26.0, abs=0.1), "silent.wav": -np.inf}


@pytest.mark.parametrize("name", ["\u9332\u97f3\u30001.wav", "at 3.04\u202fPM.wav", "a\xa0b.wav"])
def test_a_file_is_named_in_csv_and_json_as_it_is_called(
    name: str, trained: dict[str, Path], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(workplace / name, tone(), 16000)
    said = {form: classes_printed(capsys, trained["words_tuned"], [Path(name)], form) for form in ("csv", "json")}
    assert [row["file"] for row in csv.DictReader(io.StringIO(said["csv"]))] == [name]
    assert json.loads(said["json"])[0]["file"] == name


@pytest.mark.parametrize("letter", "\u202e\u200b\u2028\x9b\u2066\ufeff")
def test_what_steers_or_hides_is_never_printed_as_it_is(letter: str) -> None:
    for exact in (False, True):
        assert printable(f"a{letter}b", exact) == f"a{letter.encode('unicode_escape').decode()}b"


def test_a_recording_of_one_sample_is_one_window(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), 48000)
    assert len(list(read_windows(tmp_path / "a.wav", 16000))) == 1


def test_a_classifier_of_genres_names_whole_files(
    train: Callable[..., Path], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music = workplace / "music"
    music.mkdir()
    for genre in range(3):
        noise = np.random.default_rng(genre).standard_normal(60 * 8000) * 0.01
        soundfile.write(music / f"song_{genre}.wav", noise + tone(60, 8000, 100 * 5**genre, 0.1 + 0.2 * genre), 8000)
    run = train(
        "experiment=genre_mlp",
        "data.root=music",
        "trainer.max_epochs=20",
        "data.batch_size=8",
        "callbacks.figures=null",
    )
    capsys.readouterr()
    answers = json.loads(classes_printed(capsys, run, [music], "json"))
    assert [answer["words"][0]["word"] for answer in answers] == ["metal", "EDM", "classical"]
    assert all(answer["end_s"] == 60 for answer in answers)
    soundfile.write(workplace / "short.wav", np.zeros(1000), 8000)
    with pytest.raises(UserError, match=r"short.wav cannot be classified \(silent, or shorter than 0.5 s\)"):
        classify_files(run, [workplace / "short.wav"], "csv")
