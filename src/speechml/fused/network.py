"""A network of linear layers and functions of single numbers, as a list of steps that many of its kind take together.

Sizes of layers are padded with zeros to multiples of BLOCK. On a CPU, a batched product then gives every network the same
bits in any company: its kernels go by the sizes of a matrix and by where its rows begin, both of which are a network's own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

BLOCK = 16  # numbers: 64 bytes of float32, the widest vector and a line of the cache
# Numbers of a network: what is left over beyond whole turns of a loop over two or four vectors is computed otherwise.
TURN = 64
# Of single numbers, and finite at 0 with their slopes: what is padded must not spoil the rest.
ELEMENTWISE = (
    nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.ReLU6,
    nn.Mish, nn.Softsign, nn.Identity,
)  # fmt: skip
FUNCTIONS: tuple[Callable[..., Any], ...] = (
    operator.neg, operator.add, operator.sub, operator.mul, operator.pow, torch.exp, torch.tanh, torch.relu, torch.sigmoid,
    torch.sin, torch.cos, torch.square, torch.add, torch.sub, torch.mul, F.relu, F.gelu, F.silu, F.softplus, F.leaky_relu,
    F.elu, F.tanh, F.sigmoid,
)  # fmt: skip
METHODS = ("tanh", "relu", "sigmoid", "exp", "square", "sin", "cos")


class NotStackableError(Exception):
    """A network has a layer that no stack computes; the text says which."""


@dataclass(frozen=True)
class Place:
    """Where a parameter lies among the numbers of its network, (inputs, outputs) of a layer being padded.

    Attributes:
        offset: of its first number.
        shape: padded, (inputs, outputs) of a weight, (1, outputs) of a bias.
        real: the part of it that is the parameter.
        transposed: whether torch keeps it as (outputs, inputs).
    """

    offset: int
    shape: tuple[int, int]
    real: tuple[int, int]
    transposed: bool

    @property
    def size(self) -> int:
        """Numbers of it, padding included."""
        return self.shape[0] * self.shape[1]

    def view(self, numbers: Tensor) -> Tensor:
        """The parameter in the numbers of a network, shaped as torch has it. Shape: (numbers,) -> the parameter's."""
        part = numbers[self.offset : self.offset + self.size].view(self.shape)[: self.real[0], : self.real[1]]
        return part.t() if self.transposed else part[0]

    def stacked(self, numbers: Tensor) -> Tensor:
        """The same of many networks. Shape: (networks, numbers) -> (networks, inputs, outputs), padded."""
        return numbers[:, self.offset : self.offset + self.size].view(-1, *self.shape)


@dataclass(frozen=True)
class Step:
    """A step of a network.

    Attributes:
        kind: input, linear, dropout or function.
        target: a module or a function, or the name of a layer.
        arguments: names of earlier steps, or constants.
    """

    name: str
    kind: str
    target: Any
    arguments: tuple[Any, ...]
    constants: Mapping[str, Any]
    later: frozenset[str] = frozenset()  # earlier steps that later ones still need


