"""The audit finds what several parts share, counted here another way, and nothing else."""

import shutil
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import (
    SHARED,
    TINY,
    add_background,
    composed,
    make_features,
    make_pairs,
    make_words,
    mixed_folders,
    needs_shared,
    run_of,
    speechml,
    tone,
)
from speechml.data import (
    GenreFeatures,
    LabPairs,
    MixedPairs,
    RecordingPair,
    SpeechCommands,
    SpokenPairs,
    SpokenWords,
    WavPairs,
    mixed_pairs,
)
from speechml.data.audit import audited, lines, overlapping, sources
from speechml.data.origins import Origins, speaker_in
from speechml.data.pairs import PairsData
from speechml.data.parts import PARTS, Picks
from speechml.runs.folder import read_card

CLIPS = {"sample_rate": 16000, "batch_size": 8, "split_seed": 0}
ROWS = {"batch_size": 32, "split_seed": 0}


def found(data: Any) -> dict[str, dict[str, Any]]:
    """What each check found."""
    return {finding["check"]: finding for finding in audited(data)["findings"]}


def states(data: Any) -> dict[str, str]:
    return {check: finding["state"] for check, finding in found(data).items()}


def counts(finding: dict[str, Any]) -> tuple[int, int]:
    return finding["shared"], finding["of"]


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., SpeechCommands]:
    """A data module of the word folders below a folder; packed anew for each test."""
    return lambda root, **keys: SpeechCommands(str(root), **CLIPS, **keys, cache=str(tmp_path / "cache"))


def test_the_official_split_passes_and_the_books_random_one_is_flagged(words, tmp_path: Path) -> None:
    root = make_words(tmp_path / "words", speakers=12, takes=2)
    data = words(root)
    assert audited(data)["verdict"] == "passes"
    assert states(data) == dict.fromkeys(("speakers", "identical audio", "statistics"), "passes")
    data = words(root, split="random")
    names, parts = data.corpus.names, data.corpus.parts
    trained = [names[i].split("/")[1][:8] for i in parts["train"]]
    known = [i for i in parts["test"] if names[i].split("/")[1][:8] in trained]
    speakers = {names[i].split("/")[1][:8] for i in parts["test"]}
    finding = found(data)["speakers"]
    assert finding["state"] == "flagged"
    assert counts(finding) == (len(known), len(parts["test"]))
    both = len(speakers & set(trained))
    said = f"all {both}" if both == len(speakers) else f"{both} of the {len(speakers)}"
    assert finding["found"].startswith(f"{said} test speakers are in the training part as well ({len(known)} of ")
    assert audited(data)["verdict"] == "flagged"
    assert lines(audited(data)) == [f"Audit: flagged, speakers: {finding['found']}."]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(["anna", "ben", "cleo", "", None])), min_size=1))
def test_known_speakers_are_counted_as_by_hand(items: list[tuple[str, str | None]]) -> None:
    parts = {part: [i for i, (of, _) in enumerate(items) if of == part] for part in PARTS}
    data: Any = SimpleNamespace(called="clips", corpus=SimpleNamespace(parts=parts))
    finding = next(sources(data, "speaker", [speaker for _, speaker in items], in_time=False), None)
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
    of = {part: [before.names[i] for i in before.parts[part]] for part in PARTS}
    test, val, train = (next(n for n in of[part] if n.startswith("low/")) for part in ("test", "val", "train"))
    marks = {part: Path(name).name[:8] for part, name in (("test", test), ("val", val))}
    shutil.copy(root / train, root / "high" / f"{marks['test']}_nohash_7.wav")  # a speaker of the test
    shutil.copy(root / train, root / "high" / f"{marks['val']}_nohash_7.wav")
    shutil.copy(root / val, root / "high" / f"{marks['test']}_nohash_8.wav")
    finding = found(words(root))["identical audio"]
    assert finding["state"] == "flagged"
    total = len(of["test"]) + 2
    assert counts(finding) == (2, total)
    assert finding["found"] == "; ".join((
        f"1 of the {total} test clips are in the training part as well, value by value",
        f"2 of the {total} test clips are in the validation part as well, value by value",
        f"1 of the {len(of['val']) + 1} validation clips are in the training part as well, value by value",
    ))  # fmt: skip


def test_silence_is_not_called_a_copy(words, tmp_path: Path) -> None:
    root = make_words(tmp_path / "words", words=("high", "low"), speakers=20)
    corpus = words(root).corpus
    for part in PARTS:
        soundfile.write(root / corpus.names[corpus.parts[part][0]], np.zeros(16000), 16000)
    finding = found(words(root))["identical audio"]
    assert finding["state"] == "passes"
    assert "3 silent ones" in finding["found"]


