"""What config/hydra_compat.py and config/compose.py borrow of Hydra; where a test fails, its docstring says what to do."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from speechml.config.compose import conf_dir
from speechml.config.hydra_compat import compose_with_sources, find_sweep, override_text
from speechml.config.refusals import hydra_sentence


def refused(*words: str) -> Exception:
    """What Hydra raises for a command."""
    with initialize_config_dir(conf_dir(), version_base="1.3"), pytest.raises((HydraException, ValueError)) as error:
        compose("train", overrides=list(words), return_hydra_config=True)
    return error.value


@pytest.mark.parametrize(
    ("word", "key", "there"),
    [
        ("optimizer.lrr=1", "optimizer.lrr", "lr"),
        ("model.nett.taps=1", "model.nett", "net"),
        ("experimnt=x", "experimnt", "seed"),
    ],
)
def test_an_unknown_key_has_its_name_and_its_section_in_the_cause(word: str, key: str, there: str) -> None:
    """Else: find both in `_unknown_key` of refusals.py by composing without the word."""
    error = refused(word)
    assert isinstance(error, ConfigCompositionException)
    assert isinstance(error.__cause__, (ConfigAttributeError, ConfigKeyError))
    assert error.__cause__.full_key == key
    assert there in set(error.__cause__.parent_node)


def test_a_missing_choice_has_its_name_and_the_others() -> None:
    """Else: list the files of the group in `hydra_sentence`."""
    error = refused("optimizer=sgdd")
    assert isinstance(error, MissingConfigException)
    assert (error.missing_cfg_file, error.options) == ("optimizer/sgdd", ["adam", "adamw", "lbfgs", "none", "sgd"])


def test_a_word_that_is_not_understood_is_in_the_error() -> None:
    """Else: `hydra_sentence` can print the whole message."""
    error = refused("a b")
    assert isinstance(error, OverrideParseException)
    assert error.override == "a b"


def test_a_choice_of_null_is_not_taken_by_hydra_itself() -> None:
    """Should this pass one day, `_adapt` in compose.py need not write `~GROUP` and `GROUP=none`."""
    assert isinstance(refused("scheduler=null"), ValueError)


def test_sweeps_are_seen() -> None:
    """OverridesParser and is_sweep_override; else: look in `find_sweep` for commas, choice(), range() and interval()."""
    assert find_sweep(["seed=1", "-m", "optimizer.lr=choice(1,2)"]) == "optimizer.lr=choice(1,2)"
    assert hydra_sentence(refused("seed=1,2"), ["seed=1,2"]).startswith("seed=1,2 describes several runs; add -m")


def test_the_files_of_a_config_are_known_in_their_order() -> None:
    """compute_defaults_list and repository.load_config; else: drop `from` in explain.py."""
    made = compose_with_sources(
        conf_dir(), "train", ["experiment=lab2b_mimo_cnn", "model=spectrogram_resnet", "optimizer.lr=3", "~model.loss"]
    )
    names = [source.name for source in made.sources]
    order = [
        names.index(name)
        for name in ("conf/train.yaml", "conf/optimizer/sgd.yaml", "conf/experiment/lab2b_mimo_cnn.yaml")
    ]
    assert order == sorted(order)
    assert names[-1] == "the command line"
    assert made.file_of("optimizer/sgd") == Path(conf_dir()) / "optimizer" / "sgd.yaml"
    assert made.options("optimizer") == ["adam", "adamw", "lbfgs", "none", "sgd"]
    assert made.content("optimizer", "lbfgs")["optimizer"]["history_size"] == 50


def test_values_are_written_as_hydra_reads_them() -> None:
    """_get_value_element_as_str; else: write the quoting in `override_text`."""
    for value in (1, 0.5, True, None, "a b", "x,y", [1, "b c"], {"a": 1}):
        cfg = compose_with_sources(conf_dir(), "train", [f"+published.x={override_text(value)}"]).cfg
        assert cfg.published.x == value
