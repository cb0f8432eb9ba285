"""The book's convnet, to the parameter, and the small residual network."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from speechml.models import SpectrogramCNN, SpectrogramResNet


@pytest.mark.parametrize(("channels", "parameters"), [(1, 1_849_054), (2, 1_849_342)])
def test_the_network_has_the_books_parameters(channels: int, parameters: int) -> None:
    net = SpectrogramCNN(channels, 30)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net.eval()(torch.zeros(2, channels, 257, 101)).shape == (2, 30)
    assert net(torch.zeros(2, channels, 128, 101)).shape == (2, 30)


def plain(net: SpectrogramCNN, x: torch.Tensor) -> torch.Tensor:
    """The layers in the book's order, ReLU before pooling, by their definition."""
    convolutions = [m for m in net.features if isinstance(m, nn.Conv2d)]
    norms = [m for m in net.features if isinstance(m, nn.BatchNorm2d)]
    for i, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        x = torch.relu(norm(convolution(x)))
        x = nn.functional.max_pool2d(x, 2) if i < 4 else x.mean((2, 3), keepdim=True)
    return net.classifier(x)


def test_pooling_before_the_relu_changes_no_number() -> None:
    torch.manual_seed(0)
    net = SpectrogramCNN(1, 5)
    for module in net.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight)  # negative ones as well
            nn.init.normal_(norm.bias)
    x = torch.randn(3, 1, 128, 101)
    gradients = []
    for forward in (net, lambda x: plain(net, x)):
        net.zero_grad()
        out = forward(x)
        out.square().sum().backward()
        gradients.append((out, [p.grad.clone() for p in net.parameters()]))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    for own, theirs in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()) + 1e-6)


@pytest.mark.parametrize(("channels", "bins"), [(1, 40), (2, 257)])
def test_the_residual_network_takes_any_spectrogram_and_is_below_two_million(channels: int, bins: int) -> None:
    net = SpectrogramResNet(channels, bins, classes=35)
    assert net(torch.randn(2, channels, bins, 101)).shape == (2, 35)
    assert sum(p.numel() for p in net.parameters()) < 2_000_000


def test_a_narrow_network_does_not_crash() -> None:
    """In a process of its own: a crash of oneDNN would end this one."""
    program = """
import torch
from speechml.models import SpectrogramResNet
net = SpectrogramResNet(1, 64, 3, 8).to(memory_format=torch.channels_last)
net(torch.randn(16, 1, 64, 101).contiguous(memory_format=torch.channels_last)).sum().backward()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
