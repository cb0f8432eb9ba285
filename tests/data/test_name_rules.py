"""Who speaks, where names say it in a way of their own: a pattern or a folder's level finds it, everywhere it counts."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import soundfile

from conftest import SHARED, make_pairs, make_words, mixed_folders, needs_shared, tone
from speechml.config.compose import adapt_overrides
from speechml.data import MixedPairs, SpeechCommands, WavPairs
from speechml.data.base import BaseDataModule
from speechml.data.name_rules import find_in_names
from speechml.data.provenance import sources_of
from speechml.data.speaker_splits import split_evenly
from speechml.errors import UserError
from speechml.report.audit import audit_data

NAMES = ["a/x/0_anna_1.wav", "b/y/0_bert_2.wav"]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (r"_([a-z]+)_", ["anna", "bert"]), (0, ["a", "b"]), (-1, ["x", "y"]), (r"^(\w)/", ["a", "b"]),
        (r"(\d)_(?P<speaker>\w+)_\d", ["anna", "bert"]),
    ],
)  # fmt: skip
def test_a_rule_finds_the_speaker_in_every_name(rule: str | int, found: list[str]) -> None:
    assert find_in_names(rule, NAMES) == found


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (r"_(anna)_", r"finds nothing in 1 of 2 names, as b/y/0_bert_2.wav, but anna in a/x/0_anna_1.wav"),
        (r"_(clara)_", "finds nothing in all 2 names, as a/x/0_anna_1.wav"), (2, "finds nothing in all 2 names"),
        (r"x*()", "finds nothing"), ("(", "is no regular expression"), ("anna", "has no groups"),
        ("(a)(b)", r"has 2 groups.*\(\?P<speaker>"), ("(a+)+$", "for ever"), ("((?:a|b)x)*", "for ever"), ("(a|a)*", "for ever"),
    ],
)  # fmt: skip
def test_a_rule_that_does_not_fit_is_refused_in_a_sentence(rule: str | int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        find_in_names(rule, NAMES)


@pytest.mark.parametrize("rule", [r"(\d+)_x{2,3}", r"([a-z]+)_\d+\.wav", r"([(*+]+)", r"((?:ab)+)_"])
def test_a_rule_that_is_fast_is_none_that_may_take_for_ever(rule: str) -> None:
    with pytest.raises(UserError, match="finds nothing"):
        find_in_names(rule, ["none.wav"])


@pytest.mark.parametrize("rule", [r"\d_([a-z]+)_\d+", "([^/_]+)_", "(a|b)", r"\w{1,2}(x)", "(?P<speaker>.)"])
@pytest.mark.parametrize("key", ["data.speaker", "test_sets.car.speaker"])
def test_a_pattern_needs_no_quotes_but_the_shells(rule: str, key: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (word,) = adapt_overrides([f"{key}={rule}"])
    assert OverridesParser.create().parse_override(word).value() == rule


def people(data: BaseDataModule[Any], split: str) -> set[str | None]:
    return {data.corpus.speakers[i] for i in data.splits[split]}


def assert_by_speaker(data: BaseDataModule[Any], expected: set[str]) -> None:
    """Nobody is heard in two splits, and audit and predictions know who speaks."""
    parts = [people(data, split) for split in ("train", "val", "test")]
    assert set().union(*parts) == expected
    assert sum(map(len, parts)) == len(expected)
    assert data.card().protocol == "speaker"
    finding = audit_data(data).findings[0]
    assert (finding.check, finding.state) == ("speakers", "passes")
    assert sources_of(data.provenance(), data.item_names) == ("speaker", list(data.corpus.speakers))


def speakers_pairs(root: Path, nested: bool = False) -> str:
    """Pairs named by their speaker, 4 of 3 takes, in one folder or in one for each."""
    make_pairs(root, 12)
    for side in ("noisy", "clean"):
        for i in range(12):
            place = root / side / (f"s{i % 4}/{i}.wav" if nested else f"s{i % 4}_{i}.wav")
            place.parent.mkdir(exist_ok=True)
            (root / side / f"item{i}.wav").rename(place)
    return str(root)


@pytest.mark.parametrize(("rule", "nested"), [(r"^(s\d)_", False), (0, True)])
def test_pairs_are_divided_by_speaker_where_names_say_who(
    rule: str | int, nested: bool, tmp_path: Path, common: dict[str, Any]
) -> None:
    root = speakers_pairs(tmp_path / "pairs", nested)
    assert_by_speaker(WavPairs(root=root, speaker=rule, **common), {"s0", "s1", "s2", "s3"})
    unsaid = WavPairs(root=root, **common)
    if nested:
        assert unsaid.card().protocol == "random"
    else:  # names that are all alike need no rule
        assert_by_speaker(unsaid, {"s0", "s1", "s2", "s3"})


def test_files_named_as_a_corpus_are_divided_by_chance_and_that_is_said(tmp_path: Path, common: dict[str, Any]) -> None:
    make_pairs(tmp_path / "pairs")
    for side in ("noisy", "clean"):
        for number, path in enumerate(sorted((tmp_path / "pairs" / side).glob("*.wav"))):
            path.rename(path.with_name(f"p{232 + number % 3}_{number:03}.wav"))
    unsaid = WavPairs(root=str(tmp_path / "pairs"), **common)
    assert unsaid.card().protocol == "random"
    assert any("names tell 3 speakers" in note and "data.speaker" in note for note in unsaid.card().notes)
    by_speaker = WavPairs(root=str(tmp_path / "pairs"), speaker=r"^(p\d+)_", **common)
    assert not any("names tell" in note for note in by_speaker.card().notes)


def test_one_half_of_the_pairs_is_named_as_such(tmp_path: Path, common: dict[str, Any]) -> None:
    make_pairs(tmp_path / "pairs")
    with pytest.raises(UserError, match=r"one half of the pairs.*give the folder that holds noisy/ and clean/"):
        WavPairs(root=str(tmp_path / "pairs" / "noisy"), **common).card()


def test_folders_train_and_test_stay_the_splits_and_speakers_are_known(tmp_path: Path, common: dict[str, Any]) -> None:
    for part in ("train", "test"):
        speakers_pairs(tmp_path / part)
    data = WavPairs(root=str(tmp_path), speaker=r"^(s\d)_", **common)
    assert data.card().protocol == "official"
    assert audit_data(data).findings[0].state == "flagged"  # the same four in both


def test_mixtures_take_flat_folders_with_a_pattern(tmp_path: Path, common: dict[str, Any]) -> None:
    folders = mixed_folders(tmp_path, speakers=4)
    for path in sorted((tmp_path / "clean").rglob("*.wav")):
        path.rename(tmp_path / "clean" / f"{path.parent.name}-{path.name}")
    assert len(people(MixedPairs(**folders, **common), "train")) == 1  # nobody knows
    expected = {f"speaker{i}" for i in range(4)}
    assert_by_speaker(MixedPairs(**folders, speaker="^(.*)-", **common), expected)


def words_of(root: Path, cache: Path, **keys: Any) -> SpeechCommands:
    common = {"sample_rate": 16000, "batch_size": 8, "split_seed": 0, "split": "speaker"}
    return SpeechCommands(**{"root": str(root), "cache": str(cache), **common, **keys})


def flat_words(root: Path, speakers: int = 5, takes: int = 4) -> Path:
    """Files in one folder, named as word_speaker_take.wav."""
    root.mkdir()
    for word, hz in (("high", 2000.0), ("low", 300.0)):
        for speaker in range(speakers):
            for take in range(takes):
                soundfile.write(root / f"{word}_s{speaker}_{take}.wav", tone(0.5, hz=hz + 20 * speaker + take), 16000)
    return root


def test_words_and_speakers_are_found_in_the_names_of_flat_files(tmp_path: Path) -> None:
    root = flat_words(tmp_path / "words")
    data = words_of(root, tmp_path, word="^([a-z]+)_", speaker=r"_(s\d)_")
    assert data.classes == ["high", "low"]
    assert_by_speaker(data, {f"s{i}" for i in range(5)})
    assert {name.partition("_")[0]: label for name, label in zip(data.item_names, data.corpus.label_names, strict=True)} == {
        "high": "high", "low": "low",
    }  # fmt: skip
    with pytest.raises(UserError, match="40 of 40 names carry no speaker"):
        words_of(root, tmp_path, word="^([a-z]+)_").card()
    with pytest.raises(UserError, match="there are 2 speakers, and three splits"):
        words_of(flat_words(tmp_path / "two", speakers=2), tmp_path, word="^([a-z]+)_", speaker=r"_(s\d)_").card()


def test_word_folders_are_divided_by_their_known_speakers_and_lists_keep_the_last_word(tmp_path: Path) -> None:
    root = make_words(tmp_path / "words", speakers=9)
    data = words_of(root, tmp_path)
    assert_by_speaker(data, {f"{i:08x}" for i in range(9)})
    assert words_of(root, tmp_path, split_seed=1).card().fingerprint != data.card().fingerprint
    assert words_of(root, tmp_path).card().fingerprint == data.card().fingerprint
    listed = [f"low/{0:08x}_nohash_0.wav", f"high/{1:08x}_nohash_0.wav"]
    for name, clip in zip(("testing_list.txt", "validation_list.txt"), listed, strict=True):
        (root / name).write_text(clip + "\n")
    official = words_of(root, tmp_path, split="official", speaker="/(.*)_nohash_", words=["high", "low"])
    assert [official.item_names[i] for i in official.splits["test"]] == listed[:1]


@pytest.mark.parametrize("seed", range(5))
def test_splits_by_speaker_hold_about_their_share_of_every_word(seed: int) -> None:
    """Of speakers who each say one word only, a split that looks at their number alone would miss words."""
    labels = [word for word, count in (("a", 60), ("b", 40), ("c", 20)) for _ in range(count)]
    speakers = [f"{word}{i % (6 if word == 'a' else 5)}" for i, word in enumerate(labels)]
    splits = split_evenly(speakers, labels, seed)
    assert all(len({s for s, who in zip(splits, speakers, strict=True) if who == one}) == 1 for one in speakers)
    counts = Counter(zip(labels, splits, strict=True))
    for word, total in Counter(labels).items():
        assert [counts[word, split] / total for split in ("train", "val", "test")] == pytest.approx(
            [0.6, 0.2, 0.2], abs=0.1
        )


def test_three_speakers_give_each_split_one() -> None:
    assert sorted(set(split_evenly(["a", "b", "c"] * 4, ["x"] * 12, 0))) == ["test", "train", "val"]


@needs_shared
def test_spoken_digits_are_divided_by_the_speakers_in_their_names(tmp_path: Path) -> None:
    rules = {"word": r"(\d)_\w+_\d+", "speaker": r"\d_([a-z]+)_\d+"}
    data = words_of(SHARED / "free-spoken-digit-dataset", tmp_path, sample_rate=8000, **rules)
    assert_by_speaker(data, {"george", "jackson", "nicolas", "theo", "yweweler"})
    assert {split: len(items) for split, items in data.splits.items()} == {"train": 750, "val": 250, "test": 250}
    assert data.classes == [str(digit) for digit in range(10)]


@needs_shared
def test_voicebanks_speakers_are_known_by_a_pattern(common: dict[str, Any]) -> None:
    data = WavPairs(root=str(SHARED / "voicebank-demand-excerpt"), speaker=r"(p\d{3})_\d{3}", **common)
    truth = {path.name[:4] for path in (SHARED / "voicebank-demand-excerpt" / "clean").iterdir()}
    assert {one for split in ("train", "val", "test") for one in people(data, split)} == truth
