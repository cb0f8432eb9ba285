"""The audit of words and music finds what several parts share, counted here another way, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audits import counts, findings, states
from conftest import SHARED, add_background, make_features, make_words, needs_shared, tone
from speechml.contracts import SPLITS
from speechml.data import GenreFeatures, SpeechCommands, SpokenPairs, SpokenWords
from speechml.data.provenance import speaker_in
from speechml.report.audit import Items, audit_data, audit_lines, check_sources

CLIPS = {"sample_rate": 16000, "batch_size": 8, "split_seed": 0}
ROWS = {"batch_size": 32, "split_seed": 0}


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., SpeechCommands]:
    """A data module of the word folders below a folder; packed anew for each test."""
    return lambda root, **keys: SpeechCommands(root=str(root), **CLIPS, **keys, cache=str(tmp_path / "cache"))


def test_the_official_split_passes_and_the_books_random_one_is_flagged(words, tmp_path: Path) -> None:
    root = make_words(tmp_path / "words", speakers=12, takes=2)
    data = words(root)
    assert audit_data(data).verdict == "passes"
    assert states(data) == dict.fromkeys(("speakers", "identical audio", "statistics"), "passes")
    data = words(root, split="random")
    names, parts = data.item_names, data.splits
    trained = [names[i].split("/")[1][:8] for i in parts["train"]]
    known = [i for i in parts["test"] if names[i].split("/")[1][:8] in trained]
    speakers = {names[i].split("/")[1][:8] for i in parts["test"]}
    finding = findings(data)["speakers"]
    assert finding.state == "flagged"
    assert counts(finding) == (len(known), len(parts["test"]))
    both = f"{len(speakers & set(trained))} of {len(speakers)}"
    assert finding.found.startswith(f"{both} test speakers are in the training set as well ({len(known)} of ")
    assert audit_lines(audit_data(data)) == [f"Audit: flagged, speakers: {finding.found}."]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SPLITS), st.sampled_from(["anna", "ben", "cleo", "", None])), min_size=1))
def test_known_speakers_are_counted_as_by_hand(items: list[tuple[str, str | None]]) -> None:
    parts = {part: [i for i, (of, _) in enumerate(items) if of == part] for part in SPLITS}
    finding = check_sources(Items("clips", parts), "speaker", [speaker for _, speaker in items], in_time=False)
    known = {
        other: [i for i in parts["test"] if items[i][1] and any(items[i][1] == items[j][1] for j in parts[other])]
        for other in ("train", "val")
    }
    if finding is None:
        assert not any(items[i][1] for i in parts["test"])
        assert all(speaker is not None for _, speaker in items)
    elif finding.state == "flagged":
        assert finding.shared == len(known["train"] or known["val"]) > 0
    else:
        assert not known["train"]
        assert not known["val"]
        assert (finding.state == "unknown") == any(speaker is None for _, speaker in items)


def test_a_copy_under_another_name_and_label_is_found(words, tmp_path: Path) -> None:
    root = make_words(tmp_path / "words", words=("high", "low"), speakers=20)
    before = words(root).corpus
    of = {part: [before.names[i] for i in before.splits[part]] for part in SPLITS}
    test, val, train = (next(n for n in of[part] if n.startswith("low/")) for part in ("test", "val", "train"))
    marks = {part: Path(name).name[:8] for part, name in (("test", test), ("val", val))}
    shutil.copy(root / train, root / "high" / f"{marks['test']}_nohash_7.wav")  # a speaker of the test
    shutil.copy(root / train, root / "high" / f"{marks['val']}_nohash_7.wav")
    shutil.copy(root / val, root / "high" / f"{marks['test']}_nohash_8.wav")
    finding = findings(words(root))["identical audio"]
    assert finding.state == "flagged"
    total = len(of["test"]) + 2
    assert counts(finding) == (2, total)
    assert finding.found == "; ".join((
        f"1 of the {total} test clips are in the training set as well, value by value",
        f"2 of the {total} test clips are in the validation set as well, value by value",
        f"1 of the {len(of['val']) + 1} validation clips are in the training set as well, value by value",
    ))  # fmt: skip


def test_silence_is_not_called_a_copy(words, tmp_path: Path) -> None:
    root = make_words(tmp_path / "words", words=("high", "low"), speakers=20)
    corpus = words(root).corpus
    for part in SPLITS:
        soundfile.write(root / corpus.names[corpus.splits[part][0]], np.zeros(16000), 16000)
    finding = findings(words(root))["identical audio"]
    assert finding.state == "passes"
    assert "3 silent ones" in finding.found


def test_noise_of_a_silence_class_is_cut_in_time(words, tmp_path: Path) -> None:
    root = add_background(make_words(tmp_path / "words", speakers=20))
    assert "noise" not in states(words(root))
    data = words(root, silence=True)
    assert states(data)["noise"] == "passes"
    corpus = data.corpus
    files = [{corpus.names[i].split("#")[0] for i in corpus.splits[part] if "#" in corpus.names[i]} for part in SPLITS]
    assert files[0] & files[2]
    assert "recordings of noise (2) are in every split" in findings(data)["noise"].found


def test_speakers_that_names_do_not_carry_are_unknown(words, tmp_path: Path) -> None:
    for word in ("high", "low"):
        (tmp_path / word).mkdir()
        for i in range(30):
            soundfile.write(tmp_path / word / f"{i}.wav", tone(0.2, hz=300 + 10 * i + len(word)), 16000)
    data = words(tmp_path)
    assert audit_data(data).verdict == "unknown"
    assert audit_lines(audit_data(data)) == [
        "Audit: nothing found, but speakers not known (identical audio, statistics checked)."
    ]


def test_only_names_of_published_corpora_are_read() -> None:
    named = {
        "yes/0a7c2a8d_nohash_0.wav": "0a7c2a8d", "test/p232_001": "p232", "p225_001_mic1.flac": "p225", "s5_012": "s5",
        "84-121123-0000": "84", "a/1034-121119-0004.flac": "1034",
    }  # fmt: skip
    assert {name: speaker_in(name) for name in named} == named
    for name in ("take_001", "2024-01-05", "05-01-2024.wav", "p2_001", "bed/7.wav", "20240105-120000-0001x", "p225"):
        assert speaker_in(name) is None, name


def test_the_embedded_corpora_pass(cache: Path) -> None:
    assert audit_data(SpokenWords(voices=6, **CLIPS, cache=str(cache))).verdict == "passes"
    pairs = SpokenPairs(count=40, sample_rate=32000, clip_s=1.0, batch_size=8, split_seed=0, cache=str(cache))
    assert set(states(pairs).values()) == {"passes"}
    assert set(states(pairs)) == {"speakers", "noise", "identical audio", "statistics"}


def beside(data: GenreFeatures) -> tuple[int, int]:
    """Test rows whose other channel, or a block beside it, is trained on, and those between two such blocks."""
    places = [(song, int(block)) for song, _, block in (name.rsplit("/", 2) for name in data.item_names)]
    train = {places[i] for i in data.splits["train"]}
    test = [places[i] for i in data.splits["test"]]
    near = sum(any((song, block + step) in train for step in (-1, 0, 1)) for song, block in test)
    return near, len(test)


@pytest.mark.parametrize("root", ["made here", pytest.param("published", marks=needs_shared)])
def test_the_exercises_split_is_flagged_with_its_shares_and_the_honest_one_apart_from_it(
    root: str, tmp_path: Path
) -> None:
    own = root == "made here"
    file = make_features(tmp_path / "x.npz") if own else SHARED / "ddasp-genre-features" / "_raw_data_small.npz"
    data = GenreFeatures(root=str(file), **ROWS, cache=str(tmp_path))
    checks = findings(data)
    assert {checks[name].state for name in ("songs", "moments", "statistics")} == {"flagged"}
    total = len(data.splits["test"])
    assert counts(checks["songs"]) == counts(checks["statistics"]) == (total, total)
    assert counts(checks["moments"]) == beside(data)
    features = data.corpus.features.tolist()
    parts = data.splits
    again = [i for i in parts["test"] if any(features[i] == features[j] for j in parts["train"] + parts["val"])]
    assert counts(checks["identical audio"]) == (len(again), total)
    assert bool(again) == (not own)  # the published file repeats rows
    data = GenreFeatures(root=str(file), protocol="honest", **ROWS, cache=str(tmp_path))
    assert states(data) == {"songs": "flagged", **dict.fromkeys(("moments", "identical audio", "statistics"), "passes")}
    assert "at other moments" in findings(data)["songs"].found
    assert counts(findings(data)["moments"]) == beside(data)


def test_songs_that_are_in_one_part_only_pass(tmp_path: Path) -> None:
    file = make_features(tmp_path / "x.npz", blocks=(20, 22, 24, 26, 28, 30), genres=(0, 0, 0, 1, 1, 1))
    data = GenreFeatures(root=str(file), protocol="honest", **ROWS, cache=str(tmp_path))
    assert data.card().protocol == "song"
    assert audit_data(data).verdict == "passes"
