"""Causal convolution is what its definition says, for any shape and by any algorithm."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechml.signal.convolution import ALGORITHMS, algorithm, causal_convolution

each_algorithm = pytest.mark.parametrize("name", sorted(ALGORITHMS))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Shapes this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def definition(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """y(n) = Σ_k H_k x(n − k), sample by sample and tap by tap."""
    taps, outputs, _ = h.shape
    batch, _, length = x.shape
    y = np.zeros((batch, outputs, length))
    for n in range(length):
        for k in range(min(taps, n + 1)):
            y[:, :, n] += x[:, :, n - k] @ h[k].T
    return y


def draw(batch: int, taps: int, inputs: int, outputs: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, inputs, length, generator=generator, dtype=torch.float64)
    h = torch.randn(taps, outputs, inputs, generator=generator, dtype=torch.float64)
    return x, h


def relative(result: Tensor, truth: Tensor | np.ndarray) -> float:
    truth = torch.as_tensor(truth)
    return float(((result.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-30)).detach())


# batch, taps, features in, features out, length, seed
shapes = st.tuples(*(st.integers(1, most) for most in (4, 70, 10, 10, 90, 99)))


@each_algorithm
@settings(max_examples=40, deadline=None)
@given(shape=shapes)
def test_equals_the_definition_in_float64_for_any_shape(name: str, shape: tuple[int, ...]) -> None:
    x, h = draw(*shape)
    assert relative(ALGORITHMS[name](x, h), definition(x.numpy(), h.numpy())) < 1e-12


@each_algorithm
@settings(max_examples=20, deadline=None)
@given(shape=shapes)
def test_gradients_equal_those_of_the_sum_of_delayed_records(name: str, shape: tuple[int, ...]) -> None:
    x, h = (tensor.requires_grad_() for tensor in draw(*shape))
    delayed = [torch.nn.functional.pad(x, (k, 0))[..., : x.shape[2]] for k in range(len(h))]
    truth = sum(tap @ past for tap, past in zip(h, delayed, strict=True))
    dy = torch.randn(truth.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad(truth, (x, h), dy)
    gradients = torch.autograd.grad(ALGORITHMS[name](x, h), (x, h), dy)
    assert max(map(relative, gradients, expected)) < 1e-12


@each_algorithm
@pytest.mark.parametrize(("batch", "inputs", "outputs", "taps", "length"), [(3, 1, 5, 40, 4001), (2, 5, 1, 200, 3000)])
def test_float32_is_within_a_hundred_thousandth(
    name: str, batch: int, inputs: int, outputs: int, taps: int, length: int
) -> None:
    x, h = (tensor.requires_grad_() for tensor in draw(batch, taps, inputs, outputs, length))
    x32, h32 = (tensor.detach().float().requires_grad_() for tensor in (x, h))
    truth, result = ALGORITHMS["direct"](x, h), ALGORITHMS[name](x32, h32)
    dy = torch.randn(truth.shape, dtype=torch.float64)
    expected, gradients = torch.autograd.grad(truth, (x, h), dy), torch.autograd.grad(result, (x32, h32), dy.float())
    assert max(map(relative, (result, *gradients), (truth, *expected))) < 1e-5


@pytest.mark.parametrize("shape", [(2, 5, 2, 3, 50), (4, 40, 1, 5, 8000), (2, 40, 5, 1, 8000), (4, 300, 3, 2, 2000)])
def test_memory_layout_does_not_matter(shape: tuple[int, ...]) -> None:
    x, h = draw(*shape)
    truth = causal_convolution(x, h)
    strided_x = x.transpose(0, 2).contiguous().transpose(0, 2).requires_grad_()
    strided_h = torch.stack([h, h], -1)[..., 0].requires_grad_()
    y = causal_convolution(strided_x, strided_h)
    torch.testing.assert_close(y, truth)
    dy = torch.randn(x.shape[0], 1, 1, dtype=torch.float64).expand(y.shape)
    expected = torch.autograd.grad(causal_convolution(x.requires_grad_(), h.requires_grad_()), (x, h), dy.contiguous())
    torch.testing.assert_close(torch.autograd.grad(y, (strided_x, strided_h), dy), expected)


@pytest.mark.parametrize("shape", [(2, 5, 2, 3, 50), (4, 40, 1, 5, 8000), (4, 300, 3, 2, 2000)])
def test_equal_inputs_give_equal_bits(shape: tuple[int, ...]) -> None:
    x, h = (tensor.float().requires_grad_() for tensor in draw(*shape))

    def run() -> tuple[Tensor, ...]:
        y = causal_convolution(x, h)
        return (y, *torch.autograd.grad(y.sin().sum(), (x, h)))

    for threads in (2, 1):
        torch.set_num_threads(threads)
        first = run()
        for _ in range(3):
            assert all(map(torch.equal, first, run()))


@pytest.mark.parametrize("taps", [1, 7, 40, 300])
def test_taps_beyond_the_record_change_nothing_and_get_no_gradient(taps: int) -> None:
    x, h = draw(2, taps, 1, 2, 30)
    h.requires_grad_()
    y = causal_convolution(x, h)
    torch.testing.assert_close(y, ALGORITHMS["direct"](x, h))
    (gradient,) = torch.autograd.grad(y.sum(), h)
    assert gradient.shape == h.shape
    assert not gradient[30:].any()


def test_a_batch_of_no_records_gives_no_records() -> None:
    assert causal_convolution(torch.zeros(0, 2, 50), torch.zeros(3, 4, 2)).shape == (0, 4, 50)


def test_the_rule_names_an_algorithm_for_every_shape_and_conv1d_off_the_processor() -> None:
    sizes = itertools.product((0, 1, 32), (1, 3, 40, 255, 9000), (1, 5, 64), (1, 16), (1, 1000, 64000))
    named = set()
    for batch, taps, inputs, outputs, length in sizes:
        named.add(algorithm(batch, taps, inputs, outputs, length, "cpu"))
        assert algorithm(batch, taps, inputs, outputs, length, "cuda") == "direct"
    assert named == set(ALGORITHMS)
    assert algorithm(32, 40, 1, 5, 32_000, "cpu") == algorithm(32, 40, 5, 1, 32_000, "cpu") == "blocks"  # lab 2B


def test_autocast_gives_what_conv1d_gives() -> None:
    x, h = (tensor.float() for tensor in draw(4, 40, 1, 5, 8000))
    with torch.autocast("cpu", torch.bfloat16):
        y = causal_convolution(x, h)
    assert y.dtype == torch.bfloat16
    assert relative(y, causal_convolution(x, h).double()) < 2e-2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_graphics_processor_agrees_with_the_processor_also_under_autocast() -> None:
    x, h = (tensor.float() for tensor in draw(4, 40, 2, 5, 8000))
    truth = causal_convolution(x, h).double()
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert relative(causal_convolution(x.cuda(), h.cuda()).cpu(), truth) < 1e-5
    with torch.autocast("cuda", torch.bfloat16):
        assert relative(causal_convolution(x.cuda(), h.cuda()).cpu(), truth) < 2e-2


@pytest.mark.parametrize(
    ("x", "h", "message"),
    [
        ((2, 1, 50), (3, 1), r"^x must be \(batch, features in, time\) .*: they are x \(2, 1, 50\) and h \(3, 1\)\.$"),
        ((2, 3, 50), (3, 1, 2), r"^h takes 2 features where x has 3: they are x \(2, 3, 50\) and h \(3, 1, 2\)\.$"),
        ((2, 3, 0), (3, 1, 3), "nothing to convolve"),
        ((2, 3, 50), (0, 1, 3), "nothing to convolve"),
    ],
)
def test_shapes_that_do_not_fit_raise_one_sentence(x: tuple[int, ...], h: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        causal_convolution(torch.zeros(x), torch.zeros(h))
    assert "\n" not in str(raised.value)
