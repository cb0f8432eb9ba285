"""The id of a run stays what it was when its config gets keys that came later."""

import pytest

from conftest import composed
from speechml.runs.identity import digest, run_id


@pytest.mark.parametrize(
    ("overrides", "then"),
    [  # as computed before spoken_words could be split otherwise
        ([], "0ca4f77d47"),
        (["experiment=words_tuned", "data=spoken_words"], "be24733a21"),
        (["experiment=words_spectrogram", "data=spoken_words", "data.voices=6", "seed=3"], "3b521c4812"),
        (["experiment=words_tuned", "data.root=x"], "05b9c5637c"),
        (["experiment=genre_mlp", "data.root=x"], "b23ecbec60"),
    ],
)
def test_a_run_of_before_keeps_its_id(overrides: list[str], then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPEECHML_CONF", raising=False)
    assert run_id(composed("train", *overrides)) == then


def test_a_later_key_counts_where_it_changes_something() -> None:
    words = ("experiment=words_tuned", "data=spoken_words")
    assert run_id(composed("train", *words, "data.split=random")) != run_id(composed("train", *words))


def test_the_config_that_is_counted_is_left_as_it_is() -> None:
    config = {"data": {"_target_": "speechml.data.SpokenWords", "split": "official"}, "trainer": {"profiler": 1}}
    assert digest(config) == digest({"data": {"_target_": "speechml.data.SpokenWords"}, "trainer": {}})
    assert config["data"]["split"] == "official"
    assert config["trainer"] == {"profiler": 1}
