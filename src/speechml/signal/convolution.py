"""Causal convolution of many channels by finite filters, by the fastest exact algorithm for the shapes.

Forward and backward, on two cores, this takes a third to a seventh of the time of torch.conv1d for the labs' filters.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

# Values worked on at a time, 32 MB in float32. More would be memory that the allocator takes anew from the system at
# every call, which costs more than the arithmetic; less would be more calls.
CHUNK = 2**23


def causal_convolution(x: Tensor, h: Tensor) -> Tensor:
    """Filter `x` (batch, features in, time) by `h` (taps, features out, features in): y(n) = Σ_k h_k x(n − k).

    The record is silent before its first sample; the result is (batch, features out, time). Float32 and float64 agree
    with the definition to rounding, relative to the largest value of a record. A value that is not finite may spoil its
    whole record. Raises ValueError when the shapes do not fit.
    """
    _check(x, h)
    batch, features_in, length = x.shape
    taps, features_out, _ = h.shape
    device = "cpu" if x.is_cpu else x.device.type
    name = algorithm(batch, taps, features_in, features_out, length, device)
    if name == "direct" or torch.is_autocast_enabled(device) or x.dtype not in (torch.float32, torch.float64):
        return _direct(x, h)  # conv1d also knows the reduced precisions
    # Taps longer than the record only ever meet the silence before it.
    return ALGORITHMS[name](x, h[:length])


def algorithm(batch: int, taps: int, features_in: int, features_out: int, length: int, device_type: str) -> str:
    """Name the algorithm for these shapes: `direct` (conv1d), `blocks` (matrix products) or `fourier`.

    The rule reads nothing but shapes, so that equal runs round equally; its constants are measurements on two cores
    of a server processor (`scripts/benchmark.py convolution`).
    """
    if device_type != "cpu":
        return "direct"  # cuDNN
    taps = min(taps, length)
    samples = batch * length
    # Below this, and below the like for blocks, conv1d is done before the others are set up.
    if samples * taps * (features_in + features_out) < 700_000:
        return "direct"
    # Fourier transforms cost the same for any filter, blocks the more the longer it is; with few channels the
    # transforms weigh more against the products between channels.
    if taps > 100 + 90 * (1 / features_in + 1 / features_out):
        return "fourier"
    # conv1d is at its best with many channels and few taps.
    few_taps = taps < 3 or (taps < 16 and max(features_in, features_out) >= 8)
    if few_taps or samples * (taps + 10) < 700_000:
        return "direct"
    return "blocks"


def _check(x: Tensor, h: Tensor) -> None:
    if x.dim() != 3 or h.dim() != 3:
        message = "x must be (batch, features in, time) and h (taps, features out, features in)"
    elif x.shape[1] != h.shape[2]:
        message = f"h takes {h.shape[2]} features where x has {x.shape[1]}"
    elif not (h.numel() and x.shape[2]):
        message = "There is nothing to convolve without features, taps and samples"
    else:
        return
    raise ValueError(f"{message}: they are x {tuple(x.shape)} and h {tuple(h.shape)}.")


def _direct(x: Tensor, h: Tensor) -> Tensor:
    return torch.conv1d(torch.constant_pad_nd(x, (h.shape[0] - 1, 0)), h.flip(0).permute(1, 2, 0))


def _fourier(x: Tensor, h: Tensor) -> Tensor:
    length = x.shape[-1]
    size = next_fast_len(length + h.shape[0] - 1, real=True)
    response = torch.fft.rfft(h.permute(1, 2, 0), size)
    records = max(1, CHUNK // (2 * size * sum(h.shape[1:])))  # records and their spectra
    pieces = []
    for part in x.split(records):
        product = torch.einsum("bfw,gfw->bgw", torch.fft.rfft(part, size), response)
        pieces.append(torch.fft.irfft(product, size)[..., :length])
    return torch.cat(pieces)


def _blocks(x: Tensor, h: Tensor) -> Tensor:
    return _Blocks.apply(x, h)


class _Context(FunctionCtx):
    """What autograd keeps from the forward for the backward pass."""

    saved_tensors: tuple[Tensor, Tensor]
    needs_input_grad: tuple[bool, bool]


class _Blocks(torch.autograd.Function):
    """The convolution by products of matrices; its gradients are products of the same kind."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, h: Tensor) -> Tensor:
        ctx.save_for_backward(x, h)
        return _filter(x, h, ahead=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, h = ctx.saved_tensors
        dx = _filter(dy, h.transpose(1, 2), ahead=True) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return dx, None
        if x.shape[1] <= dy.shape[1]:  # the side with fewer channels is the one whose windows are copied
            return dx, _correlate(x, dy, h.shape[0], ahead=False)
        return dx, _correlate(dy, x, h.shape[0], ahead=True).transpose(1, 2)


# In blocks of P samples a filter is a short filter between blocks, whose taps are P × P Toeplitz matrices: a product
# of matrices wide enough for the processor's vectors, at the price of (P + taps − 1) / taps as many multiplications.


def _block_length(features_in: int, features_out: int) -> int:
    return max(1, min(16, 128 // min(features_in, features_out)))


def _reach(taps: int, block: int) -> int:
    """How many blocks before its own a filter reaches into."""
    return -(-(taps - 1) // block)


def _in_blocks(x: Tensor, block: int, before: int, after: int) -> Tensor:
    """(batch, channel, time) as (batch, before + blocks + after, channel, block), with zeros outside of the record."""
    batch, channels, length = x.shape
    whole, rest = divmod(length, block)
    end = before + whole
    out = x.new_empty(batch, end + (rest > 0) + after, channels, block)
    out[:, :before] = 0
    out[:, end:] = 0
    out[:, before:end] = x[..., : whole * block].unflatten(-1, (whole, block)).transpose(1, 2)
    if rest:
        out[:, end, :, :rest] = x[..., whole * block :]
    return out


def _filter(x: Tensor, h: Tensor, ahead: bool) -> Tensor:
    """y(n) = Σ_k h_k x(n − k), or x(n + k) when `ahead`."""
    (batch, inputs, length), (taps, outputs, _) = x.shape, h.shape
    block = _block_length(inputs, outputs)
    reach = _reach(taps, block)
    count = -(-length // block)
    kernel = _toeplitz(h.permute(1, 2, 0), block, (reach + 1) * block)
    if not ahead:
        kernel = kernel.flip(2, 3)
    kernel = kernel.unflatten(3, (reach + 1, block)).permute(0, 2, 1, 4, 3)
    kernel = kernel.reshape(outputs * block, inputs * block, reach + 1, 1)
    y = x.new_empty(batch, outputs, count, block)
    records = max(1, CHUNK // ((inputs + outputs) * length))
    for part, result in zip(x.split(records), y.split(records), strict=True):
        blocks = _in_blocks(part, block, *((0, reach) if ahead else (reach, 0)))
        # Blocks as the pixels of an image with its channels last: what conv2d reads without a copy.
        image = blocks.view(-1, count + reach, 1, inputs * block).permute(0, 3, 1, 2)
        result.copy_(F.conv2d(image, kernel).view(-1, outputs, block, count).transpose(2, 3))
    return y.flatten(2)[..., :length]


def _correlate(x: Tensor, y: Tensor, taps: int, ahead: bool) -> Tensor:
    """h_k = Σ_n y(n) x(n − k)ᵀ, or x(n + k) when `ahead`."""
    inputs, length, outputs = x.shape[1], x.shape[2], y.shape[1]
    block = _block_length(inputs, outputs)
    reach = _reach(taps, block)
    count = -(-length // block)
    width = (reach + 1) * inputs * block
    products = x.new_zeros(width, outputs * block)
    records = max(1, CHUNK // (((reach + 1) * inputs + outputs) * length))
    for past, now in zip(x.split(records), y.split(records), strict=True):
        blocks = _in_blocks(past, block, *((0, reach) if ahead else (reach, 0)))
        windows = blocks.as_strided((len(past), count, width), (blocks.stride(0), inputs * block, 1)).contiguous()
        products += torch.bmm(windows.transpose(1, 2), _in_blocks(now, block, 0, 0).flatten(2)).sum(0)
    kernel = products.view(reach + 1, inputs, block, outputs, block).permute(3, 1, 4, 0, 2).flatten(3)
    if not ahead:
        kernel = kernel.flip(2, 3)
    return _diagonal_sums(kernel)[..., :taps].permute(2, 0, 1)


def _toeplitz(taps: Tensor, rows: int, columns: int) -> Tensor:
    """(..., taps) as matrices (..., rows, columns) whose row i is the taps moved i places to the right."""
    padded = F.pad(taps, (0, columns + 1 - taps.shape[-1])).unsqueeze(-2)
    repeated = padded.expand(*taps.shape[:-1], rows, columns + 1).flatten(-2)
    return repeated[..., : rows * columns].unflatten(-1, (rows, columns))


def _diagonal_sums(matrix: Tensor) -> Tensor:
    """The transpose of `_toeplitz`: entry k is the sum of the matrix's entries (i, i + k)."""
    rows = matrix.shape[-2]
    return F.pad(matrix.flatten(-2), (0, rows)).unflatten(-1, (rows, -1)).sum(-2)


ALGORITHMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"direct": _direct, "blocks": _blocks, "fourier": _fourier}