def test_noise_of_a_silence_class_is_cut_in_time(words, tmp_path: Path) -> None:
    root = add_background(make_words(tmp_path / "words", speakers=20))
    assert "noise" not in states(words(root))
    data = words(root, silence=True)
    assert states(data)["noise"] == "passes"
    corpus = data.corpus
    files = [{corpus.names[i].split("#")[0] for i in corpus.parts[part] if "#" in corpus.names[i]} for part in PARTS]
    assert files[0] & files[2]
    assert "2 recordings of noise are in every part" in found(data)["noise"]["found"]


def test_speakers_that_names_do_not_carry_are_unknown(words, tmp_path: Path) -> None:
    for word in ("high", "low"):
        (tmp_path / word).mkdir()
        for i in range(30):
            soundfile.write(tmp_path / word / f"{i}.wav", tone(0.2, hz=300 + 10 * i + len(word)), 16000)
    data = words(tmp_path)
    assert audited(data)["verdict"] == "unknown"
    assert lines(audited(data)) == [
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


@needs_shared
def test_the_official_split_of_real_recordings_passes(words) -> None:
    root = SHARED / "speech-commands"
    assert audited(words(root))["verdict"] == "passes"
    data = words(root, split="random")
    names = data.corpus.names
    marks = {part: [names[i].split("/")[1].split("_")[0] for i in data.corpus.parts[part]] for part in PARTS}
    known = [mark for mark in marks["test"] if mark in marks["train"]]
    assert counts(found(data)["speakers"]) == (len(known), len(marks["test"]))
    assert len(known) > 0.5 * len(marks["test"])


def test_the_embedded_corpora_pass(cache: Path) -> None:
    assert audited(SpokenWords(voices=6, **CLIPS, cache=str(cache)))["verdict"] == "passes"
    pairs = SpokenPairs(count=40, sample_rate=32000, clip_s=1.0, batch_size=8, split_seed=0, cache=str(cache))
    assert set(states(pairs).values()) == {"passes"}
    assert set(states(pairs)) == {"speakers", "noise", "identical audio", "statistics"}


def test_spoken_words_at_random_mix_voices_and_are_flagged(cache: Path) -> None:
    data = SpokenWords(voices=6, split="random", **CLIPS, cache=str(cache))
    assert data.card()["recordings"] == {"train": 108, "val": 36, "test": 36}
    assert data.card()["protocol"] == "random"
    assert any("same speakers" in note for note in data.card()["notes"])
    assert counts(found(data)["speakers"]) == (36, 36)
    some = SpokenWords(voices=6, words=["yes", "no"], split="random", **CLIPS, cache=str(cache))
    assert [len(some.corpus.parts[part]) for part in PARTS] == [8, 2, 2]
    with pytest.raises(ValueError, match="official or random"):
        SpokenWords(voices=6, split="speaker", **CLIPS, cache=str(cache))


def beside(data: GenreFeatures) -> tuple[int, int]:
    """Test rows whose other channel, or a block beside it, is trained on, and those between two such blocks."""
    places = [(song, int(block)) for song, _, block in (name.rsplit("/", 2) for name in data.corpus.names)]
    train = {places[i] for i in data.corpus.parts["train"]}
    test = [places[i] for i in data.corpus.parts["test"]]
    near = sum(any((song, block + step) in train for step in (-1, 0, 1)) for song, block in test)
    return near, len(test)


@pytest.mark.parametrize("root", ["made here", pytest.param("published", marks=needs_shared)])
def test_the_exercises_split_is_flagged_with_its_shares_and_the_honest_one_apart_from_it(
    root: str, tmp_path: Path
) -> None:
    own = root == "made here"
    file = make_features(tmp_path / "x.npz") if own else SHARED / "ddasp-genre-features" / "_raw_data_small.npz"
    data = GenreFeatures(str(file), **ROWS, cache=str(tmp_path))
    checks = found(data)
    assert {checks[name]["state"] for name in ("songs", "moments", "statistics")} == {"flagged"}
    total = len(data.corpus.parts["test"])
    assert counts(checks["songs"]) == counts(checks["statistics"]) == (total, total)
    assert counts(checks["moments"]) == beside(data)
    features = data.corpus.features.tolist()
    parts = data.corpus.parts
    again = [i for i in parts["test"] if any(features[i] == features[j] for j in parts["train"] + parts["val"])]
    assert counts(checks["identical audio"]) == (len(again), total)
    assert bool(again) == (not own)  # the published file repeats rows
    data = GenreFeatures(str(file), "honest", **ROWS, cache=str(tmp_path))
    assert states(data) == {
        "songs": "flagged",
        "moments": "passes",
        "identical audio": "passes",
        "statistics": "passes",
    }
    assert "at other moments" in found(data)["songs"]["found"]
    assert counts(found(data)["moments"]) == beside(data)


def test_songs_that_are_in_one_part_only_pass(tmp_path: Path) -> None:
    file = make_features(tmp_path / "x.npz", blocks=(20, 22, 24, 26, 28, 30), genres=(0, 0, 0, 1, 1, 1))
    data = GenreFeatures(str(file), "honest", **ROWS, cache=str(tmp_path))
    assert data.card()["protocol"] == "song"
    assert audited(data)["verdict"] == "passes"


def heard_samples(data: MixedPairs, part: str) -> set[int]:
    """Values of noise that a part hears in many mixtures with silence, which leaves the noise as it is."""
    silence = torch.zeros(200, 1, 2000)
    mixed = [data.corpus.source._mixed(silence, Picks(part, epoch, torch.arange(200)))[0] for epoch in range(3)]
    return {round(value * 32768) for value in torch.cat(mixed).flatten().tolist()}


def test_noise_cut_in_time_passes_and_noise_that_is_not_is_flagged(
    tmp_path: Path, common: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = mixed_folders(tmp_path)
    shutil.rmtree(folders["noise"])
    for i in range(2):  # every sample of the noise has a value of its own
        Path(folders["noise"]).mkdir(exist_ok=True)
        values = np.arange(1, 12001, dtype=np.int16) * (1 if i else -1)
        soundfile.write(Path(folders["noise"]) / f"{i}.wav", values, 16000)
    for spans, state in (
        (mixed_pairs.NOISE_SPANS, "passes"),
        ({"train": (0, 7), "val": (6, 8), "test": (8, 10)}, "flagged"),
    ):
        monkeypatch.setattr(mixed_pairs, "NOISE_SPANS", spans)
        data = MixedPairs(**folders, **common)
        heard = [heard_samples(data, part) for part in PARTS]
        assert any(one & other for one, other in combinations(heard, 2)) == (state == "flagged")
        assert states(data)["noise"] == state
        assert states(data)["speakers"] == "passes"


INTERVALS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(1, 6)), max_size=6)


