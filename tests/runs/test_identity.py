"""The id of a run stays what it was when its config gets keys that came later."""

import pytest

from conftest import composed
from speechml.runs.identity import digest, run_id

AS_BEFORE = {  # what experiments were, in words, before they were brought to the letter of the labs or to one level
    "words": [
        "model.normalize=false", "+model.augment.gain_db=10", "~model.augment.ramp_epochs", "~model.front_end.floor",
        "trainer.precision=bf16-mixed",
    ],
    "genre": [
        "scheduler=one_cycle", "model.columns=null", "model.log=[low_high_ratio]", "optimizer.lr=0.01",
        "data.batch_size=32", "trainer.max_epochs=30", "callbacks.early_stopping.after=0.9",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "then"),
    [  # as computed before spoken_words could be split otherwise
        (["experiment=words_tuned", "data.root=x", *AS_BEFORE["words"]], "05b9c5637c"),
        (["experiment=genre_mlp", "data.root=x", *AS_BEFORE["genre"]], "b23ecbec60"),
        (["experiment=genre_mlp_tuned", "data.root=x"], "b01a5fa61e"),
        (["experiment=lab2b_mimo_cnn", "data=wav_pairs", "data.root=x"], "7d12af18ee"),
        (["experiment=lab2a_fir", "data=lab_pairs", "data.root=x", "data.val_pairs=null"], "9852f69093"),
    ],
)
def test_a_run_of_before_keeps_its_id(overrides: list[str], then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPEECHML_CONF", raising=False)
    assert run_id(composed("train", *overrides)) == then


@pytest.mark.parametrize(
    ("overrides", "then"),
    [
        ([], "0ca4f77d47"),
        (["experiment=words_tuned", "data=spoken_words", *AS_BEFORE["words"]], "be24733a21"),
        (["experiment=words_spectrogram", "data=spoken_words", "data.voices=6", "seed=3"], "3b521c4812"),
        (["experiment=genre_mlp", "data.root=x"], "b23ecbec60"),
        (["experiment=lab2a_fir", "data=lab_pairs", "data.root=x"], "9852f69093"),
    ],
)
def test_no_id_of_before_is_used_for_what_means_something_else(overrides: list[str], then: str) -> None:
    assert run_id(composed("train", *overrides)) != then


def test_a_later_key_counts_where_it_changes_something() -> None:
    words = ("experiment=words_tuned", "data=spoken_words")
    assert run_id(composed("train", *words, "data.split=random")) != run_id(composed("train", *words))


def test_the_config_that_is_counted_is_left_as_it_is() -> None:
    config = {"data": {"_target_": "speechml.data.SpokenWords", "split": "official"}, "trainer": {"profiler": 1}}
    assert digest(config) == digest({"data": {"_target_": "speechml.data.SpokenWords"}, "trainer": {}})
    assert config["data"]["split"] == "official"
    assert config["trainer"] == {"profiler": 1}


def test_a_later_key_of_a_section_without_a_class_counts_where_it_changes_something() -> None:
    words = ("experiment=words_tuned", "data=spoken_words")
    without = run_id(composed("train", *words, "~model.front_end.floor", "~model.augment.ramp_epochs"))
    assert run_id(composed("train", *words, "model.front_end.floor=1e-10", "model.augment.ramp_epochs=0")) == without
    assert run_id(composed("train", *words)) != without
