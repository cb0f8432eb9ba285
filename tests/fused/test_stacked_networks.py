"""What a stack computes, beside torch's own networks and optimisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from speechml.fused.forward import all_branches, compute, grow
from speechml.fused.network import NotStackableError, StackedNetwork, padded
from speechml.fused.optimizers import build_stacked
from speechml.models.mlp import MLP

ACTIVATIONS = ["tanh", "relu", "bump"]


def stacked_outputs(nets: list[nn.Module], inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """What networks of a stack give for inputs (networks, batch, inputs), and the gradients of the sum of squares."""
    order = sorted(range(len(nets)), key=lambda i: repr(StackedNetwork(nets[i]).signature))
    networks = [StackedNetwork(nets[i]) for i in order]
    weights = torch.zeros(len(nets), max(network.size for network in networks))
    for row, (i, network) in enumerate(zip(order, networks, strict=True)):
        for name, parameter in nets[i].named_parameters():
            network.places[name].view(weights[row]).copy_(parameter.detach())
    branches = grow(networks, weights, range(len(nets)))
    wide = torch.nn.functional.pad(inputs, (0, padded(inputs.shape[2]) - inputs.shape[2]))[order]
    parts = compute(branches, {}, wide, lambda _: None)
    leaves = [(branch, leaf, offset) for branch in all_branches(branches)
              for leaf, offset in zip(branch.leaves, branch.offsets, strict=True)]  # fmt: skip
    loss = torch.stack([part.square().sum() for part in parts]).sum()
    gradients, whole = torch.autograd.grad(loss, [leaf for _, leaf, _ in leaves]), torch.zeros_like(weights)
    for (branch, _, offset), gradient in zip(leaves, gradients, strict=True):
        whole[branch.rows.start : branch.rows.stop, offset : offset + gradient[0].numel()] = gradient.flatten(1)
    rows = [row for part in parts for row in part.detach()]
    back = {i: row for row, i in enumerate(order)}
    return [rows[back[i]] for i in range(len(nets))], [whole[back[i]] for i in range(len(nets))]


nets = st.lists(
    st.builds(
        lambda layers, units, activation, seed: (torch.manual_seed(seed), MLP(7, 3, layers, units, activation))[1],
        st.integers(0, 4), st.integers(1, 20), st.sampled_from(ACTIVATIONS), st.integers(0, 99),
    ), min_size=1, max_size=6,
)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(nets, st.integers(1, 40))
def test_a_stack_gives_what_its_networks_give_and_their_gradients(nets: list[MLP], batch: int) -> None:
    inputs = torch.randn(len(nets), batch, 7, generator=torch.Generator().manual_seed(batch))
    outputs, gradients = stacked_outputs(list(nets), inputs)
    for net, own_inputs, output, gradient in zip(nets, inputs, outputs, gradients, strict=True):
        own = net(own_inputs)
        torch.testing.assert_close(output, own.detach(), rtol=1e-4, atol=1e-5)
        own.square().sum().backward()
        places = StackedNetwork(net).places
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(places[name].view(gradient), parameter.grad, rtol=1e-3, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(nets, st.integers(0, 5))
def test_a_network_gives_the_same_bits_in_any_company(nets: list[MLP], place: int) -> None:
    torch.set_num_threads(1)
    one, inputs = place % len(nets), torch.randn(len(nets), 32, 7)
    together, gradients = stacked_outputs(list(nets), inputs)
    alone, gradient = stacked_outputs([nets[one]], inputs[one : one + 1])
    assert torch.equal(alone[0], together[one])
    for name in StackedNetwork(nets[one]).places:
        view = StackedNetwork(nets[one]).places[name].view
        assert torch.equal(view(gradient[0]), view(gradients[one]))


class Residual(nn.Module):
    """A network of a user's own, with a bypass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(7, 12), nn.Linear(12, 12, bias=False), nn.Linear(12, 3)
        self.bend = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.bend(self.first(x))
        return self.last(hidden + torch.relu(self.second(hidden)))


def test_a_network_with_a_bypass_is_stacked_beside_others() -> None:
    own: list[nn.Module] = [Residual(), MLP(7, 3, 2, 9), Residual()]
    inputs = torch.randn(3, 11, 7)
    for net, own_inputs, output in zip(own, inputs, stacked_outputs(own, inputs)[0], strict=True):
        torch.testing.assert_close(output, net(own_inputs).detach(), rtol=1e-4, atol=1e-5)


class Looking(nn.Module):
    """A network that looks at the numbers it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x if bool(x.sum() > 0) else -x


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)), "its layer 1 is a BatchNorm1d"),
        (nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.Linear(5, 3)), "its layer 1 is a LayerNorm"),
        (Looking(), "Looking cannot be traced"),
    ],
)
def test_what_no_stack_computes_is_named(net: nn.Module, why: str) -> None:
    with pytest.raises(NotStackableError, match=why):
        StackedNetwork(net)


OPTIMIZERS: list[tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "dampening": 0.1}),
    (torch.optim.SGD, {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
    (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
    (torch.optim.Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6}),
    (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("make", "options"), OPTIMIZERS)
def test_a_stacked_optimiser_steps_as_torchs_does(
    make: Callable[..., torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    draws = torch.Generator().manual_seed(1)
    start, gradients = torch.randn(3, 64, generator=draws), torch.randn(30, 3, 64, generator=draws)
    scales = [1.0, 0.5, 0.1]
    own = [nn.Parameter(row.clone()) for row in start]
    optimizers = [make([p], **{**options, "lr": options["lr"] * scale}) for p, scale in zip(own, scales, strict=True)]
    stacks = {  # all, and the second alone
        rows: (start[list(rows)].clone(), build_stacked(optimizers[rows[0]], torch.Size((len(rows), 64)), 0))
        for rows in ((0, 1, 2), (1,))
    }
    for number, gradient in enumerate(gradients):
        for parameter, row, optimizer in zip(own, gradient, optimizers, strict=True):
            parameter.grad = row.clone()
            optimizer.step()
        for rows, (weights, stacked) in stacks.items():
            if number % 10 == 0:
                stacked.plan([optimizers[row].param_groups[0] for row in rows], 10)
            stacked.step(weights, gradient[list(rows)].clone())
    everyone, alone = stacks[(0, 1, 2)][0], stacks[(1,)][0]
    torch.testing.assert_close(everyone, torch.stack([p.detach() for p in own]), rtol=1e-4, atol=1e-6)
    assert torch.equal(everyone[1], alone[0])