@given(INTERVALS, INTERVALS)
def test_stretches_overlap_where_they_share_a_sample(one: list[Any], other: list[Any]) -> None:
    wanted = [
        any(a == b and set(range(i, i + n)) & set(range(k, k + m)) for b, k, m in other) for a, i, n in one
    ]  # fmt: skip
    some, others = (np.array([(a, i, i + n) for a, i, n in given]).reshape(-1, 3) for given in (one, other))
    assert overlapping(some, others).tolist() == wanted


def test_validation_that_shares_a_speaker_with_training_is_told(tmp_path: Path, common: dict[str, Any]) -> None:
    data = MixedPairs(**mixed_folders(tmp_path, speakers=2, each=5), **common)
    finding = found(data)["speakers"]
    assert finding["state"] == "passes"
    assert "validation shares 1 of its 1 with training" in finding["found"]


def test_speakers_that_neither_folders_nor_names_tell_apart_are_unknown(tmp_path: Path, common: dict[str, Any]) -> None:
    folders = mixed_folders(tmp_path, speakers=1, each=5)
    assert states(MixedPairs(**folders, **common))["speakers"] == "unknown"
    for i, path in enumerate(sorted((tmp_path / "clean" / "speaker0").iterdir())):
        path.rename(path.with_name(f"84-121123-000{i}.wav"))
    assert counts(found(MixedPairs(**folders, **common))["speakers"]) == (1, 1)


def test_pairs_of_nobody_known_are_unknown_and_names_of_corpora_tell_more(
    tmp_path: Path, common: dict[str, Any]
) -> None:
    root = make_pairs(tmp_path / "pairs", 10)
    data = WavPairs(str(root), **common)
    assert states(data) == {
        "speakers": "unknown",
        "noise": "unknown",
        "identical audio": "passes",
        "statistics": "passes",
    }
    for side in ("noisy", "clean"):
        for i, path in enumerate(sorted((root / side).iterdir())):
            path.rename(path.with_name(f"p{226 + i % 2}_{i:03d}.wav"))
    data = WavPairs(str(root), **common)
    assert found(data)["speakers"]["found"].endswith("in the training part as well (2 of 2 test recordings)")


