"""Paths and texts on the command line: taken as they are typed, or the refusal gives the quoting that works."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from speechml.config.compose import adapt_overrides
from speechml.config.refusals import hydra_sentence

PATHS = [
    "Müller", "日本/語", "e\u0301te\u0301", "\u00e9t\u00e9", "a=b", "~/words", "~", "a[1]", "[a]", "a b", " a", "a ", "it's",
    'say "x"', "a'b\"c", "$x", "a$b", "a#b", "#a", "a:b", "C:\\x", "2024", "007", "1e5", "1_000", "-3", "true", "False", "inf",
    "NaN", "a(b)", "(a)", "{a}", "a{b}", "a|b", "a;b", "a&b", "a!", "a^b", "a*", "a?", "a%b", "a+b", "a@b", "\udcfcx", "../x",
    "a,", "\\", "a\\'", "x/y.npz", "/tmp/x", "<a>", "`a`", "a\tb", "speech\u00a0data",
]  # fmt: skip


def value_of(word: str) -> object:
    override = OverridesParser.create().parse_override(word)
    assert not override.is_sweep_override()
    return override.value()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["data.root", "+data.root", "data.clean", "data.noisy_file", "paths.cache", "run"])
def test_a_path_is_taken_as_it_is_typed(key: str, path: str) -> None:
    if key in ("paths.cache", "run") and path.startswith("~"):
        return
    assert value_of(adapt_overrides([f"{key}={path}"])[0].lstrip("+")) == path


def test_the_home_of_runs_cache_and_a_run_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/Müller")
    for key in ("paths.runs", "paths.cache", "run"):
        assert value_of(adapt_overrides([f"{key}=~/x"])[0]) == "/home/Müller/x"


def test_what_hydra_means_by_a_value_stays(workplace: Path) -> None:
    for word in ("data.root=null", "data.root='a b'", "data.root=${oc.env:HOME}", "data.root=a,b", "optimizer.lr=0.1,0.2",
                 "model.net.taps=[20,20]", "seed=range(3)", "data.batch_size=4", "name=a b", "~data", "-m"):  # fmt: skip
        assert adapt_overrides([word]) == [word]
    (workplace / "a,b").mkdir()
    assert adapt_overrides(["data.root=a,b"]) == ["data.root='a,b'"]  # which is there
    assert adapt_overrides(["-m", "data.root=a,b"]) == ["-m", "data.root=a,b"]


def test_each_path_of_a_sweep_is_taken() -> None:
    assert adapt_overrides(["-m", "data.root=Müller,b,c=d"]) == ["-m", "data.root='Müller',b,'c=d'"]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("data.words=[grün,rot,zwölf]", ["grün", "rot", "zwölf"]),
        ("data.words=[да,нет]", ["да", "нет"]),
        ("name=Müller", "Müller"),
    ],
)
def test_letters_beyond_ascii_are_taken(word: str, value: object) -> None:
    assert value_of(adapt_overrides([word])[0].removeprefix("++")) == value


@pytest.mark.parametrize(
    "value", ["a(b", "x=y", "it's", "a[1]", "50%)", 'a"b', "#1", "a;b", "wörter (1)", "\\'", "$(ls)"]
)
def test_the_quoting_that_a_refusal_gives_works(value: str) -> None:
    with pytest.raises(HydraException) as refused:
        OverridesParser.create().parse_overrides([f"name={value}"])
    sentence = hydra_sentence(refused.value, [])
    given = re.search(r"text with signs as (.*), sweeps ", sentence)
    assert given, sentence
    (word,) = shlex.split(given[1])
    assert value_of(word) == value
