"""The fully connected classifier: sizes, initial weights, units."""

import math
from itertools import pairwise

import pytest
import torch

from speechml.models import MLP


@pytest.mark.parametrize(("layers", "units"), [(0, 4), (1, 2), (5, 16), (3, [8, 4, 2])])
def test_the_number_of_parameters_follows_from_the_sizes(layers: int, units: int | list[int]) -> None:
    net = MLP(inputs=7, classes=3, layers=layers, units=units)
    sizes = [7, *([units] * layers if isinstance(units, int) else units), 3]
    assert sum(p.numel() for p in net.parameters()) == sum((a + 1) * b for a, b in pairwise(sizes))
    assert net(torch.zeros(5, 7)).shape == (5, 3)


def test_weights_are_glorots_uniform_and_biases_zero() -> None:
    torch.manual_seed(0)
    net = MLP(inputs=100, layers=1, units=200)
    first = net.layers[0]
    limit = math.sqrt(6 / (100 + 200))  # Glorot and Bengio (2010)
    assert first.weight.abs().max() <= limit
    assert float(first.weight.detach().std()) == pytest.approx(limit / math.sqrt(3), rel=0.02)
    assert not first.bias.any()


def test_a_bump_answers_near_zero_only() -> None:
    net = MLP(inputs=1, classes=2, layers=1, units=3, activation="bump")
    near, far = net(torch.zeros(1, 1)), net(torch.full((1, 1), 1e4))
    torch.testing.assert_close(far, net.layers[-1].bias[None].expand_as(far))
    torch.testing.assert_close(near, net.layers[-1].weight.sum(1)[None] + net.layers[-1].bias)


@pytest.mark.parametrize(
    "wrong", [{"layers": 2, "units": [4]}, {"layers": 1, "units": 0}, {"layers": -1}, {"activation": "sin"}]
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"units is|activation is"):
        MLP(**wrong)