def test_clean_speech_that_comes_back_under_other_noise_is_found(tmp_path: Path, common: dict[str, Any]) -> None:
    root = tmp_path / "pairs"
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        make_pairs(root / part, count)  # the clean tones are the same in every part, and so is the noise
        for i in range(count):
            path = root / part / "noisy" / f"item{i}.wav"
            samples, rate = soundfile.read(path)
            soundfile.write(path, np.roll(samples, len(part) * 100), rate)
    finding = found(WavPairs(str(root), **common))["identical audio"]
    assert counts(finding) == (3, 3)
    assert "the clean waveform of 3 of the 3 test recordings are in the training part as well" in finding["found"]
    assert "noisy" not in finding["found"]


def test_a_copy_of_half_the_level_is_found(tmp_path: Path, common: dict[str, Any]) -> None:
    root = tmp_path / "pairs"
    for part, level in (("train", 1.0), ("val", 0.7), ("test", 0.5)):
        make_pairs(root / part, 2)
        for side in ("noisy", "clean"):
            seed = 1 if part == "val" else 0
            noise = level * np.random.default_rng([seed, side == "clean"]).uniform(-1, 1, (2, 16000)).astype(np.float32)
            for i, waveform in enumerate(noise):
                soundfile.write(root / part / side / f"item{i}.wav", waveform, 16000, subtype="FLOAT")
    finding = found(WavPairs(str(root), **common))["identical audio"]
    assert counts(finding) == (2, 2)
    assert "validation" not in finding["found"]


def test_a_pair_that_a_lab_file_holds_twice_is_found(tmp_path: Path, common: dict[str, Any]) -> None:
    torch.manual_seed(0)
    pairs = [(torch.randn(1, 8000), torch.randn(1, 8000)) for _ in range(10)]
    torch.save(pairs, tmp_path / "lab.pt")
    data = LabPairs(str(tmp_path / "lab.pt"), **common)
    assert states(data)["identical audio"] == "passes"
    parts = data.corpus.parts
    pairs[parts["test"][0]] = pairs[parts["train"][0]]
    torch.save(pairs, tmp_path / "lab.pt")
    finding = found(LabPairs(str(tmp_path / "lab.pt"), **common))["identical audio"]
    assert counts(finding) == (1, 2)


def test_a_recording_divided_in_time_is_told_apart_from_one_that_is_trained_on_whole(
    tmp_path: Path, common: dict[str, Any]
) -> None:
    for name in ("train_clean_male", "train_dirty_male"):
        soundfile.write(tmp_path / f"{name}.wav", tone(20.0), 16000)
    data = RecordingPair(str(tmp_path), **common)
    assert states(data) == {"recordings": "flagged", "moments": "passes", "statistics": "passes"}
    assert "at other moments" in found(data)["recordings"]["found"]
    assert "the 4.0 s of the test begin 1.6 s after the training part ends" in found(data)["moments"]["found"]
    whole = RecordingPair(str(tmp_path), heldout=0, **common)
    assert set(states(whole).values()) == {"flagged"}
    assert "at other moments" not in found(whole)["recordings"]["found"]
    assert "20.0 of the 20.0 s" in found(whole)["moments"]["found"]


