"""A small fully connected classifier, as in DDASP exercise 12."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechml.errors import choose


class Bump(nn.Module):
    """exp(-x^2): a unit that answers near what it has learned, and says nothing far from it. Any shape."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-(x**2))


ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "bump": Bump}


class MLP(nn.Module):
    """`layers` hidden layers of `units` units each, then one linear layer; Glorot's uniform weights, biases 0.

    Args:
        inputs: features of a row.
        classes: outputs.
        layers: hidden layers.
        units: of every hidden layer; or a list, one number a layer; or a mapping, of which the first `layers` numbers count,
            so that a search draws the width of each layer.
        activation: tanh, relu or bump (exp(-x^2)).
        dropout: share of the hidden units that a training step leaves out.

    Shape: (batch, inputs) -> (batch, classes) logits; softmax makes probabilities of them.
    """

    def __init__(
        self, inputs: int = 7, classes: int = 3, layers: int = 2, units: int | list[int] | dict[str, int] = 16,
        activation: str = "tanh", dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(units, dict):
            units = list(units.values())[:layers]
        widths = [units] * layers if isinstance(units, int) else list(units)
        if len(widths) != layers or layers < 0 or any(width < 1 for width in widths):
            raise ValueError(f"units is {units} for {layers} layers; give one positive number, or one for each layer")
        bend = choose("activation", activation, ACTIVATIONS)
        parts: list[nn.Module] = []
        for before, after in zip([inputs, *widths], widths, strict=False):
            parts += [nn.Linear(before, after), bend()]
            parts += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*parts, nn.Linear([inputs, *widths][-1], classes))
        with torch.no_grad():
            for part in self.layers:
                if isinstance(part, nn.Linear):
                    nn.init.xavier_uniform_(part.weight)
                    part.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.layers(features)
        return out