def padded(size: int) -> int:
    """The next multiple of BLOCK."""
    return -(-size // BLOCK) * BLOCK


class StackedNetwork:
    """What networks of one kind compute, and where the parameters of each lie in its row of numbers.

    Args:
        net: one of them, (batch, inputs) -> (batch, outputs).

    Attributes:
        places: by the names of the parameters.
        size: numbers of a network.
        signature: networks of equal signatures are computed together.
        dropouts: the modules that leave units out, by the names of their steps.

    Raises:
        NotStackableError: it is made of other layers.
    """

    def __init__(self, net: nn.Module) -> None:
        try:
            graph = fx.Tracer().trace(net)
        except Exception as error:  # whatever a network's own code does with what is no tensor
            raise NotStackableError(f"{type(net).__name__} cannot be traced ({type(error).__name__})") from error
        self.places: dict[str, Place] = {}
        self.size = self.inputs = self.outputs = 0
        self.dropouts: dict[str, str] = {}  # names of modules, by those of steps
        self.steps: list[Step] = []
        self.result = ""
        self.widths: dict[str, int] = {}  # units that each step gives, where that is known
        signature = [self._read(net, node, self.widths) for node in graph.nodes]
        self.signature = tuple(signature)
        self.size = -(-self.size // TURN) * TURN
        needed = {self.result}
        for number in reversed(range(len(self.steps))):
            step = self.steps[number]
            self.steps[number] = replace(step, later=frozenset(needed - {step.name}))
            needed = (needed - {step.name}) | {one for one in step.arguments if isinstance(one, str)}
        if len(self.places) != len(list(net.parameters())):
            raise NotStackableError(f"{type(net).__name__} has parameters outside of linear layers, or shares some")

    def _read(self, net: nn.Module, node: fx.Node, widths: dict[str, int]) -> object:
        """Add a node of a graph to the steps; what networks must have in common of it."""
        arguments = tuple(one.name if isinstance(one, fx.Node) else one for one in node.args)
        known = [widths[one.name] for one in node.args if isinstance(one, fx.Node) and one.name in widths]
        if node.op == "placeholder":
            if self.inputs:
                raise NotStackableError(f"{type(net).__name__} takes more than one input")
            self.steps.append(Step(node.name, "input", None, (), {}))
            self.inputs = -1
            return "input", node.name
        if node.op == "output":
            self.result = str(arguments[0])
            self.outputs = widths.get(self.result, 0)
            return "output", self.result, self.outputs
        if node.op == "call_module":
            module = net.get_submodule(str(node.target))
            if isinstance(module, nn.Linear):
                widths[node.name] = module.out_features
                return self._add_linear(node, module, arguments)
            if known:
                widths[node.name] = known[0]
            if isinstance(module, nn.Dropout):
                self.dropouts[node.name] = str(node.target)
                self.steps.append(Step(node.name, "dropout", str(node.target), arguments, {}))
                return node.name, "dropout", arguments
            if type(module) in ELEMENTWISE:
                self.steps.append(Step(node.name, "function", module, arguments, {}))
                return node.name, repr(module), arguments
            raise NotStackableError(f"its layer {node.target} is a {type(module).__name__}")
        return self._add_function(node, arguments, known, widths)

    def _add_linear(self, node: fx.Node, module: nn.Linear, arguments: tuple[Any, ...]) -> object:
        into, out = module.in_features, module.out_features
        if self.inputs < 0:
            self.inputs = into
        name = str(node.target)
        if f"{name}.weight" not in self.places:
            shape = (padded(into), padded(out))
            self._add_place(f"{name}.weight", Place(self.size, shape, (into, out), transposed=True))
            if module.bias is not None:
                self._add_place(f"{name}.bias", Place(self.size, (1, shape[1]), (1, out), transposed=False))
        self.steps.append(Step(node.name, "linear", name, arguments, {}))
        return node.name, "linear", name, padded(into), padded(out), module.bias is None, arguments

    def _add_place(self, name: str, place: Place) -> None:
        self.places[name] = place
        self.size += place.size

    def _add_function(
        self, node: fx.Node, arguments: tuple[Any, ...], known: list[int], widths: dict[str, int]
    ) -> object:
        by_method = node.op == "call_method" and node.target in METHODS
        if not by_method and (node.op != "call_function" or node.target not in FUNCTIONS):
            raise NotStackableError(f"it computes {getattr(node.target, '__name__', node.target)}")
        is_power = node.target is operator.pow
        if is_power and not (isinstance(node.args[1], int) and node.args[1] > 0):
            raise NotStackableError(f"it computes a power of {node.args[1]}")
        if len(set(known)) > 1:
            raise NotStackableError(f"{node.name} joins layers of different widths")
        if known:
            widths[node.name] = known[0]
        target = getattr(torch, str(node.target)) if by_method else node.target
        self.steps.append(Step(node.name, "function", target, arguments, dict(node.kwargs)))
        return node.name, getattr(target, "__name__", ""), arguments, tuple(sorted(node.kwargs.items()))

    def padded_width(self, step: str) -> int:
        """Units that a step gives, padded; 0 where that is not known."""
        return padded(self.widths.get(step, 0))


_known: dict[str, StackedNetwork] = {}  # by what networks of ours are made of


def stacked_network(net: nn.Module) -> StackedNetwork:
    """As `StackedNetwork`; networks of ours that are made of the same layers are traced once."""
    if not type(net).__module__.startswith("speechml."):
        return StackedNetwork(net)
    if (made_of := repr(net)) not in _known:
        _known[made_of] = StackedNetwork(net)
    return _known[made_of]
