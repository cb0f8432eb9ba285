"""Causal convolution against the ways that it replaces: lab 2B's network step, and a table of shapes."""

import itertools
import statistics
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from side_by_side import Times, agree, interleave, ratio
from speechml.signal.convolution import algorithm, causal_convolution

Convolution = Callable[[Tensor, Tensor], Tensor]

LARGEST = 4_000_000_000  # multiply-adds of one pass: beyond it conv1d alone takes seconds


def run(quick: bool) -> None:
    """Print both."""
    _network(repeats=3 if quick else 9)
    print()
    _table(quick)


def _network(repeats: int) -> None:
    """y = h2 * tanh(h1 * x) with an L1 loss, gradients for h1 and h2: 32 records of 32000 samples, features 1, 5, 1."""
    batch, length, taps, features = 32, 32_000, 40, 5
    x, target = torch.randn(2, batch, 1, length).unbind()
    h1 = (0.1 * torch.randn(taps, features, 1)).requires_grad_()
    h2 = (0.1 * torch.randn(taps, 1, features)).requires_grad_()

    def step(convolve: Convolution) -> tuple[Tensor, ...]:
        loss = (convolve(torch.tanh(convolve(x, h1)), h2) - target).abs().mean()
        return (loss.detach(), *torch.autograd.grad(loss, (h1, h2)))

    convolutions: dict[str, Convolution] = {
        "loop of delays": _delays,
        "conv1d": _conv1d,
        "causal_convolution": causal_convolution,
    }
    steps = {name: (lambda convolve=convolve: step(convolve)) for name, convolve in convolutions.items()}
    agree({name: run() for name, run in steps.items()})
    times = interleave(steps, repeats, seconds=float("inf"))
    # Forward, both layers; backward, both filters' gradients and the second layer's input's.
    operations = 2 * 5 * batch * length * taps * features
    rate = _matrix_product_rate()
    print(
        f"Lab 2B's network step, {batch} records of {length} samples, features 1, {features}, 1, {taps} taps, float32,"
    )
    print(f"{torch.get_num_threads()} threads; medians of {repeats}; matrix products run at {rate / 1e9:.0f} GFLOP/s.")
    print(f"{'':20}{'time':>10}{'loop/time':>11}{'conv1d/time':>13}{'of peak':>9}")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(
            f"{name:20}{1e3 * median:7.1f} ms{ratio(times, 'loop of delays', name):11.1f}"
            f"{ratio(times, 'conv1d', name):13.2f}{operations / median / rate:9.0%}"
        )


def _table(quick: bool) -> None:
    taps = (3, 40, 255) if quick else (3, 9, 21, 40, 81, 127, 255)
    features = ((1, 1), (1, 5), (5, 1), (4, 4), (16, 16))
    lengths = (1_000, 32_000) if quick else (1_000, 8_000, 32_000, 64_000)
    batches = (1, 4) if quick else (1, 16)
    largest = LARGEST // 10 if quick else LARGEST
    shapes = list(itertools.product(features, batches, lengths, taps))
    print("Forward and backward, gradients for x and h; ratio below 1 is faster than conv1d.")
    print(f"{'in':>3}{'out':>4}{'batch':>6}{'length':>7}{'taps':>5}  {'algorithm':10}{'time':>11}{'ratio':>7}")
    worst, skipped = (0.0, ""), 0
    for number, ((inputs, outputs), batch, length, k) in enumerate(shapes, 1):
        if batch * length * k * inputs * outputs > largest:
            skipped += 1
            continue
        _progress(f"{number}/{len(shapes)}")
        times = _shape_times(batch, k, inputs, outputs, length, seconds=0.1 if quick else 0.4)
        share = ratio(times, "causal_convolution", "conv1d")
        shape = f"{inputs:3}{outputs:4}{batch:6}{length:7}{k:5}"
        name = algorithm(batch, k, inputs, outputs, length, "cpu")
        milliseconds = 1e3 * statistics.median(times["causal_convolution"])
        print(f"{shape}  {name:10}{milliseconds:8.2f} ms{share:7.2f}", flush=True)
        worst = max(worst, (share, f"{shape}  {name}"))
    print(f"{skipped} shapes beyond {largest:.0e} multiply-adds left out. Worst ratio {worst[0]:.2f}: {worst[1]}")


def _shape_times(batch: int, taps: int, inputs: int, outputs: int, length: int, seconds: float) -> Times:
    x = torch.randn(batch, inputs, length, requires_grad=True)
    h = torch.randn(taps, outputs, inputs, requires_grad=True)
    dy = torch.randn(batch, outputs, length)

    def step(convolve: Convolution) -> tuple[Tensor, ...]:
        y = convolve(x, h)
        return (y.detach(), *torch.autograd.grad(y, (x, h), dy))

    steps = {"conv1d": lambda: step(_conv1d), "causal_convolution": lambda: step(causal_convolution)}
    agree({name: run() for name, run in steps.items()})
    return interleave(steps, repeats=300, seconds=seconds)


def _delays(x: Tensor, h: Tensor) -> Tensor:
    """The definition, one tap at a time: add the filtered record, then delay the record by a sample."""
    y = torch.zeros(x.shape[0], h.shape[1], x.shape[2])
    for tap in h:
        y = y + tap @ x
        x = F.pad(x[..., :-1], (1, 0))
    return y


def _conv1d(x: Tensor, h: Tensor) -> Tensor:
    return F.conv1d(F.pad(x, (h.shape[0] - 1, 0)), h.permute(1, 2, 0).flip(-1))


def _matrix_product_rate() -> float:
    """Floating-point operations a second of a large float32 matrix product, the best of a few."""
    size = 1024
    a, b = torch.randn(2, size, size).unbind()
    times = interleave({"product": lambda: a @ b}, repeats=12, seconds=5)["product"]
    return 2 * size**3 / min(times)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\r", end="", file=sys.stderr, flush=True)
