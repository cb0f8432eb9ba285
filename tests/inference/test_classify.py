"""Naming the words of files: windows and their times, three formats, and what is refused."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import TINY, command, make_words, tone
from speechml.errors import UserError
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


@pytest.fixture
def run(train: Callable[..., Path], workplace: Path) -> Path:
    """A trained classifier of three words."""
    make_words(workplace / "words")
    return train(
        "experiment=words_tuned", "data.root=words", "model.net.width=8", "trainer.max_epochs=2", "data.batch_size=16"
    )


def test_the_likeliest_words_are_told_in_three_formats(run: Path, workplace: Path) -> None:
    soundfile.write(workplace / "long.wav", np.stack([tone(2.1, 44100)] * 2, 1), 44100)
    done = {
        form: command("speechml", "classify", str(run), "words/low", "long.wav", "--format", form)
        for form in ("csv", "json", "table")
    }
    assert not any(d.returncode for d in done.values()), done
    rows = list(csv.DictReader(io.StringIO(done["csv"].stdout)))
    assert len(rows) == 30 + 6
    assert [row["start_s"] for row in rows[30:]] == ["0.000", "0.250", "0.500", "0.750", "1.000", "1.250"]
    for row in rows:
        shares = [float(row[f"probability{i}"]) for i in (1, 2, 3)]
        assert shares == sorted(shares, reverse=True)
        assert abs(sum(shares) - 1) < 1e-3
        assert {row[f"word{i}"] for i in (1, 2, 3)} == {"high", "low", "middle"}
    told = json.loads(done["json"].stdout)
    assert [t["words"][0]["word"] for t in told] == [row["word1"] for row in rows]
    assert len(done["table"].stdout.splitlines()) == len(rows) + 2


def test_what_cannot_be_classified_is_one_sentence(run: Path, workplace: Path) -> None:
    (workplace / "bad.wav").write_bytes(b"junk")
    (workplace / "none").mkdir()
    for given, name, form, says in (
        (run, "nowhere.wav", "csv", "does not exist"),
        (run, "none", "csv", "holds no audio files"),
        (run, "words", "xml", "it can be table, csv, json"),
        (Path("runs/none"), "words", "csv", "does not exist"),
    ):
        with pytest.raises(UserError, match=says):
            classify_files(given, [Path(name)], form)
    done = command("speechml", "classify", str(run), "bad.wav")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "cannot be read as audio" in done.stderr


def test_a_bad_recording_keeps_no_other_from_being_named(run: Path, workplace: Path) -> None:
    mixed = workplace / "mixed"
    mixed.mkdir()
    for name in ("a", "c"):
        soundfile.write(mixed / f"{name}.wav", tone(1.0, 16000, 300.0), 16000)
    (mixed / "b.wav").write_bytes(b"junk")
    (mixed / "d.wav").write_bytes(b"")
    done = command("speechml", "classify", str(run), "mixed", "--format", "csv")
    assert done.returncode == 2
    assert [row["file"] for row in csv.DictReader(done.stdout.splitlines())] == ["mixed/a.wav", "mixed/c.wav"]
    assert done.stderr.count("\n") == 1
    assert "b.wav cannot be read as audio" in done.stderr
    assert "and 1 more of 4 files" in done.stderr


def test_each_command_refuses_the_others_runs(run: Path, train: Callable[..., Path]) -> None:
    denoiser = train(*TINY, "experiment=lab2a_fir", "model.net.taps=8", "trainer.max_epochs=1")
    with pytest.raises(UserError, match="is no classifier"):
        classify_files(denoiser, [Path("words")], "csv")
    with pytest.raises(UserError, match="no denoiser"):
        denoise_files(run, [Path("words")], Path("out"))


def test_a_recording_of_one_sample_is_one_window(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), 48000)
    assert len(list(read_windows(tmp_path / "a.wav", 16000))) == 1


def test_a_classifier_of_genres_names_whole_files(train: Callable[..., Path], workplace: Path) -> None:
    music = workplace / "music"
    music.mkdir()
    for genre in range(3):
        noise = np.random.default_rng(genre).standard_normal(60 * 8000) * 0.01
        soundfile.write(music / f"song_{genre}.wav", noise + tone(60, 8000, 100 * 5**genre, 0.1 + 0.2 * genre), 8000)
    run = train("experiment=genre_mlp", "data.root=music", "trainer.max_epochs=20", "data.batch_size=8")
    done = command("speechml", "classify", str(run), "music", "--format", "json")
    answers = json.loads(done.stdout)
    assert [answer["words"][0]["word"] for answer in answers] == ["metal", "EDM", "classical"]
    assert all(answer["end_s"] == 60 for answer in answers)
    soundfile.write(workplace / "short.wav", np.zeros(1000), 8000)
    refused = command("speechml", "classify", str(run), "short.wav")
    assert refused.returncode == 2
    assert "short.wav cannot be classified (silent, or shorter than 0.5 s)" in refused.stderr
