"""The lists of Speech Commands in every form that editors and other systems give them: the clips they name, or a refusal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import make_words
from speechml.data import SpeechCommands
from speechml.data.word_folders import find_words
from speechml.data.word_lists import LISTS, official_splits
from speechml.errors import UserError, printable

WORDS = {"high", "low", "middle"}


def write_lists(
    root: Path, form: Callable[[str], str] = str, head: bytes = b"", newline: str = "\n"
) -> dict[str, set[str]]:
    """Lists below `root` with every sixth clip, each line in a form; what is in each."""
    names = find_words(root)[1].names
    listed = {"test": names[0::6], "val": names[1::6]}
    for split, clips in listed.items():
        text = "".join(f"{form(name)}{newline}" for name in clips)
        (root / LISTS[split]).write_bytes(head + text.encode())
    return {split: set(clips) for split, clips in listed.items()}


def split_of(root: Path) -> dict[str, set[str]]:
    names = find_words(root)[1].names
    splits, _ = official_splits(root, names, WORDS)
    return {part: {n for n, s in zip(names, splits, strict=True) if s == part} for part in ("test", "val")}


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "byte order mark": {"head": b"\xef\xbb\xbf"},
    "dot": {"form": lambda n: f"./{n}"},
    "two dots in a row": {"form": lambda n: f".//./{n}"},
    "backslash": {"form": lambda n: n.replace("/", "\\")},
    "dot and backslash": {"form": lambda n: ".\\" + n.replace("/", "\\")},
    "windows lines": {"newline": "\r\n"},
    "old mac lines": {"newline": "\r"},
    "blanks behind": {"form": lambda n: f"{n}  \t"},
    "blanks before": {"form": lambda n: f"  {n}"},
    "capital word": {"form": lambda n: n.capitalize()},
    "capitals": {"form": str.upper},
    "whole path": {"form": lambda n: f"/data/speech_commands_v0.01/{n}"},
    "windows path": {"form": lambda n: "C:\\data\\" + n.replace("/", "\\")},
    "empty lines": {"newline": "\n\n"},
    "mark, backslash and windows lines": {
        "head": b"\xef\xbb\xbf", "form": lambda n: n.replace("/", "\\"), "newline": "\r\n",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_list_means_the_clips_of_its_lines_however_it_is_written(form: str, tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=12)
    listed = write_lists(root, **FORMS[form])
    assert split_of(root) == listed
    assert len(split_of(root)["test"]) == 6


def test_half_the_lines_may_be_written_in_another_form(tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=12)
    listed = write_lists(root, lambda n: f"./{n}" if n.startswith("low") else n)
    assert split_of(root) == listed


@pytest.mark.parametrize("name", ["Testing_List.txt", "TESTING_LIST.TXT"])
def test_a_list_whose_name_is_in_capitals_is_no_other(name: str, tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=12)
    listed = write_lists(root)
    (root / LISTS["test"]).rename(root / name)
    assert split_of(root) == listed


@pytest.mark.parametrize(
    "line",
    [
        "low/ffffffff_nohash_0.wav", '"low/00000003_nohash_0.wav"', "low/00000003_nohash_0.wav,low", "00000003_nohash_0.wav",
        "low 00000003_nohash_0.wav", "low/00000003_nohash_0", "\u200blow/00000003_nohash_0.wav", "# test clips", "Low/ffff.wav",
        "low/00000003_nohash_0.wav low/00000004_nohash_0.wav", "low:00000003_nohash_0.wav", "low/",
    ],
)  # fmt: skip
def test_a_line_that_names_no_clip_is_refused_and_shown(line: str, tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=12)
    write_lists(root)
    with (root / LISTS["test"]).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(UserError) as refused:
        split_of(root)
    assert printable(line.strip()) in str(refused.value)
    assert "line 7" in str(refused.value)


def test_a_line_that_fits_two_clips_is_refused(tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=12)
    (root / "low" / "0000000A_nohash_0.wav").write_bytes((root / "low" / "0000000a_nohash_0.wav").read_bytes())
    write_lists(root)
    with (root / LISTS["test"]).open("a") as file:
        file.write("LOW/0000000a_NOHASH_0.wav\n")
    with pytest.raises(UserError, match=r"names LOW/0000000a_NOHASH_0.wav, .*line 8"):
        split_of(root)


def test_clips_of_words_that_are_not_there_are_counted(tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=12)
    write_lists(root)
    with (root / LISTS["val"]).open("a") as file:
        file.write("bird/00000003_nohash_0.wav\n./cat/00000003_nohash_0.wav\n")
    names = find_words(root)[1].names
    assert official_splits(root, names, WORDS)[1] == [
        "validation_list.txt names 2 clips of words that are not there, as bird/00000003_nohash_0.wav"
    ]


@pytest.mark.parametrize("form", ["byte order mark", "backslash", "capitals"])
def test_listed_test_clips_are_never_trained_on(form: str, tmp_path: Path) -> None:
    root = make_words(tmp_path / "words", speakers=12)
    listed = write_lists(root, **FORMS[form])
    data = SpeechCommands(root=str(root), sample_rate=16000, batch_size=4, split_seed=0, cache=str(tmp_path / "cache"))
    assert {data.item_names[i] for i in data.splits["test"]} == listed["test"]
    assert not listed["test"] & {data.item_names[i] for i in data.splits["train"]}
    assert data.card().protocol == "official"


def test_what_lies_beside_the_clips_of_a_word_is_said(tmp_path: Path) -> None:
    root = make_words(tmp_path, speakers=3)
    (root / "low" / "a.m4a").write_bytes(b"")
    (root / "low" / "anna").mkdir()
    _, _, _, notes = find_words(root)
    assert notes == [
        "1 .m4a file in the folders of words is not used: convert to wav or flac",
        "folders within the folder of a word are not looked into (1, as low/anna)",
    ]
