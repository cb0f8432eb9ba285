"""Settings are called by what they differ in: each key once, with the value that the run has, and no two alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up import make_run
from speechml.report.compare import group_settings
from speechml.report.finished_run import Result
from speechml.runs.labels import LONGEST, name_differences, settings_name, shorten_keys

KEYS = st.lists(st.sampled_from("abn"), min_size=1, max_size=3).map(".".join)


def read(name: str) -> list[tuple[str, str]]:
    """The words of a name."""
    return [(word.partition("=")[0], word.partition("=")[2]) for word in name.split()]


@given(keys=st.sets(KEYS, min_size=1, max_size=8))
def test_short_keys_are_ends_of_their_keys_and_differ(keys: set[str]) -> None:
    short = shorten_keys(list(keys))
    assert short.keys() == keys
    assert len(set(short.values())) == len(keys)
    for key, end in short.items():
        assert f".{key}".endswith(f".{end}")
        assert end == key or sum(f".{other}".endswith(f".{end}") for other in keys) == 1


@given(configs=st.lists(st.dictionaries(KEYS, st.integers(0, 2), max_size=3), min_size=2, max_size=3))
def test_a_name_has_each_key_once_with_its_value_and_different_settings_have_different_names(
    configs: list[dict[str, Any]],
) -> None:
    names = name_differences(configs)
    for config, name in zip(configs, names, strict=True):
        words = read(name)
        assert len(dict(words)) == len(words)
        for short, text in words:
            values = {
                str(config.get(key, "(none)")) for one in configs for key in one if f".{key}".endswith(f".{short}")
            }
            assert text in values
    distinct = [repr(sorted(config.items())) for config in configs]
    assert len(set(zip(distinct, names, strict=True))) == len(set(distinct)) == len(set(names))


def test_keys_with_the_same_last_word_are_told_apart() -> None:
    configs = [
        {"optimizer.lr": 0.1, "model.net.lr": 3},
        {"optimizer.lr": 0.2, "model.net.lr": 4},
        {"optimizer.lr": 0.1, "model.net.lr": 4},
    ]
    assert name_differences(configs) == [
        "net.lr=3 optimizer.lr=0.1",
        "net.lr=4 optimizer.lr=0.2",
        "net.lr=4 optimizer.lr=0.1",
    ]


def test_a_key_that_is_not_shown_hides_no_other() -> None:
    """Of another class a key is not shown; the one outside, which goes with it, says something."""
    configs = [
        {"net._target_": "m.A", "net.taps": 3, "trainer.clip": 3},
        {"net._target_": "m.B"},
        {"net._target_": "m.B"},
    ]
    assert name_differences(configs[:2]) == ["net=A clip=3", "net=B clip=(none)"]
    assert name_differences(configs) == ["net=A clip=3", *["net=B clip=(none)"] * 2]


def test_a_section_that_is_null_in_one_run_and_a_class_in_another_is_one_key() -> None:
    configs = [{"scheduler": None}, {"scheduler._target_": "torch.OneCycle", "scheduler.top": 3}]
    assert name_differences(configs) == ["scheduler=null", "scheduler=OneCycle"]
    assert name_differences([{"x": 1}, {"x": 1, **configs[1]}]) == ["scheduler=(none)", "scheduler=OneCycle"]


def test_classes_of_one_name_are_named_with_their_modules() -> None:
    assert name_differences([{"net._target_": "mine.Net"}, {"net._target_": "yours.Net"}]) == [
        "net=mine.Net",
        "net=yours.Net",
    ]


@pytest.mark.parametrize("digits", [3, 40, 300])
def test_a_name_that_is_too_long_ends_between_two_words_and_says_so(digits: int) -> None:
    values = {f"key{i}": "1" * digits for i in range(60)}
    name = settings_name(values)
    assert len(name) <= LONGEST
    assert name.endswith(" ...")
    if digits < LONGEST:
        assert all(values[key] == text for key, text in read(name.removesuffix(" ...")))
        assert len(name) > LONGEST - digits - 10  # no more is left out than has to be


def test_settings_whose_cut_names_are_alike_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    snr = np.arange(9.0)
    runs = [make_run(tmp_path, snr=snr, **{f"key{k:02}": f"{i * (k == 39)}of{k}" for k in range(40)}) for i in range(2)]
    runs += [make_run(tmp_path, snr=snr, key00=i) for i in range(2)]
    labels = [setting.label for setting in group_settings([Result(run) for run in runs])]
    assert len(set(labels)) == 4
    assert [run.name in label for label, run in zip(labels, runs, strict=True)] == [True, True, False, False]


class Counting(dict[str, Any]):
    """A config that counts how often something of it is looked up."""

    looked_up = 0

    def get(self, key: str, default: Any = None) -> Any:
        Counting.looked_up += 1
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        Counting.looked_up += 1
        return super().__getitem__(key)

    def __eq__(self, other: object) -> bool:
        Counting.looked_up += len(self)
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment] # as of any dict


def count_look_ups(settings: int, keys: int) -> int:
    Counting.looked_up = 0
    name_differences([Counting({f"part{k % 5}.key{k}": i + k for k in range(keys)}) for i in range(settings)])
    return Counting.looked_up


def test_twice_as_many_settings_or_keys_are_twice_the_work() -> None:
    once = count_look_ups(50, 20)
    assert count_look_ups(100, 20) <= 2.1 * once
    assert count_look_ups(50, 40) <= 2.1 * once
