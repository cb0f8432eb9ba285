"""Hydra's sweep syntax means to Optuna what it means to Hydra."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from speechml.errors import UserError
from speechml.sweep.space import as_overrides, grid, read_space


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("interval(0.01, 1)", FloatDistribution(0.01, 1)),
        ("tag(log, interval(0.01, 1))", FloatDistribution(0.01, 1, log=True)),
        ("int(interval(1, 8))", IntDistribution(1, 8)),
        ("tag(log, int(interval(1, 64)))", IntDistribution(1, 64, log=True)),
        ("range(1, 6)", IntDistribution(1, 5)),  # as in Python, the end is not in it
        ("range(2, 17, 2)", IntDistribution(2, 16, step=2)),
        ("range(5, 1, -1)", IntDistribution(2, 5)),
        ("range(0, 1, 0.25)", CategoricalDistribution([0.0, 0.25, 0.5, 0.75])),
        ("choice(1, 2.5, true)", CategoricalDistribution([1, 2.5, True])),
        ("a,b", CategoricalDistribution(["a", "b"])),
        ("[20,20],[40,40]", CategoricalDistribution(["[20,20]", "[40,40]"])),
    ],
)
def test_a_sweep_is_the_distribution_that_it_describes(text: str, wanted: object) -> None:
    assert read_space({"key": text}, []).distributions == {"key": wanted}
    assert read_space({}, [f"key={text}"]).distributions == {"key": wanted}


@pytest.mark.parametrize(
    "text", ["a,b", "[20,20],[40,40]", "choice('x y', z)", "choice({a: 1}, {a: 2})", "null,1", "true,false"]
)
def test_every_choice_can_stand_on_a_command_line_again(text: str) -> None:
    """By a private name of Hydra (config/hydra_compat.py). Where it is gone: write the quoting of its grammar there."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    space = read_space({"key": text}, [])
    parser = OverridesParser.create()
    given = parser.parse_override(f"key={text}").sweep_string_iterator()
    wanted = [parser.parse_override(f"key={item}").value() for item in given]
    found = [parser.parse_override(as_overrides(point)[0]).value() for point in grid(space)]
    assert found == wanted


def test_the_command_line_has_the_last_word_on_each_key() -> None:
    space = read_space({"a": "range(3)", "b": "range(3)", "c": "1"}, ["a=7", "b=1,2", "c=range(2)", "d=x"])
    assert space.overrides == ["a=7", "d=x"]
    assert space.distributions == {"b": CategoricalDistribution([1, 2]), "c": IntDistribution(0, 1)}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a=1"], "the search space is empty"),
        ([], "the search space is empty"),
        (["a=interval(2, 1)"], "cannot be searched"),
        (["a=range(5, 1)"], "cannot be searched"),
        (["a=tag(log, interval(0, 1))"], "cannot be searched"),
        (["a=tag(log, range(1, 9))"], "cannot be searched"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_a_sentence(arguments: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        read_space({}, arguments)
    assert "\n" not in str(error.value)


def test_a_grid_is_every_combination_once() -> None:
    points = grid(read_space({}, ["a=range(3)", "b=x,y"]))
    assert len(points) == len({tuple(p.items()) for p in points}) == 6
    with pytest.raises(UserError, match="a grid has no end on an interval of a"):
        grid(read_space({}, ["a=interval(0, 1)"]))