@pytest.mark.parametrize("experiment", ["mimo_cnn_tuned", "hw2_cnn1d_tuned", "hw2_cnn2d"])
def test_what_tasks_fit_before_training_is_of_the_training_part(
    experiment: str, workplace: Path, common: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit says so of data modules whose `batches("train")` the tasks take."""
    from speechml.configs import plain
    from speechml.runs.checkpoint import task_of

    data = WavPairs(str(make_pairs(workplace / "pairs")), **common)
    task: Any = task_of(plain(composed("train", f"experiment={experiment}", "data=wav_pairs", "data.root=pairs")), "it")
    task.attach(data)
    taken: list[int] = []
    gather = PairsData.gather

    def noted(self: PairsData, picks: Picks) -> Any:
        batch: Any = gather(self, picks)
        source = self.corpus.source.clean
        recordings = source.row_file[picks.numbers] if self.frames is None else self.corpus.parts[picks.part]
        taken.extend(torch.as_tensor(recordings).tolist())
        return batch

    monkeypatch.setattr(PairsData, "gather", noted)
    task.prepare(data)
    assert taken
    assert set(taken) <= set(data.corpus.parts["train"]) == set(data.origins().fitted)


def test_an_audit_of_65000_clips_takes_no_time() -> None:
    names = [f"word{i % 30}/{i // 25:08x}_nohash_{i % 5}.wav" for i in range(65_000)]
    order = np.random.default_rng(0).permutation(65_000).tolist()
    parts = {"train": order[:39_000], "val": order[39_000:52_000], "test": order[52_000:]}
    data: Any = SimpleNamespace(called="clips", corpus=SimpleNamespace(parts=parts))
    data.origins = lambda: Origins(
        {"": [f"{i:064x}" for i in range(65_000)]}, lambda *_: False, parts["train"],
        {"speaker": [speaker_in(name) for name in names]},
    )  # fmt: skip
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        assert audited(data)["verdict"] == "flagged"
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.6  # 0.1 s on an idle core


def test_a_run_keeps_its_audit_and_shows_it_beside_its_scores(made: Path) -> None:
    good, bad = (run_of(made, name) for name in ("lab2a_fir", "genre_mlp"))
    cards = [read_card(run) or {} for run in (good, bad)]
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
    from speechml.evaluation import evaluate
    from speechml.files import write_json

    run = run_of(runs)
    write_json(run / "card.json", {k: v for k, v in (read_card(run) or {}).items() if k != "audit"})
    for words in (["runs", "show", str(run)], ["runs", "list", str(runs)], ["runs", "verify", str(run)]):
        assert speechml(monkeypatch, *words) == 0
    assert "Audit" not in capsys.readouterr().out
    evaluate(composed("evaluate", f"run={run}"))
    assert "Audit: passes" in capsys.readouterr().out


def test_other_data_are_audited_against_what_the_run_has_heard(
    runs: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from speechml.evaluation import evaluate

    run, told = run_of(runs), []
    make_pairs(workplace / "other", 8, rate=32000)
    for words in (["data=wav_pairs", "data.root=other", "data.sample_rate=32000"], ["data=spoken_pairs", *TINY]):
        for seed in (0, 5):
            evaluate(composed("evaluate", f"run={run}", *words, f"data.split_seed={seed}"))
            told.append(capsys.readouterr().out)
    audits = [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("WavPairs*.json"))]
    assert {content["audit"]["verdict"] for content in audits} == {"unknown"}
    assert all("Audit: nothing found, but speakers not known" in text for text in told[:2])
    assert "Audit: passes" in told[2]
    assert "Not a test: " in told[3]
    assert "Audit" not in told[3]


@pytest.fixture
def audit(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # noqa: ARG001
    """audit(*overrides) gives the exit code and the text of `speechml audit`."""

    def run(*overrides: str) -> tuple[int, str]:
        code = speechml(monkeypatch, "audit", *overrides)
        streams = capsys.readouterr()
        return code, streams.out + streams.err

    return run


def test_the_command_tells_what_it_found_by_its_exit_code(audit, workplace: Path) -> None:
    make_words(workplace / "words", speakers=12)
    make_features(workplace / "x.npz")
    make_pairs(workplace / "pairs")
    code, said = audit("experiment=words_spectrogram", "data=spoken_words", "data.split=random", "data.voices=6")
    assert code == 1
    assert (
        "speakers         flagged  all 6 test speakers are in the training part as well (36 of 36 test clips)" in said
    )
    assert said.endswith("Verdict: flagged (speakers)\n")
    assert audit("data=speech_commands", "data.root=words")[0] == 0
    assert audit("data=genre_features", "data.root=x.npz")[0] == 1
    code, said = audit("data=wav_pairs", "data.root=pairs")
    assert (code, said.splitlines()[-1]) == (0, "Verdict: unknown")
    assert sorted(path.name for path in workplace.iterdir()) == ["pairs", "words", "x.npz"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data=wav_pairs"], "data.root must be given"),
        (["data=wav_pairs", "data.root=nowhere"], "nowhere is no folder"),
        (["data=spoken_word"], "did you mean spoken_words"),
        (["data=spoken_words", "data.split=speaker"], "it can be official or random"),
        (["data=spoken_words", "data.split=official,random"], "describes several data sets"),
    ],
)
def test_what_is_wrong_with_a_command_is_told_in_a_sentence(audit, overrides: list[str], said: str) -> None:
    code, text = audit(*overrides)
    assert code == 2
    assert said in text
    assert text.count("\n") == 1
    assert sys.argv[0] == "speechml"
